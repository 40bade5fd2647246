"""Texts that wait for a committee: which of them make the next batch.

It knows texts by their length in tokens and nothing of threads; who uses it holds a lock.
"""

from __future__ import annotations

import math
import threading
from bisect import bisect_left
from collections import deque
from collections.abc import Iterator, Sequence, Sized
from dataclasses import dataclass, field
from itertools import chain
from operator import attrgetter
from typing import Any, Protocol

from specialists.evidence import Evidence

_LOOK_AHEAD = 32  # batches' worth of the oldest texts that are sorted by length; more of them would
# save little padding and finish requests later

_tokens = attrgetter("tokens")


class Observer(Protocol):
    """What batching needs of a committee."""

    def encode(self, texts: Sequence[str], /) -> Sequence[Sized]:
        """Encode texts, in order; the length of each is its cost in tokens."""
        ...

    def forward(self, batch: Sequence[Any], /) -> Evidence:
        """Observe encoded texts as one padded batch, row by row."""
        ...


@dataclass(eq=False, slots=True)
class Request:
    """Texts that came together; over when it has all rows, or an error ended it before."""

    count: int
    urgent: bool
    timeout_s: float
    deadline: float  # seconds on the batcher's clock, as is `due`
    finished: threading.Condition
    due: float = math.inf
    rows: dict[int, tuple[Evidence, int]] = field(default_factory=dict)  # a batch's, and where
    error: BaseException | None = None
    over: bool = False


@dataclass(eq=False, slots=True)
class Item:
    """One text of a request, encoded."""

    request: Request
    index: int
    encoded: Sized
    tokens: int
    waits: bool = True


class Waiting:
    """All texts that wait: a line for each committee and class, urgent or bulk."""

    def __init__(self) -> None:
        self._lines: dict[tuple[int, bool], _Line] = {}  # only those in which something waits

    def __bool__(self) -> bool:
        return bool(self._lines)

    def tokens(self, *, urgent_only: bool = False) -> int:
        """How many tokens wait."""
        lines = self._lines.items()
        return sum(line.tokens for (_, urgent), line in lines if urgent or not urgent_only)

    def requests(self) -> set[Request]:
        """The requests of which a text waits."""
        return {item.request for line in self._lines.values() for item in line}

    def add(self, committee: Observer, items: Sequence[Item]) -> None:
        """Let texts of one request wait behind all others of their class."""
        self._line(committee, items).add(items)

    def put_back(self, committee: Observer, items: Sequence[Item]) -> None:
        """Let texts that were taken wait again, before all others of their class."""
        self._line(committee, items).put_back(items)

    def take(self, batch_tokens: int) -> tuple[Observer, list[Item]]:
        """Take the text that is due first, and others that share its batch, shortest first."""
        key = min(self._lines, key=lambda key: self._lines[key].oldest().request.due)
        line = self._lines[key]
        batch = line.take(batch_tokens)
        if not line.tokens:
            del self._lines[key]
        return line.committee, batch

    def drop_over(self) -> None:
        """Forget the texts of requests that are over."""
        for line in self._lines.values():
            line.drop_over()
        self._lines = {key: line for key, line in self._lines.items() if line.tokens}

    def _line(self, committee: Observer, items: Sequence[Item]) -> _Line:
        key = id(committee), items[0].request.urgent
        return self._lines.setdefault(key, _Line(committee))


class _Line:
    """Texts of one class that wait for one committee: by arrival and, the oldest, by length."""

    def __init__(self, committee: Observer) -> None:
        self.committee = committee
        self.tokens = 0
        self._arrived: deque[Item] = deque()  # may hold texts that wait no more, behind the first
        self._near: list[Item] = []  # the oldest, by length and then by arrival
        self._near_tokens = 0
        self._far: deque[Item] = deque()

    def __iter__(self) -> Iterator[Item]:
        """Every text that waits."""
        return chain(self._near, self._far)

    def add(self, items: Sequence[Item]) -> None:
        self.tokens += sum(map(_tokens, items))
        self._arrived.extend(items)
        self._far.extend(items)

    def put_back(self, items: Sequence[Item]) -> None:
        for item in items:
            item.waits = True
        tokens = sum(map(_tokens, items))
        self.tokens += tokens
        self._arrived.extendleft(reversed(items))
        self._near[:0] = items
        self._near.sort(key=_tokens)
        self._near_tokens += tokens

    def oldest(self) -> Item:
        while not self._arrived[0].waits:
            self._arrived.popleft()
        return self._arrived[0]

    def take(self, batch_tokens: int) -> list[Item]:
        """Take the oldest text and others of like length, one batch, shortest first.

        The sorted texts are cut into full batches, from the longest down, and the one that holds
        the oldest text is taken: so no gap stays behind that a later batch would have to span.
        """
        self._look_ahead(_LOOK_AHEAD * batch_tokens)
        at = bisect_left(self._near, self.oldest().tokens, key=_tokens)
        start = len(self._near)
        while start > at:
            end = start
            start = max(0, end - max(1, batch_tokens // self._near[end - 1].tokens))
        batch = self._near[start:end]
        del self._near[start:end]
        for item in batch:
            item.waits = False
        tokens = sum(map(_tokens, batch))
        self._near_tokens -= tokens
        self.tokens -= tokens
        return batch

    def drop_over(self) -> None:
        self._near = [item for item in self._near if not item.request.over]
        self._far = deque(item for item in self._far if not item.request.over)
        self._arrived = deque(item for item in self._arrived if not item.request.over)
        self._near_tokens = sum(map(_tokens, self._near))
        self.tokens = self._near_tokens + sum(map(_tokens, self._far))

    def _look_ahead(self, tokens: int) -> None:
        near = len(self._near)
        while self._far and self._near_tokens < tokens:
            item = self._far.popleft()
            self._near.append(item)
            self._near_tokens += item.tokens
        if len(self._near) > near:
            self._near.sort(key=_tokens)  # stable: equal lengths stay in the order of arrival
