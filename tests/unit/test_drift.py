"""Drift: how often a steady stream alarms, and how soon a drop is seen, over seeded streams."""

from __future__ import annotations

import random

import pytest

from training.drift import ALPHA, BEFORE, RECENT, STEP, drop, fisher

STREAMS = 200


def alarm(rng: random.Random, before: float, n: int, after: float, m: int) -> int | None:
    """After how many answers of a stream, compared at every STEP, an alarm is raised."""
    agreed: list[bool] = []
    for i in range(n + m):
        agreed.append(rng.random() < (before if i < n else after))
        if len(agreed) % STEP == 0 and drop(agreed):
            return i + 1
    return None


@pytest.mark.parametrize("agreement", [0.5, 0.8, 0.95])
def test_a_steady_stream_seldom_alarms(agreement: float) -> None:
    rng = random.Random(1)
    false = sum(alarm(rng, agreement, 1000, agreement, 0) is not None for _ in range(STREAMS))
    # 100 comparisons of each stream: a tenth may alarm. Measured: 2 to 5 in 100 streams.
    assert false / STREAMS <= 1000 / STEP * ALPHA


@pytest.mark.parametrize(
    ("before", "after", "seen", "within"), [(0.9, 0.6, 0.9, 40), (0.9, 0.7, 0.55, 60)]
)
def test_a_drop_is_seen_soon(before: float, after: float, seen: float, within: int) -> None:
    rng = random.Random(2)
    alarms = [alarm(rng, before, BEFORE, after, 200) for _ in range(STREAMS)]
    delays = sorted(at - BEFORE for at in alarms if at and at > BEFORE)
    assert len(delays) / STREAMS >= seen
    assert delays[len(delays) // 2] <= within


def test_a_rise_and_too_few_answers_are_no_drop() -> None:
    assert drop([False] * 100 + [True] * RECENT) is None
    assert drop([True] * (RECENT - 1) + [False] * RECENT) is None
    found = drop([True] * RECENT + [False] * RECENT)
    assert found and (found.before, found.after, found.earlier, found.recent) == (1.0, 0.0, 30, 30)
    assert "100% of what was shown (30 answers)" in found.sentence()


def test_the_exact_test_is_fisher_s() -> None:
    # Fisher's tea: 3 of 4 and 1 of 4 right, one-sided 17/70; the other side has all but 1/70.
    assert fisher(1, 4, 3, 4) == pytest.approx(17 / 70)
    assert fisher(3, 4, 1, 4) == pytest.approx(69 / 70)
    assert fisher(4, 4, 0, 4) == 1.0
