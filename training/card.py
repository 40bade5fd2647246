"""The promotion card: what a person reads to learn why a tag is served, or why it is not.

Plain data; it knows neither Redis nor how a stage runs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Literal

CardDecision = Literal["initial", "promoted", "refused", "rollback"]
HeldOutSource = Literal["human", "llm", "none"]


@dataclass(frozen=True)
class Card:
    """One entry of a project's promotion history.

    `before` and `after` are accuracies (0..1) on `held_out` verdicts, None when unmeasured;
    `p_value`, `margin` and `labels` as in `judgement.Judgement`. `samples` counts what was trained
    on by source (human, llm, replay), `learned` by label, and `dropped` the verdicts that no longer
    fit the project's labels; `method` and `parameters` say how it was trained, `checkpoints` has
    what came of it by "control/member", named by the checksum of its content. `hard_share` (0..1)
    is of the tasks predicted when it was promoted, `llm_usd` and `llm_calls` what the project had
    taken until then; None where nobody counted. `at` is seconds since the epoch.
    """

    tag: str
    parent: str | None
    stage: int
    decision: CardDecision
    reason: str
    before: float | None = None
    after: float | None = None
    held_out: int = 0
    held_out_source: HeldOutSource = "none"
    samples: Mapping[str, int] = field(default_factory=dict)
    dropped: int = 0
    duration_s: float = 0.0
    method: str = ""
    at: float = 0.0
    p_value: float | None = None
    margin: float | None = None
    labels: Mapping[str, tuple[int, int, int]] = field(default_factory=dict)
    learned: Mapping[str, int] = field(default_factory=dict)
    parameters: Mapping[str, float] = field(default_factory=dict)
    checkpoints: Mapping[str, str] = field(default_factory=dict)
    hard_share: float | None = None
    llm_usd: float | None = None
    llm_calls: int | None = None

    def to_json(self) -> str:
        """One line of JSON, read back by `from_json`."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, line: str) -> Card:
        """Read what `to_json` wrote."""
        data = json.loads(line)
        labels = {name: tuple(counts) for name, counts in data.get("labels", {}).items()}
        return cls(**{**data, "labels": labels})

    def to_markdown(self) -> str:
        """The card as people read it, one page."""
        return "\n".join(_page(self)) + "\n"


def _page(card: Card) -> Iterator[str]:
    made = datetime.fromtimestamp(card.at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    yield f"# {card.tag}: {card.decision}\n"
    yield f"{card.reason}\n"
    took = f"{card.duration_s:.0f} s"
    yield f"Stage {card.stage}, {made}, {took}, after {card.parent or 'nothing'}.\n"
    if card.held_out:
        yield "| held-out verdicts | number | right before | right after |\n|---|---|---|---|"
        yield from (f"| {name} | {n} | {was} | {now} |" for name, (n, was, now) in _rows(card))
    if card.p_value is not None:
        yield f"\nChance of as many losses if nothing had changed: {card.p_value}.\n"
    if card.margin is not None:
        yield f"Truly worse than the one before by at most {card.margin:.1%}, in 95 of 100 cases.\n"
    if card.samples:
        yield "| trained on | texts |\n|---|---|"
        yield from (f"| {name} | {count} |" for name, count in card.samples.items())
        yield from (f"| label {name} | {count} |" for name, count in card.learned.items())
        yield f"| left out: does not fit the labels | {card.dropped} |\n"
    if card.parameters:  # else nothing was trained: a first committee, or a selected one
        told = ", ".join(f"{name} {value:g}" for name, value in card.parameters.items())
        yield f"Trained by {card.method}: {told}.\n"
        yield from (f"- {member}: checkpoint {name}" for member, name in card.checkpoints.items())
    if card.hard_share is not None:
        yield f"\nHard when promoted: {card.hard_share:.1%} of the tasks."
    if card.llm_usd is not None:
        yield f"\nThe LLM so far: {card.llm_calls} calls, {card.llm_usd:.4f} USD."


def _rows(card: Card) -> Iterator[tuple[str, tuple[int, int, int]]]:
    yield from ((name.replace("|", "\\|"), counts) for name, counts in card.labels.items())
    if card.before is not None and card.after is not None:
        n = card.held_out
        yield "all", (n, round(card.before * n), round(card.after * n))
