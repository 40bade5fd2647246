"""Which texts are held out of training by themselves, in every stage the same.

Pure functions over texts; `slice.py` adds what these leave out, `judgement.py` says what follows
from the answers to them.
"""

from __future__ import annotations

import hashlib

HELD_OUT_SHARE = 0.2


def text_key(text: str) -> str:
    """The form in which two texts count as the same: case-folded, white space collapsed."""
    return " ".join(text.casefold().split())


def fingerprint(text: str) -> str:
    """16 hex digits, the same for all texts of one key."""
    return hashlib.sha256(text_key(text).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def held_out(text: str, share: float = HELD_OUT_SHARE) -> bool:
    """Whether a text is kept for measuring and never trained on, whoever answered it.

    The answer depends on the text alone, so it is the same in every stage and for every duplicate.
    Raising the share later holds out texts that were trained on before; lowering it is safe.
    """
    return int(fingerprint(text), 16) < share * 2**64
