"""A progress bar on a terminal, plain lines elsewhere: how many, how fast, how long to go."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TextIO

_CELLS = 30
_PLAIN_EVERY_S = 10.0


class ProgressBar:
    """Shows counts of tasks; the rate is over the time that it looks on."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._first: tuple[float, int] | None = None
        self._last = 0
        self._shown_at = float("-inf")
        self._drawn = 0

    def show(self, counts: tuple[int, int, int]) -> None:
        """Show (predicted, imported, all) tasks."""
        now = self._clock()
        if self._first is None:
            self._first = (now, counts[0])
        self._last = counts[0]
        text = self._text(counts, now)
        if self._stream.isatty():
            self._draw(text)
        elif now - self._shown_at >= _PLAIN_EVERY_S:
            self._shown_at = now
            print(text, file=self._stream, flush=True)

    def end(self) -> None:
        """Leave the line of the bar."""
        if self._drawn:
            print(file=self._stream, flush=True)
            self._drawn = 0

    def seen(self) -> str:
        """How many tasks were predicted since the first look, in which time."""
        since, before = self._first or (self._clock(), 0)
        took_s, tasks = self._clock() - since, self._last - before
        return f"{tasks:,} in {span(took_s)}: {tasks / max(took_s, 1):.0f} tasks/s"

    def _draw(self, text: str) -> None:
        print("\r" + text.ljust(self._drawn), end="", file=self._stream, flush=True)
        self._drawn = len(text)

    def _text(self, counts: tuple[int, int, int], now: float) -> str:
        predicted, imported, total = counts
        share = predicted / total if total else 1.0
        filled = int(share * _CELLS)
        bar = f"[{'#' * filled}{'.' * (_CELLS - filled)}] " if self._stream.isatty() else ""
        return (
            f"{bar}{predicted:,} of {total:,} tasks predicted ({share:.0%}), {imported:,} imported"
            + self._pace(predicted, total, now)
        )

    def _pace(self, predicted: int, total: int, now: float) -> str:
        """The rate and the time left, once there is a rate."""
        since, before = self._first or (now, predicted)
        if predicted == before or now == since:
            return ""
        rate = (predicted - before) / (now - since)
        if predicted >= total:
            return f", {rate:.0f} tasks/s"
        return f", {rate:.0f} tasks/s, {span((total - predicted) / rate)} left"


def span(seconds: float) -> str:
    """A time for people: 9 s, 3 min 5 s, 2 h 4 min."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
