"""How much each voice counts: weights of a log-linear pool, and what it says of texts left out.

Arrays only; a voice is a member, a head or the live member, as log-probabilities.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import minimize

from specialists.chances import Array, log_softmax

RIDGE = 5.0
"""Of the fitted weights, towards the first ones."""
ALIKE_RIDGE = 50.0
"""Of weights of voices that are alike, towards their mean: beside others that say nearly the same,
a voice is soon taken for useless by chance (LOG.md)."""
FOLDS = 5


@dataclass(frozen=True, eq=False)
class Mix:
    """Weights (voices,), and the pooled log-probabilities (texts, labels).

    Each text is pooled by weights that were fitted without it and its fold.
    """

    weights: Array
    log_p: Array = field(repr=False)

    def loss(self, truth: Array) -> Array:
        """Cross-entropy to soft truth, shape (texts,)."""
        found: Array = -(truth * self.log_p).sum(axis=1)
        return found


def fixed(voices: Array, weights: Array) -> Mix:
    """Pool voices (texts, labels, voices) by weights that nothing was fitted for."""
    return Mix(weights, pooled(voices, weights))


def fitted(voices: Array, truth: Array, counts: Array, first: Array, alike: int = 0) -> Mix:
    """Fit the weights to soft truth (texts, labels), each text counting `counts` (texts,).

    The first `alike` voices know the same in much the same way, as members do.
    """
    pull = _pull(len(first), alike)
    weights = _weigh(voices, truth, counts, first, pull, first)
    log_p = np.empty(truth.shape)
    for fold in range(FOLDS):
        out = np.arange(len(truth)) % FOLDS == fold
        # From the weights of all texts it is a short way.
        own = _weigh(voices[~out], truth[~out], counts[~out], first, pull, weights)
        log_p[out] = pooled(voices[out], own)
    return Mix(weights, log_p)


def pooled(voices: Array, weights: Array) -> Array:
    """Log-probabilities (texts, labels) of voices (texts, labels, voices)."""
    return log_softmax(voices @ weights)


def _pull(voices: int, alike: int) -> Array:
    """The quadratic form (voices, voices) of how far weights are from the first ones."""
    form = RIDGE * np.eye(voices)
    if alike > 1:
        form[:alike, :alike] += ALIKE_RIDGE * (np.eye(alike) - 1.0 / alike)
    return form


def _weigh(
    voices: Array, truth: Array, counts: Array, first: Array, pull: Array, start: Array
) -> Array:
    """Weights (voices,) >= 0 of a log-linear pool: cross-entropy to soft truth, ridge to `first`.

    Convex in the weights (log-linear pool: Genest and Zidek, Statistical Science 1986).
    """
    target = counts[:, None] * truth

    def loss(weights: Array) -> tuple[float, Array]:
        log_p = log_softmax(voices @ weights)
        slope = np.exp(log_p) * counts[:, None] - target
        far = weights - first
        value = -float((target * log_p).sum()) + float(far @ pull @ far)
        return value, np.einsum("tk,tkv->v", slope, voices) + 2 * pull @ far

    bounds = [(0.0, None)] * len(first)
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds)
    weights: Array = found.x
    return weights
