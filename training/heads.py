"""Live heads: classifiers on frozen features, refitted from verdicts in milliseconds.

Kernel ridge regression in closed form, with leave-one-out predictions for the texts that it was
fitted on, so that nothing downstream takes a head's memory for its skill. Arrays only.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from specialists.chances import Array, log_softmax, unit, waves
from specialists.evidence import Floats
from specialists.rule_state import SHARPNESS, Head

PENALTIES = (1.0, 4.0)
"""Ridge penalties to choose from by leave-one-out loss; features have length 1."""
WAVE_PENALTIES = (0.3, 1.0, 4.0)
"""The same where features are spread into waves, which fit more closely."""

_MOST_LEVERAGE = 0.999


@dataclass(frozen=True, eq=False)
class View:
    """One view of the texts, decomposed once for all targets that heads are fitted to.

    `inputs` (texts, width) are unit rows times the root of their weight; `values` and `vectors`
    belong to the smaller of their kernel and their covariance.
    """

    centre: Array
    roots: Array  # (texts, 1)
    inputs: Floats
    values: Array
    vectors: Floats
    waves: int = 0

    @classmethod
    def of(cls, features: Floats, weights: Array, centre: Array, count: int = 0) -> View:
        """Prepare features (texts, width), each text with a weight (texts,).

        `count` is of the waves that they are spread into, 0 for none.
        """
        roots = np.sqrt(weights)[:, None]
        rows = unit(features - centre.astype(np.float32))
        inputs: Floats = (waves(rows, count) if count else rows) * roots.astype(np.float32)
        wide = len(inputs) <= inputs.shape[1]
        values, vectors = np.linalg.eigh(inputs @ inputs.T if wide else inputs.T @ inputs)
        return cls(
            centre, roots, inputs, np.maximum(values.astype(np.float64), 0.0), vectors, count
        )

    def fit(self, targets: Array) -> tuple[Head, Array]:
        """Fit a head to soft targets (texts, labels).

        Returns it and the leave-one-out log-probabilities (texts, labels). Closed form of the
        leave-one-out residuals: Rifkin and Lippert, "Notes on Regularized Least Squares", MIT 2007.
        """
        weights = self.roots**2
        offset = (weights * targets).sum(axis=0) / weights.sum()
        outputs = ((targets - offset) * self.roots).astype(np.float32)
        inner = outputs if self._wide else self.inputs.T @ outputs
        rotated = self.vectors.T @ inner
        fits = []
        for penalty in WAVE_PENALTIES if self.waves else PENALTIES:
            coefficients, left_out = self._solve(outputs, rotated, penalty)
            log_p = log_softmax(SHARPNESS * (left_out / self.roots + offset))
            fits.append((-float((weights * targets * log_p).sum()), coefficients, log_p))
        _, coefficients, log_p = min(fits, key=lambda fit: fit[0])
        return Head(self.centre, coefficients.astype(np.float64), offset, self.waves), log_p

    @property
    def _wide(self) -> bool:
        """Whether the kernel is the smaller matrix."""
        return len(self.inputs) <= self.inputs.shape[1]

    def _solve(self, outputs: Floats, rotated: Floats, penalty: float) -> tuple[Floats, Array]:
        """Coefficients (width, labels) and weighted leave-one-out predictions (texts, labels)."""
        shrunk = 1.0 / (self.values + penalty)
        solved = self.vectors @ (rotated * shrunk[:, None]).astype(np.float32)
        if self._wide:
            coefficients, fitted = self.inputs.T @ solved, outputs - penalty * solved
        else:
            coefficients, fitted = solved, self.inputs @ solved
        held = np.minimum(self._squares @ shrunk, _MOST_LEVERAGE)[:, None]
        return coefficients, (fitted - held * outputs) / (1.0 - held)

    @cached_property
    def _squares(self) -> npt.NDArray[np.float64]:
        """Squared rows whose sum over `values` + penalty is each text's leverage."""
        if self._wide:
            return self.vectors.astype(np.float64) ** 2 * self.values
        return (self.inputs @ self.vectors).astype(np.float64) ** 2
