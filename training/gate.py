"""The gate: which texts are held out of training, and whether a stage's committee may be served.

Pure functions over texts and right/wrong answers; it knows no models and no storage.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from training.card import HeldOutSource
from training.errors import TrainingError

HELD_OUT_SHARE = 0.2


@dataclass(frozen=True)
class Judgement:
    """What the gate found; `before` and `after` are accuracies (0..1), None when `n` is 0."""

    passed: bool
    reason: str
    before: float | None
    after: float | None
    n: int


def text_key(text: str) -> str:
    """The form in which two texts count as the same: case-folded, white space collapsed."""
    return " ".join(text.casefold().split())


def held_out(text: str, share: float = HELD_OUT_SHARE) -> bool:
    """Whether a text is kept for measuring and never trained on.

    The answer depends on the text alone, so it is the same in every stage and for every duplicate.
    Raising the share later holds out texts that were trained on before; lowering it is safe.
    """
    digest = hashlib.sha256(text_key(text).encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def judge(before: Sequence[bool], after: Sequence[bool], source: HeldOutSource) -> Judgement:
    """Pass the new committee when it is not worse on the held-out verdicts.

    `before` and `after`, each shape (verdicts,), say which verdicts the served and the new
    committee got right, in the same order. Raises TrainingError when their lengths differ.
    """
    n = len(before)
    if len(after) != n:
        raise TrainingError(
            f"The gate compares pairs, but got {n} answers of the served committee and "
            f"{len(after)} of the new one; ask both about the same texts."
        )
    if source == "none" or not n:
        return Judgement(True, "Promoted unmeasured: no held-out verdicts.", None, None, 0)
    passed = sum(after) >= sum(before)
    reason = (
        f"{'Promoted' if passed else 'Refused'}: {sum(after)} of {n} held-out {source} verdicts "
        f"right ({sum(after) / n:.1%}), {sum(before)} ({sum(before) / n:.1%}) before."
    )
    return Judgement(passed, reason, sum(before) / n, sum(after) / n, n)
