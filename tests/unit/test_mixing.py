"""Weights of a pool: members that say nearly the same count alike until texts tell them apart."""

from __future__ import annotations

import numpy as np
import pytest

from specialists.chances import Array, log_softmax
from training import mixing

MEMBERS, LABELS = 3, 2


def voices(texts: int, skill: tuple[float, ...], seed: int) -> tuple[Array, Array]:
    """Log-probabilities (texts, labels, voices) of voices so skilled, and the truth."""
    rng = np.random.default_rng(seed)
    truth = np.eye(LABELS)[rng.integers(LABELS, size=texts)]
    shared = rng.normal(size=(texts, LABELS, 1))  # where one errs, so do the others
    own = 0.3 * rng.normal(size=(texts, LABELS, len(skill)))
    return log_softmax(truth[:, :, None] * np.array(skill) + shared + own, axis=1), truth


def weights(texts: int, skill: tuple[float, ...], alike: int, seed: int = 0) -> Array:
    said, truth = voices(texts, skill, seed)
    first = np.full(len(skill), 1.0 / len(skill))
    return mixing.fitted(said, truth, np.ones(texts), first, alike=alike).weights


def spread(found: Array) -> float:
    """How different weights are, in parts of their mean."""
    return float(np.std(found) / np.mean(found))


@pytest.mark.parametrize("seed", range(5))
def test_of_members_as_good_as_each_other_none_is_dropped_by_chance(seed: int) -> None:
    each_free = weights(100, (2.0,) * MEMBERS, alike=0, seed=seed)
    together = weights(100, (2.0,) * MEMBERS, alike=MEMBERS, seed=seed)
    assert spread(together) < 0.7 * spread(each_free)
    assert together.min() > 0.05
    assert together.sum() == pytest.approx(each_free.sum(), rel=0.1), "believed as much as before"


def test_a_member_that_knows_nothing_is_dropped_all_the_same() -> None:
    found = weights(400, (2.0, 2.0, 0.0), alike=MEMBERS)
    assert found[2] < 0.1 * found[:2].min()


def test_a_voice_that_is_no_member_is_not_drawn_to_them() -> None:
    beside = weights(60, (2.0, 2.0, 0.5), alike=2)
    among = weights(60, (2.0, 2.0, 0.5), alike=3)
    assert beside[2] < 0.5 * among[2]
