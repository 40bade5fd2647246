"""The promotion card: what a person reads to learn why a tag is served, or why it is not.

Plain data; it knows neither Redis nor how a stage runs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Literal

CardDecision = Literal["initial", "promoted", "refused", "rollback"]
HeldOutSource = Literal["human", "llm", "none"]


@dataclass(frozen=True)
class Card:
    """One entry of a project's promotion history.

    `before` and `after` are accuracies (0..1) on `held_out` verdicts, None when unmeasured;
    `samples` counts what was trained on by source (human, llm, replay), and `dropped` the verdicts
    that no longer fit the project's labels; `method` says how it was trained; `at` is seconds
    since the epoch.
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

    def to_json(self) -> str:
        """One line of JSON, read back by `from_json`."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, line: str) -> Card:
        """Read what `to_json` wrote."""
        return cls(**json.loads(line))
