"""A reviewer that answers from a file: for tests and for the demo, never passed off as an LLM.

The file holds one JSON object per line: {"text": ..., "label": ... or "labels": [...],
"reason": ...}. A text that is not in it gets "unsure", and the script may say so itself.
"""

from __future__ import annotations

import json
from pathlib import Path

from meta_controller.answers import normalise
from meta_controller.errors import NoVerdict, SettingsError
from meta_controller.language_model import NO_TOKENS, Completion, Prompt, Question, Reply
from meta_controller.prompt import UNSURE

PREFIX = "Scripted reviewer (no LLM): "


class ScriptedModel:
    """Answers equal texts (whitespace aside) as its script says; asks nobody, costs nothing."""

    provider = "scripted"
    model = "scripted"
    base_url = ""

    def __init__(self, script: Path) -> None:
        self._answers = _read(script)

    def ask(self, question: Question) -> Reply:
        """Look the text up.

        Raises:
            NoVerdict: the script's label is not one of the question's.
        """
        known = self._answers.get(normalise(question.text))
        labels, reason = known or ((), "the script does not know this text.")
        if labels == (UNSURE,) and UNSURE not in question.labels.names:
            labels = ()
        strangers = set(labels) - set(question.labels.names)
        if strangers:
            raise NoVerdict(
                f"scripted scripted: the script's label {min(strangers)!r} is not one of "
                f"{', '.join(question.labels.names)}: correct the script",
                "invalid answer",
            )
        return Reply(labels, PREFIX + reason, NO_TOKENS, 0.0, self.model)

    def complete(self, prompt: Prompt) -> Completion:
        """A script knows texts only.

        Raises:
            NoVerdict: always.
        """
        raise NoVerdict("scripted scripted: a script answers texts and nothing else", "rejected")


def _read(script: Path) -> dict[str, tuple[tuple[str, ...], str]]:
    answers = {}
    try:
        lines = script.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"The script {script} cannot be read: set LLM_SCRIPT.") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            labels = tuple(row["labels"]) if "labels" in row else (row["label"],)
            answers[normalise(row["text"])] = (labels, str(row.get("reason", "")))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise SettingsError(
                f'{script}, line {number}: expected {{"text", "label" or "labels", "reason"}}.'
            ) from error
    return answers
