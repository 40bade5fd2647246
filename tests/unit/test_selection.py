"""The choice: members that help, none that repeats, contradicts or guesses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meta_controller.label_maps import Floats, Ints
from meta_controller.selection import Ballot, as_given, choose
from specialists.decision import pool

LABELS = 3


def votes(truth: Ints, known: Floats, seed: int, sure: float = 0.8) -> Floats:
    """Right with the probability `known` (texts,), else by chance."""
    draw = np.random.default_rng(seed)
    knows = draw.random(len(truth)) < known
    said = np.where(knows, truth, draw.integers(LABELS, size=len(truth)))
    sureness = np.where(knows, sure, 0.45)
    found = np.repeat((1 - sureness)[:, None] / (LABELS - 1), LABELS, axis=1)
    found[np.arange(len(truth)), said] = sureness
    return found


def skilled(truth: Ints, skill: float, seed: int) -> Floats:
    return votes(truth, np.full(len(truth), skill), seed)


@pytest.fixture
def truth() -> Ints:
    return np.random.default_rng(0).integers(LABELS, size=200)


@pytest.fixture
def ballots(truth: Ints) -> list[Ballot]:
    """Two that know other texts, a copy of the first, a weak one, and one that guesses."""
    halves = np.arange(200) % 2
    first = votes(truth, np.where(halves, 0.9, 0.3), 1)
    noise = np.random.default_rng(4).normal(0, 0.01, first.shape)
    return [
        Ballot("guess", skilled(truth, 0.0, 9)),
        Ballot("first", first),
        Ballot("copy", np.clip(first + noise, 0, 1)),
        Ballot("second", votes(truth, np.where(halves, 0.3, 0.9), 2)),
        Ballot("barred", skilled(truth, 0.95, 3), doubt="it contradicts the verdicts"),
    ]


def test_members_that_complete_each_other_are_chosen(truth: Ints, ballots: list[Ballot]) -> None:
    choice = choose(ballots, truth, 3, pool)
    assert set(choice.members) in ({"first", "second"}, {"copy", "second"})
    found = {one.name: one for one in choice.findings}
    alone = [one.accuracy for one in choice.findings if one.chosen]
    assert choice.accuracy is not None and choice.accuracy > max(a for a in alone if a)
    assert found["barred"].why == "it contradicts the verdicts"
    assert "repeats" in found["copy"].why + found["first"].why
    assert not found["guess"].chosen


def test_the_order_of_the_candidates_does_not_matter(truth: Ints, ballots: list[Ballot]) -> None:
    distinct = [one for one in ballots if one.name != "copy"]
    forwards = choose(distinct, truth, 3, pool)
    backwards = choose(distinct[::-1], truth, 3, pool)
    assert forwards.members == backwards.members


def test_more_than_k_are_never_chosen(truth: Ints) -> None:
    many = [Ballot(str(seed), skilled(truth, 0.6, seed)) for seed in range(6)]
    assert len(choose(many, truth, 2, pool).members) == 2


def test_what_gains_by_chance_alone_is_not_believed() -> None:
    admitted = 0
    for seed in range(30):
        draw = np.random.default_rng(seed)
        truth = draw.integers(LABELS, size=60)
        guesses = [Ballot(str(i), skilled(truth, 0.0, 100 * seed + i)) for i in range(8)]
        good = Ballot("good", skilled(truth, 0.8, 999 + seed))
        admitted += len(choose([good, *guesses], truth, 3, pool).members) - 1
    assert admitted <= 3


def test_the_promised_accuracy_is_not_the_one_that_chance_chose() -> None:
    optimism, honesty = [], []
    for seed in range(12):
        truth = np.random.default_rng(seed).integers(LABELS, size=60)
        guesses = [Ballot(str(i), skilled(truth, 0.05, 50 * seed + i)) for i in range(12)]
        choice = choose(guesses, truth, 3, pool)
        assert choice.accuracy is not None and choice.expected is not None
        optimism.append(choice.accuracy)
        honesty.append(choice.expected)
    assert np.mean(honesty) < np.mean(optimism) - 0.03
    assert abs(np.mean(honesty) - (0.05 + 0.95 / LABELS)) < 0.05


def test_nobody_is_chosen_when_all_are_doubted(truth: Ints) -> None:
    choice = choose([Ballot("a", skilled(truth, 0.9, 1), "chance")], truth, 3, pool)
    assert (choice.members, choice.accuracy, choice.expected) == ((), None, None)
    assert choose([], truth, 3, pool).members == ()


def test_without_verdicts_those_that_agree_are_taken_and_a_twin_is_not(
    truth: Ints, ballots: list[Ballot]
) -> None:
    turned = np.roll(skilled(truth, 0.9, 5), 1, axis=1)
    good = [Ballot(f"good-{seed}", skilled(truth, 0.8, seed)) for seed in (11, 12, 13)]
    choice = choose([Ballot("turned", turned), *good, Ballot("twin", good[0].votes)], None, 3, pool)
    assert set(choice.members) == {one.name for one in good}
    found = {one.name: one for one in choice.findings}
    assert found["twin"].why == "repeats good-11: answers the same"
    assert all(one.accuracy is None and one.gain is None for one in choice.findings)


def test_a_label_that_a_member_does_not_know_is_left_to_the_others(truth: Ints) -> None:
    polar = skilled(truth, 0.9, 7)
    polar[:, 1] = np.nan
    polar /= np.nansum(polar, axis=1, keepdims=True)
    both = [Ballot("polar", polar), Ballot("whole", skilled(truth, 0.6, 8))]
    choice = choose(both, truth, 2, pool)
    assert choice.accuracy is not None and not np.isnan(choice.accuracy)


def test_a_person_s_committee_stands_and_is_measured(truth: Ints, ballots: list[Ballot]) -> None:
    choice = as_given(ballots, truth, pool)
    assert choice.members == tuple(one.name for one in ballots)
    assert choice.accuracy is not None and choice.expected is None


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), k=st.integers(1, 4), known=st.booleans())
def test_each_candidate_gets_one_finding_and_members_are_those_chosen(
    seed: int, k: int, known: bool
) -> None:
    draw = np.random.default_rng(seed)
    truth = draw.integers(LABELS, size=40)
    some = [Ballot(str(i), skilled(truth, draw.random(), seed + i)) for i in range(5)]
    choice = choose(some, truth if known else None, k, pool)
    assert [one.name for one in choice.findings] == [one.name for one in some]
    assert {one.name for one in choice.findings if one.chosen} == set(choice.members)
    assert len(choice.members) <= k
    for one in choice.findings:
        assert one.why and 0 <= one.confidence <= 1
        assert one.disagreement is None or 0 <= one.disagreement <= 1
