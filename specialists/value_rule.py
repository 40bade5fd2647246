"""The default rule: decide by measured reliability, and ask the LLM where that is worth most.

The members' votes and the project's live heads are pooled with weights fitted on verdicts; what the
LLM's answers are worth is a matrix estimated on this project. All of it is a `RuleState`; here it
is only evaluated. It knows arrays and label names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from specialists.chances import (
    Array,
    confidence_odds,
    expected_gain,
    first_probabilities,
    fuse,
    log_softmax,
    member_scores,
    refine,
    surest_of_each,
)
from specialists.decision import noted
from specialists.evidence import Evidence
from specialists.registry import SIMILARITY
from specialists.rule_state import RuleState
from specialists.types import Decision, LabelSet, MemberVote

LIVE = "live member"
"""How the live member is called among the votes."""
MIN_GAIN = 0.01
"""Below this expected gain in the chance of a right label a call is not worth its price."""


class ValueRule:
    """Decides by pooled probability; hard where a call is worth it or the promise is not kept."""

    def __init__(self, state: RuleState) -> None:
        self.state = state

    def decide(self, evidence: Evidence, names: Sequence[str], labels: LabelSet) -> list[Decision]:
        """Decide each text, in order."""
        if not len(evidence):
            return []
        opinions, live = self._opinions(evidence), self._live(evidence)
        probabilities = self._pooled(evidence, opinions, live)
        gains = self.gains(probabilities)
        views = [f"head {number}" for number in range(1, len(opinions) + 1)]
        heard = evidence.votes
        if live is not None:
            names, heard = (*names, LIVE), np.concatenate([heard, np.exp(live)[:, None]], axis=1)
        votes = _said(names, heard, labels.names)
        heads = _said(views, np.exp(opinions).transpose(1, 0, 2), labels.names)
        found = [
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
        return noted(found, evidence)

    def probabilities(self, evidence: Evidence) -> Array:
        """How likely each label is right, shape (texts, labels), before any answer of the LLM."""
        return self._pooled(evidence, self._opinions(evidence), self._live(evidence))

    def _opinions(self, evidence: Evidence) -> Array:
        """Log-probabilities of the heads, shape (heads, texts, labels)."""
        said = [
            head.log_probabilities(view)
            for head, view in zip(self.state.heads, evidence.features, strict=False)
        ]
        texts, _, labels = evidence.votes.shape
        return np.stack(said) if said else np.zeros((0, texts, labels))

    def _live(self, evidence: Evidence) -> Array | None:
        """Log-probabilities of the live member, (texts, labels), if it was admitted.

        NaN for texts that were observed before the frozen view was.
        """
        live = self.state.live
        if live is None or not live.admitted or evidence.frozen is None:
            return None
        return live.head.log_probabilities(evidence.frozen)

    def _pooled(self, evidence: Evidence, opinions: Array, live: Array | None) -> Array:
        if not self.state.verdicts:
            return first_probabilities(evidence)
        pooled = member_scores(evidence) @ self.state.member_weights
        pooled += np.tensordot(self.state.head_weights[: len(opinions)], opinions, axes=1)
        if live is not None and self.state.live:
            pooled += self.state.live.weight * np.nan_to_num(live)
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
        taught = found.heads or any(vote.member != SIMILARITY for vote in found.votes)
        if not taught and not (found.votes and state.verdicts):
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
