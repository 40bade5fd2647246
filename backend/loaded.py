"""Committees in memory: each loaded once, until it is dropped, or used least at a bound in bytes.

A committee can be loaded in the background, beside the one in use. It does not know what a tag is
nor where committees come from.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING

from training.errors import BucketUnusable

if TYPE_CHECKING:
    from specialists.committee import Committee

logger = logging.getLogger(__name__)

Key = tuple[str, str]  # tag and control


class LoadedCommittees:
    """Loads committees on demand and keeps them while they fit; safe for several threads."""

    def __init__(self, load: Callable[[str, str], Committee], bound_bytes: int) -> None:
        self._load = load
        self._bound_bytes = bound_bytes
        self._lock = threading.Lock()
        self._committees: OrderedDict[Key, Future[Committee]] = OrderedDict()
        self._failed: set[Key] = set()

    def get(self, tag: str, control: str) -> Committee:
        """A committee; waits for whoever loads it already. Raises what loading raises."""
        key = tag, control
        with self._lock:
            found = self._committees.get(key)
            mine = found is None
            if found is None:
                found = self._committees[key] = Future()
            self._committees.move_to_end(key)
        if mine:
            self._fill(key, found)
        return found.result()

    def has(self, tag: str, control: str) -> bool:
        """Whether a committee can be asked without waiting."""
        with self._lock:
            return _whole(self._committees.get((tag, control)))

    def failed(self, tag: str, control: str) -> bool:
        """Whether it could not be loaded the last time that it was tried, for what lasts."""
        return (tag, control) in self._failed

    def warm(self, tag: str, control: str) -> None:
        """Load a committee in the background, unless it is loaded or somebody is at it."""
        with self._lock:
            if (tag, control) in self._committees:
                return
            future: Future[Committee] = Future()
            self._committees[tag, control] = future
        # No daemons: a process that ends while torch works in one is aborted.
        threading.Thread(target=self._fill, args=((tag, control), future)).start()

    def renew(self, tag: str, control: str) -> None:
        """Load a committee again in the background; the old one serves until that is done."""
        key = tag, control
        future: Future[Committee] = Future()

        def swap() -> None:
            if self._fill(key, future):
                with self._lock:
                    self._committees[key] = future

        threading.Thread(target=swap).start()

    def drop(self, *tags: str) -> None:
        """Let the committees of tags go; whoever asks one at the moment still has it until then."""
        with self._lock:
            for key in [key for key, one in self._committees.items() if key[0] in tags]:
                if self._committees[key].done():
                    del self._committees[key]
                    logger.info("%s: %s left memory", *key)
        threading.Thread(target=_give_back).start()

    @property
    def size_bytes(self) -> int:
        """What the loaded models take together; models that committees share count once."""
        with self._lock:
            return self._size()

    @property
    def runtimes(self) -> list[str]:
        """What runs the loaded models, by name."""
        with self._lock:
            done = [one.result() for one in self._committees.values() if _whole(one)]
        return sorted({name for committee in done for name in committee.runtimes})

    def _fill(self, key: Key, future: Future[Committee]) -> bool:
        """Load into a future; a failure is not kept, so that the next caller tries again."""
        try:
            committee = self._load(*key)
        except BaseException as error:
            with self._lock:
                if not isinstance(error, BucketUnusable):  # else it is only a matter of time
                    self._failed.add(key)
                if self._committees.get(key) is future:
                    del self._committees[key]
            logger.warning("%s: %s cannot be loaded: %s", *key, type(error).__name__)
            future.set_exception(error)
            return False
        future.set_result(committee)
        with self._lock:
            self._failed.discard(key)
            self._trim(key)
        return True

    def _trim(self, newest: Key) -> None:
        """Let the least recently used go until the rest fits; the newest always stays."""
        for key in [key for key, one in self._committees.items() if one.done() and key != newest]:
            if self._size() <= self._bound_bytes:
                return
            del self._committees[key]
            logger.info("%s: %s left memory", *key)

    def _size(self) -> int:
        sizes: dict[int, int] = {}
        for future in self._committees.values():
            if _whole(future):
                sizes |= future.result().sizes
        return sum(sizes.values())


def _whole(future: Future[Committee] | None) -> bool:
    """Whether a committee is there, neither under way nor failed."""
    return future is not None and future.done() and future.exception() is None


def _give_back() -> None:
    """Return what was freed to the system: glibc keeps what lies between pieces in use.

    Of a committee of three MiniLM members 200 MB stayed, and more after each promotion.
    """
    gc.collect()
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)
