"""Verdicts on texts that are, or are not, held out: what stages are made of in tests."""

from __future__ import annotations

from collections.abc import Sequence

from specialists.types import Label, LabelSet, Verdict, VerdictSource
from training.gate import held_out

LABELS = LabelSet((Label("good"), Label("bad")))


def texts(held: bool, count: int, word: str = "fine") -> list[str]:
    """Texts that start with `word` and all are, or are not, held out."""
    found = (text for n in range(100_000) if held_out(text := f"{word} {n}") == held)
    return [next(found) for _ in range(count)]


def verdict(
    text: str,
    label: str | tuple[str, ...] = "good",
    source: VerdictSource = "human",
    at: float = 0.0,
    task_id: int = 0,
    control: str = "sentiment",
) -> Verdict:
    labels = (label,) if isinstance(label, str) else label
    return Verdict(task_id, control, text, labels, source, "someone", at)


def by_control(verdicts: Sequence[Verdict]) -> dict[str, list[Verdict]]:
    controls = sorted({each.control for each in verdicts})
    return {name: [each for each in verdicts if each.control == name] for name in controls}
