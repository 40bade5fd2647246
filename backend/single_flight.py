"""Requests for the same text at the same time share one computation.

It knows texts as keys and results as anything; nothing is kept once everybody has it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

_T = TypeVar("_T")


class SingleFlight(Generic[_T]):
    """Computes each text once, however many threads ask for it at the same time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._flying: dict[tuple[object, str], Future[_T]] = {}

    def run(
        self, key: object, texts: Sequence[str], work: Callable[[list[str]], list[_T]]
    ) -> dict[str, _T]:
        """Every text's result; each is computed once however many ask at the same time."""
        with self._lock:
            mine = [text for text in texts if (key, text) not in self._flying]
            for text in mine:
                self._flying[key, text] = Future()
            futures = {text: self._flying[key, text] for text in texts}
        if mine:
            self._compute(key, mine, futures, work)
        return {text: future.result() for text, future in futures.items()}

    def _compute(
        self,
        key: object,
        texts: list[str],
        futures: Mapping[str, Future[_T]],
        work: Callable[[list[str]], list[_T]],
    ) -> None:
        try:
            for text, result in zip(texts, work(texts), strict=True):
                futures[text].set_result(result)
        except BaseException as error:
            for text in texts:
                if not futures[text].done():
                    futures[text].set_exception(error)
            raise
        finally:
            with self._lock:
                for text in texts:
                    del self._flying[key, text]
