"""Which candidates make the committee: judged by their votes on the project's own texts.

Votes come in as arrays; no model is known here, and neither downloads nor what an LLM thinks of a
candidate. With verdicts on the texts:

- Members are taken one after the other, each time the one that helps the mean vote most (greedy
  ensemble selection: Caruana, Niculescu-Mizil, Crew, Ksikes, ICML 2004). What is compared is the
  quadratic score of the probabilities (Brier, Monthly Weather Review 78, 1950): its differences
  vary less between texts than those of right and wrong, and samples are small.
- A member must help by more than Z standard errors of its gain over the texts: the best of many
  candidates gains a little by chance alone, and such a gain is not believed. One that errs on the
  same texts as a member repeats it and is not admitted, whatever it gains: it only shifts weights.
- The accuracy that is promised is cross-validated: the whole choice is made again without each
  fold and measured on it (Stone, Journal of the Royal Statistical Society B 36, 1974).

Without verdicts nobody knows who is right. Then those are taken that agree most with the others,
which says something only where most candidates are good.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from meta_controller.label_maps import (
    Bools,
    Floats,
    Ints,
    Z,
    folds,
    kappa,
    right,
    said,
    standard_error,
)

Pool = Callable[[Floats], Floats]
"""The mean vote of a committee: (texts, members, labels) -> (texts, labels)."""

LEAST_VERDICTS = 50
"""With fewer, an accuracy of 80 % is known to 11 points, and no choice follows from it."""

REPEATS = 0.9
"""Two members whose errors correlate so much are one."""

_SAME_ANSWERS = 0.98  # without verdicts: who says so often the same as another repeats it
_FOLDS = 5


@dataclass(frozen=True)
class Ballot:
    """A candidate's votes (texts, labels), NaN where it knows no label; `doubt` bars it."""

    name: str
    votes: Floats = field(repr=False)
    doubt: str = ""


@dataclass(frozen=True)
class Finding:
    """What was measured of a candidate.

    Shares are of texts (0..1): `accuracy` alone, `disagreement` with the chosen others, `gain` in
    accuracy when it was admitted or last tried. `error_correlation` is the highest with a chosen
    other. None is what cannot be known without verdicts, or with nobody to compare.
    """

    name: str
    chosen: bool
    why: str
    accuracy: float | None
    disagreement: float | None
    error_correlation: float | None
    gain: float | None
    confidence: float


@dataclass(frozen=True)
class Choice:
    """The committee, in the order of admission, and what was found of every candidate.

    `accuracy` is the mean vote's on the sample that chose it, `expected` the cross-validated one
    of choosing so; both None without verdicts.
    """

    members: tuple[str, ...]
    findings: tuple[Finding, ...]
    texts: int
    accuracy: float | None = None
    expected: float | None = None


@dataclass
class _Step:
    """Why a candidate was admitted or not."""

    why: str
    gain: float | None = None


def choose(ballots: Sequence[Ballot], truth: Ints | None, k: int, pool: Pool) -> Choice:
    """Choose at most `k` members; `truth` (texts,) are label indices, None when unknown.

    Without verdicts the order of the ballots, which is that of the ranking, breaks ties.
    """
    if truth is None:
        members, steps = _by_agreement(ballots, k, pool)
        return _choice(ballots, members, steps, truth, pool)
    members, steps = _by_gain(ballots, truth, k, pool)
    choice = _choice(ballots, members, steps, truth, pool)
    return replace(choice, expected=_expected(ballots, truth, k, pool)) if members else choice


def as_given(ballots: Sequence[Ballot], truth: Ints | None, pool: Pool) -> Choice:
    """The committee of all ballots, as a person wants it; what is doubted is only said."""
    steps = {i: _Step(one.doubt or "as the file says") for i, one in enumerate(ballots)}
    return _choice(ballots, list(steps), steps, truth, pool)


def _choice(
    ballots: Sequence[Ballot],
    members: Sequence[int],
    steps: dict[int, _Step],
    truth: Ints | None,
    pool: Pool,
) -> Choice:
    accuracy = None
    if truth is not None and members:
        accuracy = float(right(_pooled(ballots, members, pool), truth).mean())
    return Choice(
        members=tuple(ballots[index].name for index in members),
        findings=tuple(_finding(i, ballots, members, steps, truth) for i in range(len(ballots))),
        texts=len(ballots[0].votes) if ballots else 0,
        accuracy=accuracy,
    )


def _by_gain(
    ballots: Sequence[Ballot], truth: Ints, k: int, pool: Pool
) -> tuple[list[int], dict[int, _Step]]:
    """Greedy forward selection; members are indices of ballots."""
    steps = {i: _Step(one.doubt) for i, one in enumerate(ballots) if one.doubt}
    open_ = [i for i, one in enumerate(ballots) if not one.doubt]
    members: list[int] = []
    while open_ and len(members) < k:
        gains = {i: _gain(ballots, members, i, truth, pool) for i in open_}
        best = max(open_, key=lambda i: float(gains[i][0].mean()))
        open_.remove(best)
        steps[best], admitted = _admission(ballots, members, best, truth, gains[best])
        if admitted:
            members.append(best)
    for i in open_:
        repeats = _repeated(ballots, members, i, truth)
        by_accuracy = _gain(ballots, members, i, truth, pool)[1]
        steps[i] = _Step(repeats or f"{k} others help more", by_accuracy)
    return members, steps


def _admission(
    ballots: Sequence[Ballot],
    members: Sequence[int],
    tried: int,
    truth: Ints,
    gain: tuple[Floats, float],
) -> tuple[_Step, bool]:
    """Whether the best of the open candidates is admitted, and why."""
    by_score, by_accuracy = gain
    if not members:
        return _Step("the best alone", by_accuracy), True
    if repeats := _repeated(ballots, members, tried, truth):
        return _Step(repeats, by_accuracy), False
    if by_score.mean() <= Z * standard_error(by_score):
        why = f"adds nothing that {len(truth)} texts can tell from chance"
        return _Step(why, by_accuracy), False
    return _Step("helps the others", by_accuracy), True


def _repeated(ballots: Sequence[Ballot], members: Sequence[int], tried: int, truth: Ints) -> str:
    """Which member a candidate only repeats; empty for none."""
    twin = max(members, key=lambda i: _correlation(ballots[i], ballots[tried], truth))
    if _correlation(ballots[twin], ballots[tried], truth) < REPEATS:
        return ""
    return f"repeats {ballots[twin].name}: errs on the same texts"


def _gain(
    ballots: Sequence[Ballot], members: Sequence[int], tried: int, truth: Ints, pool: Pool
) -> tuple[Floats, float]:
    """What a candidate adds to members: in the score of each text (texts,), and in accuracy."""
    after = _pooled(ballots, [*members, tried], pool)
    if not members:
        return -_brier(after, truth), float(right(after, truth).mean())
    before = _pooled(ballots, members, pool)
    accuracy = right(after, truth).mean() - right(before, truth).mean()
    return _brier(before, truth) - _brier(after, truth), float(accuracy)


def _brier(probabilities: Floats, truth: Ints) -> Floats:
    """The quadratic score of each text (texts,): 0 is sure and right, 2 sure and wrong."""
    wanted = np.zeros_like(probabilities)
    wanted[np.arange(len(truth)), truth] = 1.0
    score: Floats = ((probabilities - wanted) ** 2).sum(axis=1)
    return score


def _expected(ballots: Sequence[Ballot], truth: Ints, k: int, pool: Pool) -> float:
    """The accuracy of choosing so, on texts that did not take part in the choice."""
    correct = np.zeros(len(truth), dtype=np.bool_)
    for fold in folds(len(truth), _FOLDS):
        part = [Ballot(one.name, one.votes[~fold], one.doubt) for one in ballots]
        members, _ = _by_gain(part, truth[~fold], k, pool)
        here = [Ballot(one.name, one.votes[fold], one.doubt) for one in ballots]
        correct[fold] = right(_pooled(here, members, pool), truth[fold])
    return float(correct.mean())


def _by_agreement(
    ballots: Sequence[Ballot], k: int, pool: Pool
) -> tuple[list[int], dict[int, _Step]]:
    """Those that agree most with the mean vote of the others, none of them twice."""
    steps = {i: _Step(one.doubt) for i, one in enumerate(ballots) if one.doubt}
    distinct: list[int] = []
    for i, ballot in enumerate(ballots):
        twin = next((j for j in distinct if _same(ballots[j], ballot)), None)
        if twin is not None:
            steps.setdefault(i, _Step(f"repeats {ballots[twin].name}: answers the same"))
        elif i not in steps:
            distinct.append(i)
    agreement = {i: _agreement(ballots, distinct, i, pool) for i in distinct}
    ranked = sorted(distinct, key=lambda i: -agreement[i][0])
    members: list[int] = []
    for i in ranked:
        if len(distinct) > 1 and agreement[i][0] <= Z * agreement[i][1]:
            steps[i] = _Step("agrees with the others no better than chance")
        elif len(members) < k:
            members.append(i)
            steps[i] = _Step("agrees with the others")
        else:
            steps[i] = _Step(f"{k} others agree more")
    return members, steps


def _agreement(
    ballots: Sequence[Ballot], distinct: Sequence[int], one: int, pool: Pool
) -> tuple[float, float]:
    """A candidate's kappa with the mean vote of the other ones, and its standard error."""
    others = [i for i in distinct if i != one]
    if not others:
        return 0.0, 0.0
    votes = ballots[one].votes
    return kappa(said(votes), said(_pooled(ballots, others, pool)), votes.shape[1])


def _finding(
    index: int,
    ballots: Sequence[Ballot],
    members: Sequence[int],
    steps: dict[int, _Step],
    truth: Ints | None,
) -> Finding:
    ballot, step = ballots[index], steps[index]
    others = [ballots[i] for i in members if i != index]
    correlation = None
    if truth is not None and others:
        correlation = max(_correlation(one, ballot, truth) for one in others)
    return Finding(
        name=ballot.name,
        chosen=index in members,
        why=step.why,
        accuracy=None if truth is None else float(right(ballot.votes, truth).mean()),
        disagreement=float(np.mean([_differs(one, ballot) for one in others])) if others else None,
        error_correlation=correlation,
        gain=step.gain,
        confidence=_confidence(ballot.votes),
    )


def _pooled(ballots: Sequence[Ballot], members: Sequence[int], pool: Pool) -> Floats:
    return pool(np.stack([ballots[i].votes for i in members], axis=1))


def _correlation(one: Ballot, other: Ballot, truth: Ints) -> float:
    """How far two candidates err on the same texts: 1 always, 0 as chance has it (phi)."""
    errors = np.array([~right(one.votes, truth), ~right(other.votes, truth)], dtype=np.float64)
    if (errors.std(axis=1) == 0).any():  # one is always right, or always wrong
        return float((errors[0] == errors[1]).all())
    return float(np.corrcoef(errors)[0, 1])


def _differs(one: Ballot, other: Ballot) -> float:
    """The share of texts to which two candidates say different labels."""
    different: Bools = said(one.votes) != said(other.votes)
    return float(different.mean())


def _same(one: Ballot, other: Ballot) -> bool:
    return 1.0 - _differs(one, other) >= _SAME_ANSWERS


def _confidence(votes: Floats) -> float:
    """The probability of what it says, on average; how sure it is, not how right."""
    return float(np.nan_to_num(votes, nan=0.0).max(axis=1).mean()) if len(votes) else 0.0
