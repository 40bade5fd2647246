"""What a machine ran out of, told from the error that came of it.

Libraries report a full disk and a lack of memory in many types of their own, so the words decide.
"""

from __future__ import annotations

import errno

from training.errors import DiskFull, OutOfMemory

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
_NO_SPACE_WORDS = ("no space left on device", "disk quota exceeded")  # safetensors' and SQLite's
_NO_MEMORY_WORDS = (
    "out of memory",  # CUDA's and the driver's
    "alloc_failed",  # cuBLAS
    "can't allocate memory",  # torch on a CPU
    "cannot allocate memory",  # the system's, such as for a mapped file
    "bad_alloc",  # C++ libraries
)


def shortage(error: BaseException) -> DiskFull | OutOfMemory | None:
    """The error in our words when memory or disk ran out, None for any other one."""
    if isinstance(error, (DiskFull, OutOfMemory)):
        return error
    words = str(error).lower()
    if isinstance(error, OSError) and error.errno in _NO_SPACE or _has(words, _NO_SPACE_WORDS):
        return DiskFull(
            "The disk is full. Free space in MODEL_DIR (and DATA_DIR if it lies there too); the "
            "work goes on by itself, and what is served stays as it is."
        )
    if isinstance(error, MemoryError) or _has(words, _NO_MEMORY_WORDS):
        return OutOfMemory("Memory ran out; free some, or give this process more.")
    return None


def _has(words: str, any_of: tuple[str, ...]) -> bool:
    return any(one in words for one in any_of)
