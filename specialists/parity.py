"""Whether a faster runtime says what fp32 says: the same labels, nearly the same probabilities.

It compares logits; which texts they are of and how they were made is the caller's. Not covered:
texts unlike those compared.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import expit, softmax

from specialists.evidence import Floats

# int8 with one scale a group of weights keeps 99.1 to 99.9 % of the labels of trained classifiers
# and moves probabilities by less than .01 on average; with one scale a row 96 to 99 %
# (BENCHMARKS.md).
MIN_AGREEMENT = 0.99
MAX_DIFFERENCE = 0.02
_CHOSEN = 0.5  # a head of independent labels says those of this probability or more


@dataclass(frozen=True)
class Parity:
    """How alike two runtimes answered `texts` texts.

    `agreement` is the share of texts with the same label, or set of labels; `difference` the mean
    absolute difference of probabilities over texts and labels.
    """

    agreement: float
    difference: float
    texts: int

    @property
    def passed(self) -> bool:
        """Whether the difference is small and at most 1 % of the texts, or one, changed labels.

        Of few texts one near a tie says nothing of the runtime; the difference still does.
        """
        changed = round((1.0 - self.agreement) * self.texts)
        return (
            changed <= max(1.0, (1.0 - MIN_AGREEMENT) * self.texts)
            and self.difference < MAX_DIFFERENCE
        )


def compare(reference: Floats, other: Floats, *, sigmoid: bool) -> Parity:
    """Compare logits (texts, own labels) of the same texts.

    `sigmoid` says that labels are independent. Answers that are not finite never pass.
    """
    if not np.isfinite(other).all():
        return Parity(0.0, 1.0, len(other))
    before, after = _probabilities(reference, sigmoid), _probabilities(other, sigmoid)
    same = (_said(before, sigmoid) == _said(after, sigmoid)).all(axis=1)
    return Parity(float(same.mean()), float(np.abs(before - after).mean()), len(before))


def _probabilities(logits: Floats, sigmoid: bool) -> npt.NDArray[np.float64]:
    exact = logits.astype(np.float64)
    found: npt.NDArray[np.float64] = expit(exact) if sigmoid else softmax(exact, axis=1)
    return found


def _said(probabilities: npt.NDArray[np.float64], sigmoid: bool) -> npt.NDArray[np.bool_]:
    """Which labels (texts, labels) are said: the likeliest one, or each that is likely enough."""
    if sigmoid:
        return probabilities >= _CHOSEN
    best = probabilities.argmax(axis=1, keepdims=True)
    said: npt.NDArray[np.bool_] = np.arange(probabilities.shape[1]) == best
    return said
