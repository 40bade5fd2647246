"""Members made for a replay vote on what they learned, and go on learning from new texts."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.replay.heads import HEADS, LogisticMember, out_of_fold

LABELS = 3  # the third is never trained
TEXTS = [f"{word} number {i}" for i in range(20) for word in ("fishing boat", "forest path")]
GOLD = np.array([0, 1] * 20, dtype=np.intp)


@pytest.fixture
def member() -> LogisticMember:
    return LogisticMember(HEADS["characters"], LABELS).fit(TEXTS, GOLD)


def test_a_member_votes_and_knows_what_it_was_never_taught(member: LogisticMember) -> None:
    evidence = member.observe(["a fishing boat", "the forest path"])
    assert evidence.votes.shape == (2, 1, LABELS)
    assert np.nanargmax(evidence.votes[:, 0], axis=1).tolist() == [0, 1]
    assert np.isnan(evidence.votes[:, 0, 2]).all()
    assert evidence.votes[:, 0, :2].sum(axis=1) == pytest.approx([1.0, 1.0], abs=1e-5)


def test_votes_out_of_fold_come_from_a_model_that_did_not_see_the_row() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(60, 40)).astype(np.float32)
    gold = rng.integers(0, 2, 60)
    votes = out_of_fold(HEADS["token-means"], 2, noise, gold)
    seen = LogisticMember(HEADS["token-means"], 2, lambda _: noise).fit([], gold).forward([]).votes
    assert (seen[:, 0].argmax(axis=1) == gold).mean() > 0.95  # it can learn noise by heart
    assert (votes.argmax(axis=1) == gold).mean() < 0.75


def test_continued_training_follows_the_new_labels_and_leaves_the_old_member(
    member: LogisticMember,
) -> None:
    before = member.observe(TEXTS).votes
    turned = member.continued(TEXTS * 5, np.tile(1 - GOLD, 5), seed=0)
    assert (np.nanargmax(turned.observe(TEXTS).votes[:, 0], axis=1) == 1 - GOLD).all()
    assert np.array_equal(member.observe(TEXTS).votes, before, equal_nan=True)


def test_labels_that_a_member_cannot_say_teach_it_nothing(member: LogisticMember) -> None:
    same = member.continued(TEXTS, np.full(40, 2), seed=0)
    assert np.array_equal(same.observe(TEXTS).votes, member.observe(TEXTS).votes, equal_nan=True)
