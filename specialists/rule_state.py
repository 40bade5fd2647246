"""What the value rule has learned: weights, heads, the live member, what the LLM is worth.

Workers refit it (training/refit.py), it travels as JSON, and value_rule.py evaluates it.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from specialists.chances import Array, log_softmax, symmetric, unit, waves

Trust = Literal["unproven", "both", "committee", "llm"]

SHARPNESS = 5.0
"""Makes log-probabilities of a head's regression scores; the fitted weights do the rest."""
FIRST_ACCURACY = 0.85
"""What an LLM's answers are taken for before anything is known of them on this project."""


@dataclass(frozen=True, eq=False)
class Head:
    """A live classifier on one view: scores = unit(features - centre) @ weights + offset.

    With `waves` the unit rows are first spread into so many (chances.waves), and width is twice it.
    """

    centre: Array = field(repr=False)  # (width of the view,)
    weights: Array = field(repr=False)  # (width, labels)
    offset: Array = field(repr=False)  # (labels,)
    waves: int = 0

    def log_probabilities(self, view: npt.NDArray[np.floating[Any]]) -> Array:
        """Shape (texts, labels)."""
        rows = unit(view - self.centre.astype(view.dtype))
        if self.waves:
            rows = waves(rows, self.waves)
        return log_softmax(SHARPNESS * (rows @ self.weights.astype(view.dtype) + self.offset))


@dataclass(frozen=True, eq=False)
class Live:
    """The live member: a head on the frozen view, which learns from all verdicts at once.

    `weight` is what it counts in the pool once it is `admitted`; it was trained on `verdicts`. On
    `checked` texts, of which no member had learned, its vote makes the log-loss of the pool smaller
    by `gain` a text.
    """

    head: Head
    weight: float
    admitted: bool
    verdicts: int
    checked: int
    gain: float


@dataclass(frozen=True, eq=False)
class RuleState:
    """What the rule has learned in one project for one control at one tag.

    `member_weights` (members,), `head_weights` one a head; `confusion` (labels, labels) is the
    chance that the LLM says the column where the row is true, `answered` that it gives an answer
    that can be used; `verdicts` were learned from. `trust` is "committee" or "llm" when answers
    show the other to be worse, "unproven" until the LLM's answers go with votes that are sure.
    From `accept_above` on an answer keeps TARGET_ERROR. `calibration` is (slope, offset): what a
    confidence c of the LLM's multiplies the odds of its answer by, exp(slope logit(c) + offset).
    `live` is the live member, None before it was trained. Of multiple choice all that is learned
    are `scales` (labels, 2): slope and offset of each label's log-odds (`decision.scaled`).
    """

    member_weights: Array
    confusion: Array
    head_weights: Array = field(default_factory=lambda: np.zeros(0))
    heads: tuple[Head, ...] = ()
    answered: float = 1.0
    verdicts: int = 0
    trust: Trust = "both"
    llm_accuracy: float = FIRST_ACCURACY
    accept_above: float | None = None
    calibration: tuple[float, float] | None = None
    live: Live | None = None
    scales: Array | None = None

    @classmethod
    def first(cls, members: int, labels: int) -> RuleState:
        """The state before any verdict: members count alike, the LLM is taken for good."""
        weights = np.full(members, 1.0 / members) if members else np.zeros(0)
        trust: Trust = "unproven" if members else "both"
        return cls(weights, symmetric(FIRST_ACCURACY, labels), trust=trust)

    @property
    def proven(self) -> bool:
        """Whether the LLM's answers have been seen to be about the texts."""
        return self.verdicts > 0 and self.trust in ("both", "llm")

    def to_json(self) -> str:
        """Pack as JSON, arrays in half precision; read back by `from_json`."""
        return json.dumps(self.__dict__, default=_pack)

    @classmethod
    def from_json(cls, raw: str) -> RuleState:
        """Read what `to_json` wrote."""
        row = json.loads(raw, object_hook=_unpack)
        heads = tuple(Head(**head) for head in row["heads"])
        slope, live = row.get("calibration"), row.get("live")
        return cls(
            **{
                **row,
                "heads": heads,
                "calibration": tuple(slope) if slope else None,
                "live": Live(**{**live, "head": Head(**live["head"])}) if live else None,
            }
        )


def _pack(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        raw = base64.b64encode(value.astype("<f2").tobytes()).decode("ascii")
        return {"f2": raw, "shape": list(value.shape)}
    if isinstance(value, (Head, Live)):
        return value.__dict__
    raise TypeError(f"cannot pack {type(value).__name__}")


def _unpack(row: dict[str, Any]) -> Any:
    if "f2" not in row:
        return row
    flat = np.frombuffer(base64.b64decode(row["f2"]), "<f2")
    return flat.astype(np.float64).reshape(row["shape"])
