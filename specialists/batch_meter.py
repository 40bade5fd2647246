"""What batches cost: their bound, which gives way to lack of memory, padding and speed.

It knows batches as the lengths of their texts in tokens; who uses it holds a lock.
"""

from __future__ import annotations

from collections.abc import Sequence

_PROBE = 1_000  # batches after which a bound that lack of memory lowered is doubled again
_SMOOTHING = 0.2  # weight of the latest batch in the speed


class BatchMeter:
    """Measures batches and bounds them."""

    def __init__(self, batch_tokens: int) -> None:
        """Start with the largest bound: texts of a batch times the longest of them."""
        self.batch_tokens = self._most_tokens = batch_tokens
        self.tokens_per_s = 0.0  # of one stream, padding not counted; 0 before the first batch
        self._tokens = self._padded = 0
        self._steady = 0  # batches since memory ran out

    @property
    def padding_waste(self) -> float:
        """The share of tokens so far that were padding, 0 to 1."""
        return 1 - self._tokens / self._padded if self._padded else 0.0

    def passed(self, lengths: Sequence[int], elapsed_s: float) -> None:
        """Note that a batch went through in this time."""
        self._tokens += sum(lengths)
        self._padded += _padded(lengths)
        if elapsed_s > 0:
            speed = sum(lengths) / elapsed_s
            weight = _SMOOTHING if self.tokens_per_s else 1.0
            self.tokens_per_s += weight * (speed - self.tokens_per_s)
        self._steady += 1
        if self._steady % _PROBE == 0:
            self.batch_tokens = min(self._most_tokens, 2 * self.batch_tokens)

    def ran_out(self, lengths: Sequence[int]) -> None:
        """Note that memory ran out in a batch: half as much may pass."""
        self.batch_tokens = min(self.batch_tokens, max(1, _padded(lengths) // 2))
        self._steady = 0


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a smaller batch may pass; torch and ONNX Runtime tell it by name or in words.

    Seen on CPU: "can't allocate memory" (torch), "Failed to allocate memory" (ONNX Runtime).
    """
    names = {cls.__name__ for cls in type(error).__mro__}
    words = str(error).lower()
    return bool(names & {"MemoryError", "OutOfMemoryError"}) or any(
        sign in words for sign in ("out of memory", "allocate memory")
    )


def _padded(lengths: Sequence[int]) -> int:
    return len(lengths) * max(lengths)
