"""Drift: whether people agree less with what is served than they did before.

Arrays of agreements only; it knows no texts, no labels and no storage.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb

RECENT = 30
"""The newest answers that are compared; as many as in Nishida and Yamauchi (2007)."""
BEFORE = 200
"""Answers before those that they are compared with, at most; at least as many as RECENT."""
STEP = 10
"""New answers between two comparisons, so that their number is bounded."""
ALPHA = 0.001
"""A false alarm's chance at each comparison: at most one in STEP / ALPHA = 10,000 answers."""


@dataclass(frozen=True)
class Drop:
    """Agreement (0..1) over the latest `recent` answers and over the `earlier` ones before."""

    before: float
    earlier: int
    after: float
    recent: int

    def sentence(self) -> str:
        """What dropped, from what to what, over how many answers."""
        return (
            f"people agreed with {self.before:.0%} of what was shown ({self.earlier} answers), "
            f"and with {self.after:.0%} of it in the last {self.recent}"
        )


def drop(agreed: Sequence[bool]) -> Drop | None:
    """The drop in a stream of agreements, oldest first; None when chance explains it.

    The two windows of STEPD (Nishida and Yamauchi, "Detecting Concept Drift Using Statistical
    Testing", Discovery Science 2007), compared by Fisher's exact test, one-sided, as in Cabral and
    Barros, "Concept drift detection based on Fisher's Exact test", Information Sciences 2018: no
    approximation, so that ALPHA bounds false alarms in windows this small.
    """
    recent, earlier = agreed[-RECENT:], agreed[-RECENT - BEFORE : -RECENT]
    if len(earlier) < RECENT:
        return None
    if fisher(sum(recent), len(recent), sum(earlier), len(earlier)) > ALPHA:
        return None
    before, after = sum(earlier) / len(earlier), sum(recent) / len(recent)
    return Drop(before, len(earlier), after, len(recent))


def fisher(right: int, n: int, others_right: int, others: int) -> float:
    """The chance of `right` of `n` or fewer, given all that are right in both (hypergeometric)."""
    total = right + others_right
    least = max(0, total - others)
    ways = sum(comb(n, k) * comb(others, total - k) for k in range(least, right + 1))
    return ways / comb(n + others, total)
