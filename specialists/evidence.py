"""What a committee says of texts and sees in them: votes, and features for live heads.

Arrays and their packing only; no texts, no models. Packed evidence is stored per task, so that a
decision can be made again at no cost when the rule has learned something.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

_COUNT = struct.Struct("<I")


@dataclass(frozen=True, eq=False)
class Evidence:
    """Votes and features of texts, row by row.

    `votes` (texts, members, labels), NaN where a member does not know a label; `features` has one
    array (texts, width) a view: a layer of a member, averaged over the text's tokens.
    """

    votes: Floats = field(repr=False)
    features: tuple[Floats, ...] = field(default=(), repr=False)

    def __len__(self) -> int:
        """How many texts."""
        return len(self.votes)

    def rows(self, which: npt.ArrayLike) -> Evidence:
        """The evidence of some texts: indices or a mask."""
        chosen = np.asarray(which)
        return Evidence(self.votes[chosen], tuple(view[chosen] for view in self.features))

    @classmethod
    def join(cls, parts: Sequence[Evidence]) -> Evidence:
        """Put evidence of the same committee one after the other.

        Raises:
            ValueError: There is nothing to join, or the shapes of two committees meet.
        """
        votes = np.concatenate([part.votes for part in parts])
        views = zip(*(part.features for part in parts), strict=True)
        return cls(votes, tuple(np.concatenate(view) for view in views))

    def to_bytes(self) -> bytes:
        """Pack in half precision, little-endian: shapes first, then the values."""
        arrays = [self.votes, *self.features]
        shapes = [len(arrays), *(n for array in arrays for n in (array.ndim, *array.shape))]
        head = b"".join(_COUNT.pack(n) for n in shapes)
        return head + b"".join(array.astype("<f2").tobytes() for array in arrays)

    @classmethod
    def from_bytes(cls, raw: bytes) -> Evidence:
        """Read what `to_bytes` wrote.

        Raises:
            ValueError: The bytes are cut off or are something else.
        """
        try:
            numbers = _Numbers(raw)
            shapes = [
                [numbers.take() for _ in range(numbers.take())] for _ in range(numbers.take())
            ]
            arrays = [numbers.array(shape) for shape in shapes]
        except (struct.error, MemoryError) as error:
            raise ValueError("This is no packed evidence; observe the text again.") from error
        if not arrays or arrays[0].ndim != 3:
            raise ValueError("This is no packed evidence; observe the text again.")
        return cls(arrays[0], tuple(arrays[1:]))


class _Numbers:
    """Reads packed evidence from front to back."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._at = 0

    def take(self) -> int:
        (number,) = _COUNT.unpack_from(self._raw, self._at)
        self._at += _COUNT.size
        return int(number)

    def array(self, shape: Sequence[int]) -> Floats:
        count = int(np.prod(shape))
        flat = np.frombuffer(self._raw, "<f2", count, self._at)
        self._at += flat.nbytes
        return flat.astype(np.float32).reshape(shape)
