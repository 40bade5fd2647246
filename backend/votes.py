"""What committees say of texts, computed once: shared between requests and kept for a while.

Texts of parallel requests share batches, requests for the same text share its computation, and
what was said lately is kept by (tag, control, text), so that a promotion leaves it behind.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cachetools import LRUCache

from backend.single_flight import SingleFlight
from specialists.evidence import Evidence

if TYPE_CHECKING:
    from specialists.batcher import Batcher
    from specialists.committee import Committee

_CACHE_BYTES = 64_000_000  # about 14,000 texts of three MiniLM members

Key = tuple[str, str]  # tag and control


class Votes:
    """Asks committees; safe for several threads."""

    def __init__(self, batcher: Batcher, cache_bytes: int = _CACHE_BYTES) -> None:
        self._batcher = batcher
        self._flights: SingleFlight[bytes] = SingleFlight()
        self._lock = threading.Lock()
        self._cache: LRUCache[tuple[Key, str], bytes] = LRUCache(cache_bytes, getsizeof=len)

    def of(
        self, key: Key, committee: Committee, texts: Sequence[str], timeout_s: float | None
    ) -> dict[str, bytes]:
        """Packed evidence a text: rounded as it is stored, so that it decides the same ever after.

        A single text with a time limit is somebody waiting at a screen: it overtakes bulk work.
        Without a limit (workers) it takes as long as it takes. Raises as `Batcher.observe` does.
        """
        with self._lock:
            known = {text: self._cache.get((key, text)) for text in texts}
        packed = {text: raw for text, raw in known.items() if raw is not None}
        missing = [text for text, raw in known.items() if raw is None]
        urgent = timeout_s is not None and len(missing) == 1

        def ask(some: list[str]) -> list[bytes]:
            seen = self._batcher.observe(
                committee, some, urgent=urgent, timeout_s=timeout_s, patient=timeout_s is None
            )
            return Evidence.join(seen).pack()

        # Whoever waits at a screen must not wait for the end of a bulk request with the same text.
        packed |= self._flights.run((key, urgent), missing, ask)
        with self._lock:
            for text in missing:
                if len(packed[text]) <= self._cache.maxsize:
                    self._cache[key, text] = packed[text]
        return packed
