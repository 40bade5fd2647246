"""The judgement on a stage: what its committee and the served one answer to held-out verdicts.

A new committee is served when it has no fewer of them right, and when nothing that an average hides
speaks against it: no label is lost, nothing learned first is forgotten, the mean F1 has not fallen.
The average is compared as it is; for its parts, which are many and small, chance is allowed for.
The members are compared by themselves: they are what a stage trains and what lasts. As they would
be served, each committee with its learned rule, the new one may not be surely worse.
Where people's verdicts are few the LLM's are heard beside them: the new committee may have no fewer
of both together right, either. So an LLM alone makes nobody pass that people refuse.

How far to trust it: a promoted committee may truly be worse than the one before by the `margin` on
its card, and with a chance below 5 % by more (benchmarks/gate.py: 2 to 3 %). With a tenth of the
answers changed that is some 10 points at 30 verdicts, 5 at 100 and 3 at 300. A stage that truly
loses 5 points passes in 27, 8 and 0 % of the cases, one that gains 5 in 87, 97 and 100 %. Asking
for a proven gain instead refuses most good stages, and ten stages then reach less.
Without people's verdicts all this is about agreement with the LLM: one that turns wrong is found by
what it said earlier, one that was wrong from the start is not.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest, norm

from training.card import HeldOutSource

ALPHA = 0.05
"""The chance to refuse a harmless stage for one of the parts, in each of the three looks."""
LEAST_OF_A_LABEL = 5
LEAST_OF_THE_FIRST = 10
"""Fewer verdicts than that cannot tell a loss from chance: an exact test needs five losses."""
FIRST_SHARE = 1 / 3
_RESAMPLES = 1000

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Trial:
    """A held-out verdict, given at `at`, and what the served and the new committee answered."""

    labels: tuple[str, ...]
    before: tuple[str, ...]
    after: tuple[str, ...]
    at: float = 0.0

    @property
    def right(self) -> tuple[bool, bool]:
        """Whether the served and the new committee gave its labels."""
        return set(self.before) == set(self.labels), set(self.after) == set(self.labels)


@dataclass(frozen=True)
class Judgement:
    """What was found; `before` and `after` are accuracies (0..1), None when `n` is 0.

    `p_value` is that of as many changes for the worse if the stage changed nothing on average;
    `margin` (0..1) is how much less often right the new committee may truly be, with a chance of
    ALPHA to be worse still; `labels` has (verdicts, right before, right after) by label.
    """

    passed: bool
    reason: str
    before: float | None
    after: float | None
    n: int
    p_value: float | None = None
    margin: float | None = None
    labels: Mapping[str, tuple[int, int, int]] = field(default_factory=dict)


def judge(
    trials: Sequence[Trial],
    source: HeldOutSource,
    also: Sequence[Trial] = (),
    as_served: Sequence[Trial] = (),
) -> Judgement:
    """Judge a stage by its trials, all of verdicts of one source; `also` are heard beside few.

    `as_served` are those of the committees with what their rules have learned.
    """
    n = len(trials)
    if source == "none" or not n:
        return Judgement(True, "Promoted unmeasured: no held-out verdicts.", None, None, 0)
    before, after = _right(trials)
    labels = _by_label(trials)
    against = [*_lost_labels(trials, labels), *_forgotten(trials), *_fallen_f1(trials, labels)]
    against += _worse_served(as_served)
    both = [*trials, *also]
    was, now = _right(both)
    passed = after >= before and now >= was and not against
    if also:
        against.append(
            f"These are few, so the LLM's count too: with them {now} of {len(both)} right, "
            f"{was} before."
        )
    reason = (
        f"{'Promoted' if passed else 'Refused'}: {after} of {n} held-out {source} verdicts "
        f"right ({after / n:.1%}), {before} ({before / n:.1%}) before."
    )
    return Judgement(
        passed,
        " ".join([reason, *against]),
        before / n,
        after / n,
        n,
        round(_chance_of_loss(trials), 4),
        round(margin(trials), 4),
        labels,
    )


def _worse_served(trials: Sequence[Trial]) -> Iterator[str]:
    """The answers that annotators would get, if they are worse than chance explains.

    A new committee's rule has less to learn from than the served one's and catches up with later
    verdicts, so that it may be behind, but not surely.
    """
    if _chance_of_loss(trials) <= ALPHA:
        before, after = _right(trials)
        yield (
            f"As it would be served, with its rule, it is worse: {after} of {len(trials)} right, "
            f"{before} before."
        )


def _right(trials: Iterable[Trial]) -> tuple[int, int]:
    """How many the served and the new committee have right."""
    before, after = (sum(right) for right in zip(*(one.right for one in trials), strict=True))
    return before, after


def _by_label(trials: Iterable[Trial]) -> dict[str, tuple[int, int, int]]:
    """(verdicts, right before, right after) by label, of the verdicts that name it."""
    found: dict[str, tuple[int, int, int]] = {}
    for one in trials:
        was, now = one.right
        for label in one.labels:
            n, before, after = found.get(label, (0, 0, 0))
            found[label] = (n + 1, before + was, after + now)
    return dict(sorted(found.items()))


def _chance_of_loss(trials: Iterable[Trial]) -> float:
    """One-sided p-value of so many losses among the changed answers, were gains as likely.

    The exact form of McNemar's test (Psychometrika 1947): ties tell nothing.
    """
    changes = [now for was, now in (one.right for one in trials) if was != now]
    if not changes:
        return 1.0
    return float(binomtest(sum(changes), len(changes), 0.5, alternative="less").pvalue)


def margin(trials: Collection[Trial]) -> float:
    """How much less often right (0..1) the new committee may truly be, one-sided at ALPHA.

    The lower end of a Wald interval of the paired difference, after half a trial more of each kind
    (Agresti and Min, Statistics in Medicine 2005); 0 when even that is a gain.
    """
    pairs = Counter(one.right for one in trials)
    lost, gained, n = pairs[True, False] + 0.5, pairs[False, True] + 0.5, len(trials) + 2
    gain = (gained - lost) / n
    error = math.sqrt(lost + gained - n * gain**2) / n
    return max(0.0, float(norm.ppf(1 - ALPHA)) * error - gain)


def _lost_labels(
    trials: Sequence[Trial], labels: Mapping[str, tuple[int, int, int]]
) -> Iterator[str]:
    """Labels that are answered worse than chance explains, all looks together (Bonferroni)."""
    measured = [label for label, (n, _, _) in labels.items() if n >= LEAST_OF_A_LABEL]
    for label in measured:
        its = [one for one in trials if label in one.labels]
        if _chance_of_loss(its) <= ALPHA / len(measured):
            n, before, after = labels[label]
            yield f"{label!r} is lost: {after} of {n} right, {before} before."


def _forgotten(trials: Sequence[Trial]) -> Iterator[str]:
    """The verdicts that came first, if they are answered worse than chance explains."""
    first = sorted(trials, key=lambda one: one.at)[: round(len(trials) * FIRST_SHARE)]
    if len(first) >= LEAST_OF_THE_FIRST and _chance_of_loss(first) <= ALPHA:
        before, after = _right(first)
        yield (
            f"What was learned first is forgotten: {after} of the {len(first)} earliest right, "
            f"{before} before."
        )


def _fallen_f1(trials: Sequence[Trial], labels: Iterable[str]) -> Iterator[str]:
    """The mean F1 over labels, if it fell by more than redrawing the trials explains.

    Paired bootstrap, percentile interval (Efron and Tibshirani, An introduction to the bootstrap,
    1993, chapter 13).
    """
    names = list(labels)
    truth, before, after = (
        np.array([[float(name in answer) for name in names] for answer in answers])
        for answers in zip(*((one.labels, one.before, one.after) for one in trials), strict=True)
    )
    once = np.ones((1, len(trials)))
    was, now = (float(_mean_f1(once, truth, given)[0]) for given in (before, after))
    if now >= was:
        return
    draws = np.random.default_rng(0).multinomial(
        len(trials), np.full(len(trials), 1 / len(trials)), _RESAMPLES
    )
    weights = draws.astype(np.float64)
    gains = _mean_f1(weights, truth, after) - _mean_f1(weights, truth, before)
    if np.quantile(gains, 1 - ALPHA) < 0:
        yield f"The mean F1 over labels fell from {was:.3f} to {now:.3f}."


def _mean_f1(draws: Floats, truth: Floats, given: Floats) -> Floats:
    """Mean F1 over labels of each draw, from how often it has each trial, shape (draws, trials).

    `truth` and `given` are 0 or 1, shape (trials, labels).
    """
    hits = draws @ (truth * given)  # (draws, labels)
    sizes = draws @ (truth + given)
    scores = np.divide(2 * hits, sizes, out=np.zeros_like(hits), where=sizes > 0)
    mean: Floats = scores.mean(axis=1)
    return mean
