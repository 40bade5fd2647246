"""How the votes of a committee become one decision.

`DecisionRule` is what all rules have in common; value_rule.py has the default. `PaperRule` is the
paper's: majority vote, and a sample on which the members do not all agree is hard (arXiv
2506.16393, section 3). It knows probabilities and label names; no text, no model.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from specialists.evidence import Evidence
from specialists.types import Decision, LabelSet, MemberVote

Votes = npt.NDArray[np.float32]  # (members, labels), NaN where a member does not know a label
Probabilities = npt.NDArray[np.float64]
Scales = npt.NDArray[np.float64]  # (labels, 2): slope and offset of each label's log-odds

_CHOSEN = 0.5  # multiple choice: a label is said from this probability on
_FLOOR = 1e-4  # of a probability, and its distance from 1, before its odds are scaled


class DecisionRule(Protocol):
    """Turns what a committee says of texts into decisions."""

    def decide(self, evidence: Evidence, names: Sequence[str], labels: LabelSet) -> list[Decision]:
        """Decide each text, in order; `names` are the members'."""
        ...


def abstain(reason: str, *, hard: bool) -> Decision:
    """The decision that names no label."""
    return Decision(labels=(), confidence=0.0, hard=hard, reason=reason)


def noted(decisions: list[Decision], evidence: Evidence) -> list[Decision]:
    """Put what is to know of how a text was read into its decision's reason.

    Where nobody was heard at all it is the reason.
    """
    if evidence.notes is None:
        return decisions
    return [
        replace(one, reason=f"{one.reason}; {note}" if one.votes or one.heads else note)
        if note
        else one
        for one, note in zip(decisions, evidence.notes.tolist(), strict=True)
    ]


class PaperRule:
    """Majority vote; hard unless at least two members could say the answer and all say it.

    Of multiple choice a label is said from one half on, of its probability as `scales` make it:
    they give each label a threshold of its own.
    """

    def __init__(self, scales: Scales | None = None) -> None:
        self._scales = scales

    def decide(self, evidence: Evidence, names: Sequence[str], labels: LabelSet) -> list[Decision]:
        """Decide each text, in order; the members' order is free."""
        found = [self._decide(votes, names, labels) for votes in evidence.votes]
        return noted(found, evidence)

    def _decide(self, votes: Votes, names: Sequence[str], labels: LabelSet) -> Decision:
        needed = 1 if labels.multiple else 2  # with one label known there is no choice to make
        voting = (~np.isnan(votes)).sum(axis=1) >= needed
        heard = votes[voting].astype(np.float64)
        members = [name for name, votes_too in zip(names, voting, strict=True) if votes_too]
        if not members:
            return abstain("no member knows these labels", hard=True)
        if labels.multiple:
            return _decide_multiple(heard, members, labels.names, self._scales)
        return _decide_single(heard, members, labels.names)


def pool(votes: Probabilities) -> Probabilities:
    """Average votes (..., members, labels) of single choice into probabilities (..., labels).

    They sum to 1; the order of the members has no influence.
    """
    pooled = mean_over_members(complete(votes))
    pooled /= pooled.sum(axis=-1, keepdims=True)
    return pooled


def complete(votes: Probabilities) -> Probabilities:
    """Fill in the labels that a member does not know; shape (..., members, labels) stays.

    Such a label gets what the knowing members give it on average, and the member's own votes are
    scaled to the rest. A label that nobody knows gets 0.
    """
    known = ~np.isnan(votes)
    average = np.expand_dims(mean_over_members(votes), axis=-2)
    filled = np.where(known, 0.0, average)
    missing = np.minimum(filled.sum(axis=-1, keepdims=True), 1.0)
    rows: Probabilities = filled + np.where(known, votes, 0.0) * (1.0 - missing)
    rows /= rows.sum(axis=-1, keepdims=True)
    return rows


def mean_over_members(votes: Probabilities) -> Probabilities:
    """Mean of the known votes per label, 0 where none is; sorted first, as sums depend on order."""
    ordered = np.sort(votes, axis=-2)  # NaN last
    count = (~np.isnan(ordered)).sum(axis=-2)
    mean: Probabilities = np.nansum(ordered, axis=-2) / np.maximum(count, 1)
    return mean


def _decide_single(votes: Probabilities, members: list[str], names: Sequence[str]) -> Decision:
    pooled = pool(votes)
    choices = np.nanargmax(votes, axis=1)
    counts = Counter(choices.tolist())
    winner = max(range(len(names)), key=lambda label: (counts[label], pooled[label]))
    counting = ~np.isnan(votes[:, winner])
    said = [
        MemberVote(member, (names[choice],), float(row[choice]))
        for member, choice, row in zip(members, choices, votes, strict=True)
    ]
    heard = [vote for vote, counts_too in zip(said, counting, strict=True) if counts_too]
    agree = sum(vote.labels == (names[winner],) for vote in heard)
    return Decision(
        labels=(names[winner],),
        confidence=float(pooled[winner]),
        hard=agree < len(heard) or len(heard) < 2,
        reason=_single_reason(names[winner], heard, agree),
        probabilities=tuple(pooled.tolist()),
        votes=tuple(said),
    )


def _single_reason(winner: str, heard: list[MemberVote], agree: int) -> str:
    if len(heard) < 2:
        return f"only {heard[0].member} knows {winner}"
    if agree == len(heard):
        return f"{agree} of {agree} agree"
    others: dict[str, list[str]] = {}
    for vote in sorted(heard, key=lambda vote: vote.member):
        if vote.labels != (winner,):
            others.setdefault(vote.labels[0], []).append(vote.member)
    dissent = "; ".join(
        f"{' and '.join(who)} {'says' if len(who) == 1 else 'say'} {label}"
        for label, who in sorted(others.items())
    )
    return f"{agree} of {len(heard)} say {winner}; {dissent}"


def log_odds(probabilities: Probabilities) -> Probabilities:
    """Of each probability, kept finite."""
    kept = np.clip(probabilities, _FLOOR, 1.0 - _FLOOR)
    odds: Probabilities = np.log(kept) - np.log1p(-kept)
    return odds


def scaled(probabilities: Probabilities, scales: Scales | None) -> Probabilities:
    """Probabilities (..., labels) by what was learned of each label; NaN stays.

    Platt's scaling of log-odds ("Probabilistic Outputs for Support Vector Machines", 1999).
    """
    if scales is None:
        return probabilities
    found: Probabilities = expit(scales[:, 0] * log_odds(probabilities) + scales[:, 1])
    return found


def _decide_multiple(
    votes: Probabilities, members: list[str], names: Sequence[str], scales: Scales | None
) -> Decision:
    pooled = scaled(mean_over_members(votes), scales)
    votes = scaled(votes, scales)
    chosen = pooled >= _CHOSEN
    known, yes = ~np.isnan(votes), votes >= _CHOSEN  # NaN >= x is false
    disputed = np.any(known & (yes != chosen), axis=0)
    lonely = chosen & (known.sum(axis=0) < 2)
    said = tuple(
        MemberVote(
            member,
            tuple(name for name, says in zip(names, row_yes, strict=True) if says),
            float(np.nanmax(row)),
        )
        for member, row, row_yes in zip(members, votes, yes, strict=True)
    )
    return Decision(
        labels=tuple(name for name, is_in in zip(names, chosen, strict=True) if is_in),
        # As sure as of its least certain label; a label that nobody knows says nothing.
        confidence=float(np.min(np.maximum(pooled, 1.0 - pooled)[known.any(axis=0)])),
        hard=bool(disputed.any() or lonely.any() or not chosen.any()),
        reason=_multiple_reason(names, chosen, disputed, lonely, len(members)),
        probabilities=tuple(pooled.tolist()),
        votes=said,
    )


def _multiple_reason(
    names: Sequence[str],
    chosen: npt.NDArray[np.bool_],
    disputed: npt.NDArray[np.bool_],
    lonely: npt.NDArray[np.bool_],
    members: int,
) -> str:
    """Say the first of: members differ, one member alone, no label, all agree."""
    if disputed.any():
        return f"members differ on {_listed(names, disputed)}"
    if lonely.any():
        return f"only one member knows {_listed(names, lonely)}"
    if not chosen.any():
        return f"no label reaches {_CHOSEN}"
    return f"{members} of {members} agree"


def _listed(names: Sequence[str], mask: npt.NDArray[np.bool_]) -> str:
    return ", ".join(name for name, is_in in zip(names, mask, strict=True) if is_in)
