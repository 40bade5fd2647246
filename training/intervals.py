"""How sure one can be of an error rate after counting: intervals and sequential evidence.

Numbers only; it knows nothing of labels or projects.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import betainc, betaln
from scipy.stats import binomtest

from training.errors import TrainingError

_SIGMAS = 1.959964  # 95 % of a normal distribution
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


def prediction_powered(
    pairs: Sequence[tuple[bool, bool]], others: tuple[int, int]
) -> tuple[float, float, float]:
    """Return a share of right labels and its 95 % interval, from people's and an LLM's answers.

    `pairs` has (right by a person, right by the LLM) of labels that both were asked about, `others`
    (right by the LLM, labels) of those that only the LLM was. However wrong the LLM is, what it
    says of the pairs shows how wrong, and is taken off. The interval is the score interval of as
    many people's answers as would tell as much. Raises TrainingError without pairs. Source:
    Angelopoulos, Bates, Fannjiang, Jordan and Zrnic, Prediction-powered inference, Science 2023,
    with the weight of the LLM of Angelopoulos, Duchi and Zrnic, PPI++, arXiv 2311.01453.
    """
    n, (agreed, size) = len(pairs), others
    if not n:
        raise TrainingError("Nothing was answered by a person; give 1 answer or more.")
    truth, said = np.array(pairs, dtype=np.float64).T
    share, worth, spread = float(truth.mean()), float(n), float(said.var())
    if size and spread and truth.var():
        together = float(((truth - truth.mean()) * (said - said.mean())).mean())
        part = size / (n + size)
        share += together / spread * part * (agreed / size - float(said.mean()))
        worth = n / (1 - part * together**2 / (spread * float(truth.var())))
    share = min(1.0, max(0.0, share))
    low, high = _score(share, worth)
    return share, low, high


def _score(share: float, n: float) -> tuple[float, float]:
    """Wilson's interval of a share of `n` samples, which need be no whole number."""
    middle = (share + _SIGMAS**2 / (2 * n)) / (1 + _SIGMAS**2 / n)
    spread = math.sqrt(share * (1 - share) / n + (_SIGMAS / (2 * n)) ** 2)
    half = _SIGMAS / (1 + _SIGMAS**2 / n) * spread
    return max(0.0, middle - half), min(1.0, middle + half)


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
