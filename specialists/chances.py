"""Sums over probabilities and log-probabilities that the value rule and its refit share.

Arrays in, arrays out; no labels' names, no state.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from specialists.decision import complete, log_odds, pool
from specialists.evidence import Evidence

Array = npt.NDArray[np.float64]

_FLOOR = 1e-4  # of a vote: no member alone can rule a label out
_MOST_LOG_ODDS = 3.0  # a confidence alone never weighs more than 20 to 1
_BLOCK = 2_000_000  # elements of (texts, labels, labels) at once


def surest_of_each(probabilities: Array) -> npt.NDArray[np.intp]:
    """Indices of texts, the surest of each label first: with one label only nothing is proved."""
    best, sure = probabilities.argmax(axis=1), -probabilities.max(axis=1)
    rank = np.empty(len(best), dtype=np.intp)
    for label in range(probabilities.shape[1]):
        mine = np.flatnonzero(best == label)
        rank[mine[np.argsort(sure[mine], kind="stable")]] = np.arange(len(mine))
    order: npt.NDArray[np.intp] = np.lexsort((sure, rank))
    return order


def first_probabilities(evidence: Evidence) -> Array:
    """The mean vote (texts, labels); all labels alike where no member votes."""
    texts, members, labels = evidence.votes.shape
    flat = np.full((texts, labels), 1.0 / labels)
    if not members:
        return flat
    votes = evidence.votes.astype(np.float64)
    deaf = np.isnan(votes).all(axis=(1, 2))
    votes[deaf] = 1.0 / labels
    pooled = pool(votes)
    return np.where(np.isfinite(pooled), pooled, flat)


def member_scores(evidence: Evidence) -> Array:
    """Log-votes with unknown labels filled in, shape (texts, labels, members)."""
    votes = evidence.votes.astype(np.float64)
    labels = votes.shape[-1]
    silent = np.isnan(votes).all(axis=-1, keepdims=True)
    filled = complete(np.where(silent, 1.0 / labels, votes))
    return log_softmax(np.log(np.clip(filled, _FLOOR, 1.0)), axis=-1).transpose(0, 2, 1)


def expected_gain(probabilities: Array, confusion: Array) -> Array:
    """Expected rise of the chance of a right label by one answer of the LLM, shape (texts,).

    sum_a max_k p(k) C[k, a] - max_k p(k): the value of information of one noisy answer (Howard,
    IEEE Trans. SSC 1966).
    """
    labels = confusion.shape[0]
    gains = np.empty(len(probabilities))
    step = max(1, _BLOCK // labels**2)
    for start in range(0, len(probabilities), step):
        block = probabilities[start : start + step]
        after = (block[:, :, None] * confusion).max(axis=1).sum(axis=1)
        gains[start : start + step] = after - block.max(axis=1)
    return np.maximum(gains, 0.0)


def fuse(probabilities: Array, answers: npt.NDArray[np.integer[Any]], confusion: Array) -> Array:
    """Bayes: posteriors (texts, labels) from priors (texts, labels) and answers, -1 for none."""
    posterior = probabilities.copy()
    said = answers >= 0
    posterior[said] *= confusion[:, answers[said]].T
    posterior /= posterior.sum(axis=1, keepdims=True)
    return posterior


def confidence_odds(confidences: Array, calibration: tuple[float, float]) -> Array:
    """What each confidence (texts,) multiplies the odds of its answer by; 1 where unknown."""
    slope, offset = calibration
    odds: Array = np.exp(np.clip(slope * logit(confidences) + offset, -_MOST_LOG_ODDS, None))
    return np.where(np.isnan(confidences), 1.0, np.minimum(odds, np.exp(_MOST_LOG_ODDS)))


def refine(posterior: Array, answers: npt.NDArray[np.integer[Any]], odds: Array) -> Array:
    """Bayes once more: the chance of each given answer times `odds` (texts,).

    P(k | answer a, confidence c) ~ P(k | a) P(c | a right) / P(c | a wrong) where k = a.
    """
    refined = posterior.copy()
    said = np.flatnonzero(answers >= 0)
    refined[said, answers[said]] *= odds[said]
    refined /= refined.sum(axis=1, keepdims=True)
    return refined


def logit(chances: Array) -> Array:
    """Log-odds, of chances held within 0.01 to 0.99."""
    return log_odds(np.clip(chances, 0.01, 0.99))


def symmetric(accuracy: float, labels: int) -> Array:
    """A confusion matrix (labels, labels) whose errors fall on all other labels alike."""
    if labels < 2:
        return np.ones((labels, labels))
    matrix = np.full((labels, labels), (1.0 - accuracy) / (labels - 1))
    np.fill_diagonal(matrix, accuracy)
    return matrix


def unit(rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Scale rows to length 1, in their own precision."""
    lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows))[:, None]
    scaled: npt.NDArray[Any] = rows / np.maximum(lengths, 1e-9)
    return scaled


def waves(rows: npt.NDArray[Any], count: int) -> npt.NDArray[Any]:
    """Random features (texts, 2 count) of unit rows, whose products are a Gaussian kernel's values.

    With them a linear head sees neighbours. Rahimi and Recht, "Random Features for Large-Scale
    Kernel Machines", NeurIPS 2007; the kernel's width is 1.
    """
    phases = rows @ _frequencies(rows.shape[1], count).astype(rows.dtype)
    found = np.concatenate([np.cos(phases), np.sin(phases)], axis=1)
    spread: npt.NDArray[Any] = found / rows.dtype.type(np.sqrt(count))
    return spread


@lru_cache(maxsize=2)
def _frequencies(width: int, count: int) -> npt.NDArray[np.float32]:
    """Shape (width, count), the same in every process: this generator's stream is frozen."""
    return np.random.RandomState(0).standard_normal((width, count)).astype(np.float32)


def log_softmax(scores: Array, axis: int = -1) -> Array:
    """Normalise log-scores along an axis."""
    shifted = scores - scores.max(axis=axis, keepdims=True)
    result: Array = shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))
    return result
