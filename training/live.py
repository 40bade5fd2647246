"""The live member: a head on the frozen view, trained on all verdicts, and whether it is admitted.

Nothing that a stage trains changes the frozen view, so verdicts that the members have learned teach
it too, and it keeps what it knows when a new committee is promoted. Arrays only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar

from specialists.chances import Array, fuse, log_softmax
from specialists.evidence import Evidence, Floats
from specialists.rule_state import Head
from training.heads import View
from training.mixing import Mix
from training.reliability import Answers, Indices

_LOG_EXPONENTS = (-2.0, 2.0)
_SURE = 1.0  # standard errors of the mean gain that change an admission
_DOUBT = 1.0  # variance, in nats squared, that a few texts have beside their own


Fit = tuple[Head, Array, float]
"""A head, its leave-one-out log-probabilities (texts, labels), and their loss."""


class Lesson:
    """What the live member learns from: texts of two kinds with their answers.

    `own` are the texts that the rule learns from too, `trained` those that members have learned;
    of the latter its own leave-one-out opinion is the only honest one beside the answers.
    """

    def __init__(
        self,
        own: tuple[Evidence, Answers],
        trained: tuple[Evidence, Answers],
        others: Sequence[Evidence] = (),
        waves: int = 0,
    ) -> None:
        """`others` are more texts of the project, for the centre; raises ValueError for no view.

        With `waves` a head on so many is tried beside the plain one.
        """
        (evidence, answers), (known, said) = own, trained
        self._shape: tuple[int, int] = evidence.votes.shape[0], evidence.votes.shape[2]
        self._seen, rows = seen(evidence), np.flatnonzero(seen(known) & said.useful)
        self._trained = said.rows(rows)
        views = [_view(evidence, self._seen), _view(known, rows)]
        counts = [answers.counts[self._seen], self._trained.counts]
        self.size = sum(map(len, views))
        centre = _centre([evidence, known, *others])
        seen_by = np.concatenate(views), np.concatenate(counts), centre
        self._views = [View.of(*seen_by, count) for count in sorted({0, waves})]
        self._opinion: Array = np.full((len(rows), self._shape[1]), 1.0 / self._shape[1])

    def learn(self, truth: Array, confusion: Array) -> tuple[Head, Array]:
        """Fit to soft truth (own texts, labels), and to what is known of the trained texts.

        Returns the head and its leave-one-out log-probabilities of the own texts, 0 for those that
        were observed before the frozen view was.
        """
        own = truth[self._seen]
        others = self._trained.truth(fuse(self._opinion, self._trained.llm, confusion))
        target = np.concatenate([own, others])
        head, log_p, _ = min((_sharpened(view, target) for view in self._views), key=_loss)
        self._opinion = np.exp(log_p[len(own) :])
        said = np.zeros(self._shape)
        said[self._seen] = log_p[: len(own)]
        return head, said


def _sharpened(view: View, truth: Array) -> Fit:
    """A head as sure as it is right, by what it says of texts left out."""
    head, log_p = view.fit(truth)
    target = truth * view.roots**2

    def loss(log_exponent: float) -> float:
        return -float((target * log_softmax(np.exp(log_exponent) * log_p)).sum())

    found = minimize_scalar(loss, bounds=_LOG_EXPONENTS, method="bounded")
    exponent = float(np.exp(found.x))
    sharpened = replace(head, weights=exponent * head.weights, offset=exponent * head.offset)
    return sharpened, log_softmax(exponent * log_p), float(found.fun)


def _loss(fit: Fit) -> float:
    return fit[2]


def admit(with_it: Mix, without: Mix, truth: Array, before: bool) -> tuple[bool, float]:
    """Whether the pool is better with the live member, and the log-loss a text that it saves.

    As it was `before` while the texts do not tell: the mean gain must be a standard error from 0.
    """
    gains = without.loss(truth) - with_it.loss(truth)
    if not len(gains):
        return before, 0.0
    spread = float(np.sqrt(((gains - gains.mean()) ** 2).sum() + _DOUBT))
    total = float(gains.sum())
    admitted = before if abs(total) < _SURE * spread else total > 0
    return admitted, total / len(gains)


def size(evidence: Evidence, answers: Answers) -> int:
    """How many texts with an answer have been seen."""
    return int((seen(evidence) & answers.useful).sum())


def seen(evidence: Evidence) -> npt.NDArray[np.bool_]:
    """Which texts the frozen view was asked about, shape (texts,)."""
    if evidence.frozen is None:
        return np.zeros(len(evidence), dtype=bool)
    return ~np.isnan(evidence.frozen[:, 0])


def _view(evidence: Evidence, which: Indices) -> Floats:
    if evidence.frozen is None:
        raise ValueError("A lesson needs evidence with the frozen view; leave the others out.")
    rows: Floats = evidence.frozen[which]
    return rows


def _centre(parts: Sequence[Evidence]) -> Array:
    """The mean of the frozen view over all texts at hand, shape (width,)."""
    views = [_view(part, seen(part)) for part in parts if part.frozen is not None]
    mean: Array = np.concatenate(views).mean(axis=0, dtype=np.float64)
    return mean
