"""Long texts in windows: how a model reads what is longer than its input, and what follows of it.

A text that fits is one window. A longer one is cut into as few overlapping windows as it needs, all
equally long, and what is said of them is averaged: votes as probabilities, features as they are
(they are means over tokens already). Arrays and token ids only; no model, no tokenizer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

MOST_TOKENS = 4096
"""Of a text, about 3,000 English words: a megabyte costs no more. The rest is not read, and the
decision says so."""
OVERLAP = 1 / 8
"""Of a window, at least, is in the next one too: no phrase is cut everywhere."""

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Windows:
    """A text as a model reads it: token ids a window; `whole` if its end is among them."""

    ids: tuple[list[int], ...] = field(repr=False)
    whole: bool = True

    def __len__(self) -> int:
        """Its tokens, those in two windows counted twice: what it costs."""
        return sum(map(len, self.ids))


@dataclass(frozen=True, eq=False)
class Batch:
    """The windows of some texts, padded: ids and mask (windows, longest).

    `starts` (texts,) is where each text's windows begin, they lie side by side.
    """

    ids: Ints
    mask: Ints
    starts: Ints

    def fold(self, seen: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """What was seen in windows (windows, ...), averaged over those of each text (texts, ...).

        On long texts of mixed parts the mean of probabilities was right 1 to 4 % more often than
        that of their logarithms (training/LOG.md): a window that is sure of the wrong label cannot
        rule out the right one.
        """
        if len(self.starts) == len(seen):
            return seen
        counts = np.diff(self.starts, append=len(seen)).astype(seen.dtype)
        sums: Any = np.add.reduceat(seen, self.starts, axis=0)
        means: npt.NDArray[np.float32] = sums / counts.reshape(-1, *[1] * (seen.ndim - 1))
        return means


def cut(body: Sequence[int], size: int) -> list[Sequence[int]]:
    """Cut token ids into windows of at most `size` tokens, all equally long."""
    if len(body) <= size:
        return [body]
    overlap = int(size * OVERLAP)
    count = -(-(len(body) - overlap) // (size - overlap))
    length = -(-(len(body) + (count - 1) * overlap) // count)
    last = len(body) - length
    starts = [round(number * last / (count - 1)) for number in range(count)]
    return [body[start : start + length] for start in starts]
