"""The LLM server of the fault suite, a process of its own: `python llm.py PORT RECORD`.

It speaks the wire formats of tests/service/provider.py, answers each text by the word that it
holds, and appends one JSON line to RECORD as each request arrives: what it will be paid for.
"""

from __future__ import annotations

import json
import re
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from provider import Provider, Scene

from benchmarks.asked import answer, read

DELAY_S = 0.4
ANSWERS = {"good": "positive", "plain": "neutral", "bad": "negative"}
WORDS = tuple(ANSWERS)
_NAME = re.compile(r"Item (\d+-\d+)")


def text_of(name: str, number: int) -> str:
    """A text that no other task has; its word decides its label."""
    return f"Item {name}: the film was {WORDS[number % len(WORDS)]}."


def label_of(text: str) -> str:
    """The label of a text."""
    return next(label for word, label in ANSWERS.items() if f" {word}." in text)


def name_of(text: str) -> str:
    """The name of a text, which a request is recorded under."""
    found = _NAME.search(text)
    return found[1] if found else ""


def asked(record: Path) -> list[tuple[float, str]]:
    """What the server was asked: (seconds since the epoch, name of the text), oldest first."""
    if not record.exists():
        return []
    lines = record.read_text().splitlines(keepends=True)
    rows = [json.loads(line) for line in lines if line.endswith("\n")]
    return [(row["at"], name) for row in rows for name in row["names"]]


def main(arguments: Sequence[str]) -> None:
    """Serve until SIGTERM."""
    port, record = int(arguments[0]), Path(arguments[1])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with record.open("a", buffering=1) as lines, Provider(port) as provider:

        def decide(body: dict[str, Any]) -> Scene:
            question = read(body)
            names = [name_of(text) for text in question.texts]
            lines.write(json.dumps({"at": time.time(), "names": names}) + "\n")
            labels = [label_of(text) for text in question.texts]
            return Scene(answer=answer(question, labels, "its word says so"), delay_s=DELAY_S)

        provider.decide = decide
        signal.pause()


if __name__ == "__main__":
    main(sys.argv[1:])
