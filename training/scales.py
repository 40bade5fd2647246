"""Scales of multiple choice: what a project's verdicts say of each label's probability.

Where a label's scaled probability is one half lies its threshold, so that a label which members say
too seldom or too often is said as often as it is right. Arrays only; no texts, no models.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from specialists.decision import Probabilities, Scales, log_odds, mean_over_members
from specialists.evidence import Evidence

LEAST = 8
"""Verdicts below which every threshold stays one half."""

_OFFSET_RIDGE = 1.0  # on its square: a dozen verdicts that contradict a label move it half way
_SLOPE_RIDGE = 8.0  # on the square of its logarithm
_MOST = 4.0  # of an offset, and of the logarithm of a slope a third of that


def fit(
    evidence: Evidence, truth: npt.NDArray[np.bool_], weights: npt.NDArray[np.float64]
) -> Scales | None:
    """Slope and offset (labels, 2) by verdicts `truth` (texts, labels) that count `weights`.

    Platt's scaling, label by label, drawn to 1 and 0 while verdicts are few. The threshold where a
    calibrated probability is one half makes the fewest errors. Those that make the most F1 (Lipton,
    Elkan and Narayanaswamy, ECML 2014) depend on how frequent a label is, and verdicts are mostly
    of hard texts, among which it is not as frequent as in the project. Labels that no member knows
    stay as they are. None below LEAST verdicts.
    """
    if len(truth) < LEAST:
        return None
    votes = evidence.votes.astype(np.float64)
    odds = log_odds(mean_over_members(votes))
    known = (~np.isnan(votes)).sum(axis=1) > 0
    scales = np.tile([1.0, 0.0], (truth.shape[1], 1))
    for label in range(truth.shape[1]):
        rows = known[:, label]
        if rows.any():
            scales[label] = _fit(odds[rows, label], truth[rows, label], weights[rows])
    return scales


def _fit(
    odds: Probabilities, truth: npt.NDArray[np.bool_], weights: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    sign = np.where(truth, 1.0, -1.0)

    def loss(at: npt.NDArray[np.float64]) -> float:
        log_slope, offset = at
        wrong = np.logaddexp(0.0, -sign * (np.exp(log_slope) * odds + offset))
        return float(weights @ wrong + _SLOPE_RIDGE * log_slope**2 + _OFFSET_RIDGE * offset**2)

    bounds = [(-_MOST / 3, _MOST / 3), (-_MOST, _MOST)]
    log_slope, offset = minimize(loss, np.zeros(2), method="L-BFGS-B", bounds=bounds).x
    return np.array([np.exp(log_slope), offset])
