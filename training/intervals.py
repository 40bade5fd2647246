"""How sure one can be of an error rate after counting: intervals and sequential evidence.

Numbers only; it knows nothing of labels or projects.
"""

from __future__ import annotations

import math

from scipy.special import betainc, betaln
from scipy.stats import binomtest

from training.errors import TrainingError

_PRIOR = 0.5  # Jeffreys' prior Beta(1/2, 1/2): few samples suffice when none of them is wrong


def wilson(right: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the score interval of a share of which `right` of `n` samples were seen.

    (0, 1) when nothing was seen. Raises TrainingError for counts or a confidence that cannot be.
    Source: Wilson, Probable inference, the law of succession, and statistical inference (1927).
    """
    _check(right, n, confidence)
    if not n:
        return 0.0, 1.0
    interval = binomtest(right, n).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def newcombe(right: int, n: int, others_right: int, others: int) -> tuple[float, float, float]:
    """Return how much more often the first are right than the others, and its 95 % interval.

    The difference of two shares (-1..1), each with its score interval. Raises TrainingError as
    `wilson` does, and without any on either side. Source: Newcombe, Interval estimation for the
    difference between independent proportions, Statistics in Medicine 1998, method 10.
    """
    (low, high), (others_low, others_high) = wilson(right, n), wilson(others_right, others)
    if not n or not others:
        raise TrainingError(f"{n} and {others} cannot be compared; give 1 or more of each.")
    one, other = right / n, others_right / others
    down = math.hypot(one - low, others_high - other)
    up = math.hypot(high - one, other - others_low)
    return one - other, one - other - down, one - other + up


def evidence_below(errors: int, n: int, rate: float) -> float:
    """Return how strongly the counts speak for an error rate below `rate`, as a betting score.

    It is a wealth that starts at 1 and is not expected to grow while the true rate is `rate` or
    more, so it ever reaches 1 / (1 - confidence) with a chance of 1 - confidence at most, however
    often one looks (Ville's inequality). A fixed-sample test has no such guard: looked at after
    every sample up to 1,000, an exact binomial test at 10 % fails in 38 % of the cases.
    The score is the likelihood ratio against `rate` of a Jeffreys prior cut off at `rate`.
    Raises TrainingError for counts or a rate that cannot be. Source: Ramdas, Grunwald, Vovk and
    Shafer, Game-theoretic statistics and safe anytime-valid inference (2023).
    """
    _check(errors, n, rate)
    after, before = _mass_below(errors, n, rate), _mass_below(0, 0, rate)
    ratio = after - before - errors * math.log(rate) - (n - errors) * math.log1p(-rate)
    return math.exp(min(ratio, 700.0))  # beyond that a float has no number


def _mass_below(errors: int, n: int, rate: float) -> float:
    """The log of the unnormalised posterior mass below `rate`."""
    a, b = errors + _PRIOR, n - errors + _PRIOR
    share = float(betainc(a, b, rate))
    return float(betaln(a, b)) + math.log(share) if share else -math.inf


def _check(count: int, n: int, share: float) -> None:
    if not 0 <= count <= n:
        raise TrainingError(f"{count} of {n} is no count; give 0 to {n} of them.")
    if not 0 < share < 1:  # also refuses NaN
        raise TrainingError(f"A share is {share}; give one between 0 and 1, both excluded.")
