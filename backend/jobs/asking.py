"""What the LLM is told: a question from each sample, with all that the project knows beside it.

Guideline, label descriptions, examples of people's answers, and the committee's probabilities.
With LLM_REDACT personal data are taken out here, so that nothing of them gets any further.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from backend.examples import Examples
from backend.jobs.known import people_said
from backend.label_config import Control
from backend.projects import HardSample, Project
from backend.wiring import Wiring
from specialists.chances import Array

if TYPE_CHECKING:
    from meta_controller.language_model import Question
    from meta_controller.redaction import Redactor


class Asking:
    """Words questions for one project; what people said is read once."""

    def __init__(self, wiring: Wiring, project: Project, controls: Mapping[str, Control]) -> None:
        self._wiring = wiring
        self._project = project
        self._controls = controls
        self._redactor: Redactor | None = wiring.redactor

    def questions(
        self, batch: Sequence[HardSample], chances: Mapping[str, Array]
    ) -> tuple[list[Question], dict[str, Counter[str]]]:
        """A question for each sample, and what was taken out of its text, both by `member`.

        `chances` are the committee's probabilities (labels,) of some samples, by member.
        """
        from meta_controller.language_model import Question

        found, redacted = [], {}
        for sample in batch:
            control = self._controls[sample.control]
            question = Question(
                control=sample.control,
                text=sample.text,
                labels=control.labels,
                guideline=self._project.guideline,
                task_ids=(sample.task_id,),
                descriptions=control.descriptions,
                examples=self._examples[sample.control].near(
                    sample.text, self._wiring.settings.llm_examples
                ),
                committee=tuple(chances[sample.member].tolist())
                if sample.member in chances
                else (),
            )
            question, redacted[sample.member] = self._redact(question)
            found.append(question)
        return found, redacted

    def _redact(self, question: Question) -> tuple[Question, Counter[str]]:
        """The question as it may leave this machine, and what was taken out of its text."""
        if self._redactor is None:
            return question, Counter()
        text, taken = self._redactor.redact(question.text)
        shown = (replace(one, text=self._redactor.redact(one.text)[0]) for one in question.examples)
        return replace(question, text=text, examples=tuple(shown)), taken

    @cached_property
    def _examples(self) -> dict[str, Examples]:
        verdicts = self._wiring.pool(self._project.id).verdicts()
        held_out = self._wiring.slice(self._project.id).held_out()
        return {
            name: Examples(
                self._project.id,
                control.labels,
                people_said(verdicts, name).values(),
                self._wiring.settings.audit_share,
                held_out,
            )
            for name, control in self._controls.items()
        }
