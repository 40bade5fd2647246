"""What an LLM's own confidence is worth, learned on texts that people answered too.

Platt scaling (Advances in Large Margin Classifiers, 1999) of its log-odds. Arrays only.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize

from specialists.chances import Array, logit
from training.reliability import Answers

LEAST = 40
"""Texts that both answered, below which a confidence stays unused."""
LEAST_WRONG = 5
"""Wrong answers among them: without any nobody can tell what a wrong one looks like."""
_RIDGE = 1.0  # on the slope


def calibrate(answers: Answers) -> tuple[float, float] | None:
    """Fit (slope, offset) of `RuleState.calibration`; None when too little is known.

    The slope is never negative: a confidence that speaks against itself is noise.
    """
    if answers.confidence is None:
        return None
    both = answers.by_llm & answers.by_people & ~np.isnan(answers.confidence)
    right = (answers.llm[both] == answers.human[both]).astype(np.float64)
    wrong = len(right) - right.sum()
    if len(right) < LEAST or min(wrong, right.sum()) < LEAST_WRONG:
        return None
    said = logit(answers.confidence[both])
    slope, offset = _platt(said, right)
    usual = (right.sum() + 1.0) / (len(right) + 2.0)
    return slope, offset - float(np.log(usual / (1.0 - usual)))


def _platt(said: Array, right: Array) -> tuple[float, float]:
    """Fit P(right) = sigmoid(slope said + offset), with Platt's smoothed targets."""
    wrong = len(right) - right.sum()
    target = np.where(right > 0, (right.sum() + 1) / (right.sum() + 2), 1 / (wrong + 2))

    def loss(found: Array) -> tuple[float, Array]:
        z = found[0] * said + found[1]
        value = float((np.logaddexp(0, z) - target * z).sum()) + _RIDGE * found[0] ** 2
        slope = 1 / (1 + np.exp(-z)) - target
        return value, np.array([slope @ said + 2 * _RIDGE * found[0], slope.sum()])

    bounds = [(0.0, None), (None, None)]
    found = minimize(loss, np.array([1.0, 0.0]), jac=True, bounds=bounds, method="L-BFGS-B").x
    return float(found[0]), float(found[1])
