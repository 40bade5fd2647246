"""The default rule: decide by measured reliability, and ask the LLM where that is worth most.

The members' votes and the project's live heads are pooled with weights fitted on verdicts; what the
LLM's answers are worth is a matrix estimated on this project. All of it is a `RuleState`, which
workers refit (training/refit.py); here it is only evaluated. It knows arrays and label names.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from specialists.decision import complete, pool
from specialists.evidence import Evidence
from specialists.types import Decision, LabelSet, MemberVote

Array = npt.NDArray[np.float64]
Trust = Literal["unproven", "both", "committee", "llm"]

MIN_GAIN = 0.01
"""Below this expected gain in the chance of a right label a call is not worth its price."""
SHARPNESS = 5.0
"""Makes log-probabilities of a head's regression scores; the fitted weights do the rest."""
FIRST_ACCURACY = 0.85
"""What an LLM's answers are taken for before anything is known of them on this project."""

_FLOOR = 1e-4  # of a vote: no member alone can rule a label out
_MOST_LOG_ODDS = 3.0  # a confidence alone never weighs more than 20 to 1
_BLOCK = 2_000_000  # elements of (texts, labels, labels) at once


@dataclass(frozen=True, eq=False)
class Head:
    """A live classifier on one view: scores = unit(features - centre) @ weights + offset."""

    centre: Array = field(repr=False)  # (width,)
    weights: Array = field(repr=False)  # (width, labels)
    offset: Array = field(repr=False)  # (labels,)

    def log_probabilities(self, view: npt.NDArray[np.floating[Any]]) -> Array:
        """Shape (texts, labels)."""
        rows = unit(view - self.centre.astype(view.dtype))
        return log_softmax(SHARPNESS * (rows @ self.weights.astype(view.dtype) + self.offset))


@dataclass(frozen=True, eq=False)
class RuleState:
    """What the rule has learned in one project for one control at one tag.

    `member_weights` (members,), `head_weights` one a head; `confusion` (labels, labels) is the
    chance that the LLM says the column where the row is true, `answered` that it gives an answer
    that can be used; `verdicts` were learned from. `trust` is "committee" or "llm" when answers
    show the other to be worse, "unproven" until the LLM's answers go with votes that are sure.
    From `accept_above` on an answer keeps TARGET_ERROR. `calibration` is (slope, offset): what a
    confidence c of the LLM's multiplies the odds of its answer by, exp(slope logit(c) + offset).
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
        row = {name: value for name, value in self.__dict__.items() if name != "heads"}
        return json.dumps({**row, "heads": [head.__dict__ for head in self.heads]}, default=_pack)

    @classmethod
    def from_json(cls, raw: str) -> RuleState:
        """Read what `to_json` wrote."""
        row = json.loads(raw, object_hook=_unpack)
        heads = tuple(Head(**head) for head in row["heads"])
        slope = row.get("calibration")
        return cls(**{**row, "heads": heads, "calibration": tuple(slope) if slope else None})


class ValueRule:
    """Decides by pooled probability; hard where a call is worth it or the promise is not kept."""

    def __init__(self, state: RuleState) -> None:
        self.state = state

    def decide(self, evidence: Evidence, names: Sequence[str], labels: LabelSet) -> list[Decision]:
        """Decide each text, in order."""
        if not len(evidence):
            return []
        opinions = self._opinions(evidence)
        probabilities = self._pooled(evidence, opinions)
        gains = self.gains(probabilities)
        views = [f"head {number}" for number in range(1, len(opinions) + 1)]
        votes = _said(names, evidence.votes, labels.names)
        heads = _said(views, np.exp(opinions).transpose(1, 0, 2), labels.names)
        return [
            self._decide(
                Decision(
                    labels=(labels.names[int(row.argmax())],),
                    confidence=float(row.max()),
                    hard=False,
                    reason="",
                    probabilities=tuple(row.tolist()),
                    votes=votes[i],
                    gain=float(gains[i]),
                    heads=heads[i],
                )
            )
            for i, row in enumerate(probabilities)
        ]

    def probabilities(self, evidence: Evidence) -> Array:
        """How likely each label is right, shape (texts, labels), before any answer of the LLM."""
        return self._pooled(evidence, self._opinions(evidence))

    def _opinions(self, evidence: Evidence) -> Array:
        """Log-probabilities of the heads, shape (heads, texts, labels)."""
        said = [
            head.log_probabilities(view)
            for head, view in zip(self.state.heads, evidence.features, strict=False)
        ]
        texts, _, labels = evidence.votes.shape
        return np.stack(said) if said else np.zeros((0, texts, labels))

    def _pooled(self, evidence: Evidence, opinions: Array) -> Array:
        if not self.state.verdicts:
            return first_probabilities(evidence)
        pooled = member_scores(evidence) @ self.state.member_weights
        pooled += np.tensordot(self.state.head_weights, opinions, axes=1)
        result: Array = np.exp(log_softmax(pooled))
        return result

    def gains(self, probabilities: Array) -> Array:
        """How much more likely right each label gets by asking the LLM, shape (texts,)."""
        if self.state.trust == "committee":
            return np.zeros(len(probabilities))
        return expected_gain(probabilities, self.state.confusion) * self.state.answered

    def next(self, probabilities: Array, count: int, proofs: int) -> npt.NDArray[np.intp]:
        """Which of some texts to ask the LLM about now: at most `count` indices, the best first.

        Those with the greatest gain, as long as it is worth a call. An unproven LLM is first asked
        up to `proofs` texts of which the committee is sure: where that disagrees, one of the two
        is useless.
        """
        proving = self.state.trust == "unproven"
        first = surest_of_each(probabilities)[: min(count, proofs) if proving else 0]
        gains = self.gains(probabilities)
        gains[first] = 0.0
        order = np.argsort(-gains, kind="stable")[: count - len(first)]
        return np.concatenate([first, order[gains[order] >= MIN_GAIN]])

    def fuse(
        self,
        probabilities: Array,
        answers: npt.NDArray[np.integer[Any]],
        confidences: Array | None = None,
    ) -> Array:
        """Weigh the LLM's answers (texts,), -1 where there is none, with the committee's.

        `confidences` (texts,), NaN where unknown, are the LLM's own; they count once calibrated.
        Returns posteriors (texts, labels).
        """
        posterior = fuse(probabilities, answers, self.state.confusion)
        if confidences is None or self.state.calibration is None:
            return posterior
        return refine(posterior, answers, confidence_odds(confidences, self.state.calibration))

    def _decide(self, found: Decision) -> Decision:
        """Trust an answer, call it hard, or abstain."""
        state, chance = self.state, found.confidence
        if not found.votes and not state.verdicts:
            nothing = "no member knows these labels yet"
            return replace(found, labels=(), confidence=0.0, hard=True, reason=nothing)
        reason = f"{chance:.2f} sure of {found.labels[0]}"
        if state.trust == "llm" and chance < state.llm_accuracy:
            worse = f"{reason}, less than the LLM ({state.llm_accuracy:.2f})"
            return replace(found, labels=(), confidence=0.0, hard=True, reason=worse)
        refused = state.accept_above is not None and chance < state.accept_above
        if refused:
            reason += f", accepted from {state.accept_above:.2f} on"
        if found.gain >= MIN_GAIN:
            reason += f", a call to the LLM adds {found.gain:.2f}"
        return replace(found, hard=refused or found.gain >= MIN_GAIN, reason=reason)


def surest_of_each(probabilities: Array) -> npt.NDArray[np.intp]:
    """Indices of texts, the surest of each label first: with one label only nothing is proved."""
    best, sure = probabilities.argmax(axis=1), -probabilities.max(axis=1)
    rank = np.empty(len(best), dtype=np.intp)
    for label in range(probabilities.shape[1]):
        mine = np.flatnonzero(best == label)
        rank[mine[np.argsort(sure[mine], kind="stable")]] = np.arange(len(mine))
    order: npt.NDArray[np.intp] = np.lexsort((sure, rank))
    return order


def first_probabilities(evidence: Evidence) -> Array:
    """The mean vote (texts, labels); all labels alike where no member votes."""
    texts, members, labels = evidence.votes.shape
    flat = np.full((texts, labels), 1.0 / labels)
    if not members:
        return flat
    votes = evidence.votes.astype(np.float64)
    deaf = np.isnan(votes).all(axis=(1, 2))
    votes[deaf] = 1.0 / labels
    pooled = pool(votes)
    return np.where(np.isfinite(pooled), pooled, flat)


def member_scores(evidence: Evidence) -> Array:
    """Log-votes with unknown labels filled in, shape (texts, labels, members)."""
    votes = evidence.votes.astype(np.float64)
    labels = votes.shape[-1]
    silent = np.isnan(votes).all(axis=-1, keepdims=True)
    filled = complete(np.where(silent, 1.0 / labels, votes))
    return log_softmax(np.log(np.clip(filled, _FLOOR, 1.0)), axis=-1).transpose(0, 2, 1)


def expected_gain(probabilities: Array, confusion: Array) -> Array:
    """Expected rise of the chance of a right label by one answer of the LLM, shape (texts,).

    sum_a max_k p(k) C[k, a] - max_k p(k): the value of information of one noisy answer (Howard,
    IEEE Trans. SSC 1966).
    """
    labels = confusion.shape[0]
    gains = np.empty(len(probabilities))
    step = max(1, _BLOCK // labels**2)
    for start in range(0, len(probabilities), step):
        block = probabilities[start : start + step]
        after = (block[:, :, None] * confusion).max(axis=1).sum(axis=1)
        gains[start : start + step] = after - block.max(axis=1)
    return np.maximum(gains, 0.0)


def fuse(probabilities: Array, answers: npt.NDArray[np.integer[Any]], confusion: Array) -> Array:
    """Bayes: posteriors (texts, labels) from priors (texts, labels) and answers, -1 for none."""
    posterior = probabilities.copy()
    said = answers >= 0
    posterior[said] *= confusion[:, answers[said]].T
    posterior /= posterior.sum(axis=1, keepdims=True)
    return posterior


def confidence_odds(confidences: Array, calibration: tuple[float, float]) -> Array:
    """What each confidence (texts,) multiplies the odds of its answer by; 1 where unknown."""
    slope, offset = calibration
    odds: Array = np.exp(np.clip(slope * logit(confidences) + offset, -_MOST_LOG_ODDS, None))
    return np.where(np.isnan(confidences), 1.0, np.minimum(odds, np.exp(_MOST_LOG_ODDS)))


def refine(posterior: Array, answers: npt.NDArray[np.integer[Any]], odds: Array) -> Array:
    """Bayes once more: the chance of each given answer times `odds` (texts,).

    P(k | answer a, confidence c) ~ P(k | a) P(c | a right) / P(c | a wrong) where k = a.
    """
    refined = posterior.copy()
    said = np.flatnonzero(answers >= 0)
    refined[said, answers[said]] *= odds[said]
    refined /= refined.sum(axis=1, keepdims=True)
    return refined


def logit(chances: Array) -> Array:
    """Log-odds, of chances held within 0.01 to 0.99."""
    held = np.clip(chances, 0.01, 0.99)
    result: Array = np.log(held) - np.log1p(-held)
    return result


def symmetric(accuracy: float, labels: int) -> Array:
    """A confusion matrix (labels, labels) whose errors fall on all other labels alike."""
    if labels < 2:
        return np.ones((labels, labels))
    matrix = np.full((labels, labels), (1.0 - accuracy) / (labels - 1))
    np.fill_diagonal(matrix, accuracy)
    return matrix


def unit(rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Scale rows to length 1, in their own precision."""
    lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows))[:, None]
    scaled: npt.NDArray[Any] = rows / np.maximum(lengths, 1e-9)
    return scaled


def log_softmax(scores: Array, axis: int = -1) -> Array:
    """Normalise log-scores along an axis."""
    shifted = scores - scores.max(axis=axis, keepdims=True)
    result: Array = shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))
    return result


def _said(
    names: Sequence[str], votes: npt.NDArray[Any], labels: Sequence[str]
) -> list[tuple[MemberVote, ...]]:
    """What each voice says of each text, from votes (texts, voices, labels); silent ones say none.

    Computed for all texts at once: text by text it would cost as much as the rest of a decision.
    """
    if not votes.shape[1]:
        return [()] * len(votes)
    heard = np.where(np.isnan(votes), -1.0, votes)
    best, chances = heard.argmax(axis=2).tolist(), heard.max(axis=2).tolist()
    return [
        tuple(
            MemberVote(name, (labels[label],), chance)
            for name, label, chance in zip(names, row, row_chances, strict=True)
            if chance >= 0.0
        )
        for row, row_chances in zip(best, chances, strict=True)
    ]


def _pack(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        raw = base64.b64encode(value.astype("<f2").tobytes()).decode("ascii")
        return {"f2": raw, "shape": list(value.shape)}
    raise TypeError(f"cannot pack {type(value).__name__}")


def _unpack(row: dict[str, Any]) -> Any:
    if "f2" not in row:
        return row
    flat = np.frombuffer(base64.b64decode(row["f2"]), "<f2")
    return flat.astype(np.float64).reshape(row["shape"])
