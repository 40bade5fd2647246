"""What a committee says of texts and sees in them: votes, and features for live heads.

Arrays and their packing only; no texts, no models. Packed evidence is stored per task, so that a
decision can be made again at no cost when the rule has learned something.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

_COUNT = struct.Struct("<I")
_HALF_BYTES = 2
_VOTES_DIMENSIONS = 3
_NO_EVIDENCE = "This is no packed evidence of one committee; observe the text again."


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
        if not chosen.size:
            chosen = chosen.astype(np.intp)  # an empty list would be of floats
        return Evidence(self.votes[chosen], tuple(view[chosen] for view in self.features))

    def row(self, i: int) -> Evidence:
        """The evidence of one text: a view, and so cheaper than `rows`."""
        return Evidence(self.votes[i : i + 1], tuple(view[i : i + 1] for view in self.features))

    @classmethod
    def join(cls, parts: Sequence[Evidence]) -> Evidence:
        """Put evidence of the same committee one after the other.

        Raises:
            ValueError: There is nothing to join, or the shapes of two committees meet.
        """
        votes = np.concatenate([part.votes for part in parts])
        views = zip(*(part.features for part in parts), strict=True)
        return cls(votes, tuple(np.concatenate(view) for view in views))

    def pack(self) -> list[bytes]:
        """A piece a text, in half precision, little-endian: its shapes first, then its values."""
        arrays = [self.votes, *self.features]
        shapes = [(1, *array.shape[1:]) for array in arrays]
        head = _numbers(len(shapes), *(n for shape in shapes for n in (len(shape), *shape)))
        flat = [
            array.reshape(len(self), math.prod(shape)).astype("<f2")
            for array, shape in zip(arrays, shapes, strict=True)
        ]
        return [head + row.tobytes() for row in np.concatenate(flat, axis=1)]

    @classmethod
    def unpack(cls, pieces: Sequence[bytes]) -> Evidence:
        """Read pieces that `pack` made of texts of one committee, at least one.

        Raises:
            ValueError: A piece is cut off, is something else, or is of another committee.
        """
        head, shapes = read_head(pieces[0])
        size = head + _HALF_BYTES * sum(map(math.prod, shapes))
        first = pieces[0][:head]
        if any(len(piece) != size or not piece.startswith(first) for piece in pieces):
            raise ValueError(_NO_EVIDENCE)
        raw = np.frombuffer(b"".join(pieces), np.uint8).reshape(len(pieces), -1)[:, head:]
        values = np.ascontiguousarray(raw).view("<f2").astype(np.float32)
        ends = np.cumsum([math.prod(shape) for shape in shapes])
        arrays = [
            part.reshape(len(pieces), *shape[1:])
            for part, shape in zip(np.split(values, ends[:-1], axis=1), shapes, strict=True)
        ]
        return cls(arrays[0], tuple(arrays[1:]))


def whole(piece: bytes) -> bool:
    """Whether this is packed evidence with all of its values."""
    try:
        head, shapes = read_head(piece)
    except ValueError:
        return False
    return len(piece) == head + _HALF_BYTES * sum(map(math.prod, shapes))


def read_head(piece: bytes) -> tuple[int, list[tuple[int, ...]]]:
    """Where a piece's values begin, and the shapes of its arrays, the votes' first.

    Raises:
        ValueError: It is no packed evidence.
    """
    try:
        (arrays,) = _COUNT.unpack_from(piece)
        at, shapes = _COUNT.size, []
        for _ in range(arrays):
            (dimensions,) = _COUNT.unpack_from(piece, at)
            shapes.append(struct.unpack_from(f"<{dimensions}I", piece, at + _COUNT.size))
            at += _COUNT.size * (1 + dimensions)
    except (struct.error, MemoryError) as error:
        raise ValueError(_NO_EVIDENCE) from error
    if not shapes or len(shapes[0]) != _VOTES_DIMENSIONS:
        raise ValueError(_NO_EVIDENCE)
    return at, shapes


def _numbers(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}I", *values)
