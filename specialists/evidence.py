"""What a committee says of texts and sees in them: votes, features for heads, and a frozen view.

Arrays and their packing only; no texts, no models. Packed evidence is stored per task, so that a
decision can be made again at no cost when the rule has learned something.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

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
    array (texts, width) a view: a layer of a member, averaged over the text's tokens. `frozen`
    (texts, width) is what a model that is never trained sees; a row of NaN where it was not asked,
    None where it was not asked about any. `notes` (texts,) says what people should know of how a
    text was read, "" for nearly all, None for all.
    """

    votes: Floats = field(repr=False)
    features: tuple[Floats, ...] = field(default=(), repr=False)
    frozen: Floats | None = field(default=None, repr=False)
    notes: npt.NDArray[np.str_] | None = None

    def __len__(self) -> int:
        """How many texts."""
        return len(self.votes)

    def rows(self, which: npt.ArrayLike) -> Evidence:
        """The evidence of some texts: indices or a mask."""
        chosen = np.asarray(which)
        if not chosen.size:
            chosen = chosen.astype(np.intp)  # an empty list would be of floats
        return self._at(chosen)

    def row(self, i: int) -> Evidence:
        """The evidence of one text: a view, and so cheaper than `rows`."""
        return self._at(slice(i, i + 1))

    def _at(self, which: Any) -> Evidence:
        frozen = None if self.frozen is None else self.frozen[which]
        notes = None if self.notes is None else self.notes[which]
        views = tuple(view[which] for view in self.features)
        return Evidence(self.votes[which], views, frozen, notes)

    @classmethod
    def join(cls, parts: Sequence[Evidence]) -> Evidence:
        """Put evidence of the same committee one after the other.

        Raises:
            ValueError: There is nothing to join, or the shapes of two committees meet.
        """
        votes = np.concatenate([part.votes for part in parts])
        views = zip(*(part.features for part in parts), strict=True)
        joined = tuple(np.concatenate(view) for view in views)
        return cls(votes, joined, _joined(parts), _joined_notes(parts))

    def pack(self) -> list[bytes]:
        """A piece a text: its shapes, its values in half precision, little-endian, and its note."""
        arrays, shapes = [self.votes, *self.features], []
        shapes += [(1, *array.shape[1:]) for array in arrays]
        if self.frozen is not None:
            arrays.append(self.frozen)
            shapes.append(self.frozen.shape[1:])  # one dimension: this is how it is told apart
        head = _numbers(len(shapes), *(n for shape in shapes for n in (len(shape), *shape)))
        flat = [
            array.reshape(len(self), math.prod(shape)).astype("<f2")
            for array, shape in zip(arrays, shapes, strict=True)
        ]
        packed = [head + row.tobytes() for row in np.concatenate(flat, axis=1)]
        if self.notes is None:
            return packed
        return [piece + _tail(note) for piece, note in zip(packed, self.notes, strict=True)]

    @classmethod
    def unpack(cls, pieces: Sequence[bytes]) -> Evidence:
        """Read pieces that `pack` made of texts of one committee, at least one.

        Some may be without the frozen view: stored before it was asked.

        Raises:
            ValueError: A piece is cut off, is something else, or is of another committee.
        """
        head, shapes = read_head(pieces[0])
        size = head + _HALF_BYTES * sum(map(math.prod, shapes))
        if any(len(piece) != size for piece in pieces):
            return cls._unpack_mixed(pieces)
        first = pieces[0][:head]
        if not all(piece.startswith(first) for piece in pieces):
            raise ValueError(_NO_EVIDENCE)
        raw = np.frombuffer(b"".join(pieces), np.uint8).reshape(len(pieces), -1)[:, head:]
        values = np.ascontiguousarray(raw).view("<f2").astype(np.float32)
        ends = np.cumsum([math.prod(shape) for shape in shapes])
        arrays = [
            part.reshape(len(pieces), *(shape[1:] or shape))
            for part, shape in zip(np.split(values, ends[:-1], axis=1), shapes, strict=True)
        ]
        frozen = arrays.pop() if len(shapes[-1]) == 1 else None
        return cls(arrays[0], tuple(arrays[1:]), frozen)

    @classmethod
    def _unpack_mixed(cls, pieces: Sequence[bytes]) -> Evidence:
        """Read pieces of which some have a note, or the frozen view, and some have not."""
        plain, notes = zip(*map(_without_note, pieces), strict=True)
        if any(notes):
            return replace(cls.unpack(plain), notes=np.array(notes))
        return cls._unpack_both(pieces)

    @classmethod
    def _unpack_both(cls, pieces: Sequence[bytes]) -> Evidence:
        """Read pieces with the frozen view and pieces without it, in their order."""
        seeing = np.array([has_frozen(piece) for piece in pieces])
        if seeing.all() or not seeing.any():
            raise ValueError(_NO_EVIDENCE)
        order = [*np.flatnonzero(seeing), *np.flatnonzero(~seeing)]
        seen, unseen = (
            cls.unpack([piece for piece, sees in zip(pieces, seeing, strict=True) if sees == which])
            for which in (True, False)
        )
        if unseen.features and not seen.features:
            # Where no member gives a view, the base model's were theirs once.
            unseen = cls(unseen.votes, (), np.concatenate(unseen.features, axis=1))
        return cls.join([seen, unseen]).rows(np.argsort(order))


def _joined(parts: Sequence[Evidence]) -> Floats | None:
    """The frozen views one after the other, NaN for parts without."""
    widths = [part.frozen.shape[1] for part in parts if part.frozen is not None]
    if not widths:
        return None
    unseen = (np.full((len(part), widths[0]), np.nan, dtype=np.float32) for part in parts)
    views = zip(parts, unseen, strict=True)
    return np.concatenate([nan if part.frozen is None else part.frozen for part, nan in views])


def _joined_notes(parts: Sequence[Evidence]) -> npt.NDArray[np.str_] | None:
    """The notes one after the other, empty for parts without."""
    if all(part.notes is None for part in parts):
        return None
    none = (np.full(len(part), "") for part in parts)
    noted = zip(parts, none, strict=True)
    joined: npt.NDArray[np.str_] = np.concatenate(
        [empty if part.notes is None else part.notes for part, empty in noted]
    )
    return joined


def _tail(note: str) -> bytes:
    """A note as it stands behind the values, its length last."""
    raw = note.encode()
    return raw + _numbers(len(raw)) if raw else b""


def _without_note(piece: bytes) -> tuple[bytes, str]:
    """Packed evidence and its note apart. Raises ValueError as `read_head` does."""
    head, shapes = read_head(piece)
    size = head + _HALF_BYTES * sum(map(math.prod, shapes))
    note = piece[size : -_COUNT.size].decode(errors="replace")
    if len(piece) < size or piece[size:] != _tail(note):
        raise ValueError(_NO_EVIDENCE)
    return piece[:size], note


def has_frozen(piece: bytes) -> bool:
    """Whether packed evidence has the frozen view; raises ValueError as `read_head` does."""
    return len(read_head(piece)[1][-1]) == 1


def whole(piece: bytes) -> bool:
    """Whether this is packed evidence with all of its values."""
    try:
        _without_note(piece)
    except ValueError:
        return False
    return True


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
