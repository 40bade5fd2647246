"""Which answers would teach most: an order of open texts by what a person's label is worth.

The live member is a ridge regression on a view of the texts. How unsure such a regression is of a
text, and how much surer an answer to one text makes it of the others, follows from the texts alone
(transductive experimental design: Yu, Bi and Tresp, ICML 2006). Here each text counts by the
committee's doubt about it, so the next text to ask is the one whose answer says most about what is
doubtful: an outlier says nothing of others, and after a text its near-duplicates have little left
to say. Arrays only; rows of a view have length 1.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from specialists.chances import Array
from specialists.evidence import Floats
from training.heads import PENALTIES

Ids = npt.NDArray[np.int64]

PENALTY = min(PENALTIES)
"""Ridge of the regression."""
MOST = 1000
"""Texts that are compared with each other, the most doubtful ones: what bounds time and memory."""
ALIKE = 0.95
"""Cosine from which texts are near-duplicates: one of them is asked, the others after all else."""

_SPREAD, _PRIME = 40_503, 65_521


def doubt(probabilities: Array) -> Array:
    """How doubtful texts are, shape (texts,), from chances (texts, labels): 1 - margin, 0..1.

    What is not a number counts as full doubt. Margin sampling: Scheffer, Decomain and Wrobel, IDA
    2001.
    """
    if probabilities.shape[1] < 2:
        return np.zeros(len(probabilities))
    best = np.partition(np.nan_to_num(probabilities), -2, axis=1)
    found: Array = np.clip(1.0 - (best[:, -1] - best[:, -2]), 0.0, 1.0)
    return found


class Design:
    """Takes in the texts of a project, some at a time, then orders the open ones."""

    def __init__(self, width: int) -> None:
        """`width` is that of the view."""
        self._known = PENALTY * np.eye(width)
        self._doubtful = np.zeros((width, width))
        self._ids: Ids = np.zeros(0, dtype=np.int64)
        self._doubts: Array = np.zeros(0)
        self._rows: Floats = np.zeros((0, width), dtype=np.float32)

    def know(self, rows: Floats) -> None:
        """Take in texts that have an answer, rows (texts, width)."""
        self._known += rows.T @ rows

    def consider(self, ids: Ids, rows: Floats, doubts: Array) -> None:
        """Take in open texts: ids (texts,), rows (texts, width), doubts (texts,) in 0..1.

        A text counts by its doubt squared (training/LOG.md, "Whom to ask first").
        """
        self._doubtful += (rows * doubts[:, None].astype(np.float32) ** 2).T @ rows
        self._ids = np.concatenate([self._ids, ids])
        self._doubts = np.concatenate([self._doubts, doubts])
        self._rows = np.concatenate([self._rows, rows])
        if len(self._ids) > MOST:
            # Of equally doubtful ones some from everywhere: files are often sorted.
            by_doubt = np.lexsort((self._ids * _SPREAD % _PRIME, -self._doubts))
            kept = np.sort(by_doubt[:MOST])
            self._ids, self._doubts = self._ids[kept], self._doubts[kept]
            self._rows = self._rows[kept]

    def order(self, count: int) -> list[int]:
        """The ids of at most `count` open texts, the most useful first; equal ones by id.

        Each is chosen as if those before it were answered already, by rank-one updates of the
        regression's covariance; near-duplicates of them come when nothing else is left.
        """
        covariance = np.linalg.inv(self._known).astype(np.float32)
        rows, doubtful = self._rows, self._doubtful.astype(np.float32)
        seen = rows @ covariance
        told = seen @ doubtful
        variances = np.einsum("ij,ij->i", seen, rows)
        worth = np.einsum("ij,ij->i", told, seen)
        left = np.ones(len(rows), dtype=bool)
        fresh = left.copy()
        chosen = []
        for _ in range(min(count, len(rows))):
            if not fresh.any():
                fresh = left.copy()
            gains = np.where(fresh, worth / (1.0 + variances), -1.0)
            i = int(gains.argmax())
            left[i] = False
            fresh &= left & (rows @ rows[i] < ALIKE)
            chosen.append(int(self._ids[i]))
            own, pull = seen[i].copy(), doubtful @ seen[i]
            shared, scale = seen @ rows[i], 1.0 + variances[i]
            worth = worth - 2 * shared / scale * (told @ own) + (shared / scale) ** 2 * worth[i]
            variances = variances - shared**2 / scale
            seen = seen - np.outer(shared / scale, own)
            told = told - np.outer(shared / scale, pull)
        return chosen
