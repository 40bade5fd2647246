"""Label maps: used as the served committee uses them, and judged by the verdicts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from meta_controller.label_maps import (
    Ints,
    OwnVotes,
    Z,
    folds,
    is_better,
    kappa,
    learned_map,
    project,
    right,
    settle,
)
from specialists.projection import Projection
from specialists.types import Label, LabelSet

NAMES = ("positive", "neutral", "negative")
OWN = ("a", "b", "c", "d")


@given(
    logits=st.lists(st.lists(st.floats(-6, 6), min_size=4, max_size=4), min_size=1, max_size=5),
    meant=st.dictionaries(st.sampled_from(OWN), st.sampled_from(NAMES), min_size=1),
    independent=st.booleans(),
)
def test_votes_are_those_that_the_served_member_would_give(
    logits: list[list[float]], meant: dict[str, str], independent: bool
) -> None:
    labels = LabelSet(tuple(Label(name) for name in NAMES))
    own_labels = LabelSet(tuple(Label(name) for name in OWN))
    scores = torch.tensor(logits, dtype=torch.float64)
    served = Projection(OWN, meant, labels, sigmoid=independent).votes(scores)
    kept = Projection(OWN, {o: o for o in OWN}, own_labels, sigmoid=independent).votes(scores)
    found = project(OwnVotes(OWN, kept.astype(np.float64), independent), meant, NAMES)
    np.testing.assert_allclose(found, served, atol=1e-5)


def answers(truth: Ints, outputs: int, skill: float, turn: int = 0, seed: int = 0) -> OwnVotes:
    """Votes that are right with probability `skill`, their outputs turned round by `turn`."""
    draw = np.random.default_rng(seed)
    correct = draw.random(len(truth)) < skill
    said = np.where(correct, truth, draw.integers(outputs, size=len(truth)))
    votes = np.full((len(truth), outputs), 0.1)
    votes[np.arange(len(truth)), (said + turn) % outputs] = 1.0
    return OwnVotes(OWN[:outputs], votes / votes.sum(axis=1, keepdims=True))


@pytest.fixture
def truth() -> Ints:
    return np.random.default_rng(1).integers(3, size=200)


STRAIGHT = dict(zip(OWN, NAMES, strict=False))
TURNED = {"b": "positive", "c": "neutral", "a": "negative"}


def test_verdicts_teach_what_outputs_mean_also_of_a_rare_label() -> None:
    truth = np.array([0] * 170 + [1] * 20 + [2] * 10)
    own = answers(truth, 3, skill=0.8, turn=1)
    assert learned_map(own, NAMES, truth) == TURNED


def test_outputs_that_all_mean_the_same_teach_nothing() -> None:
    truth = np.zeros(60, dtype=np.int64)
    assert learned_map(answers(truth, 3, skill=0.5), NAMES, truth) == {}


def test_a_model_that_contradicts_its_own_names_is_doubted_and_the_better_map_shown(
    truth: Ints,
) -> None:
    found = settle(answers(truth, 3, 0.8, turn=1), STRAIGHT, "rules", NAMES, truth)
    assert "contradicts the verdicts" in found.doubt
    assert (found.label_map, found.mapped_by) == (STRAIGHT, "rules")
    assert found.better == TURNED


def test_a_suggestion_of_the_llm_that_is_wrong_gives_way_to_the_map_that_agrees(
    truth: Ints,
) -> None:
    found = settle(answers(truth, 3, 0.8, turn=1), STRAIGHT, "LLM", NAMES, truth)
    assert (found.label_map, found.mapped_by, found.doubt) == (TURNED, "verdicts", "")
    assert right(found.votes, truth).mean() > 0.75


def test_a_suggestion_that_is_right_stands(truth: Ints) -> None:
    found = settle(answers(truth, 3, 0.8), STRAIGHT, "LLM", NAMES, truth)
    assert (found.label_map, found.mapped_by, found.doubt) == (STRAIGHT, "LLM", "")


def test_labels_without_names_are_learned_but_chance_stays_chance(truth: Ints) -> None:
    good = settle(answers(truth, 3, 0.8, turn=1), {}, "rules", NAMES, truth)
    assert (good.label_map, good.mapped_by, good.doubt) == (TURNED, "verdicts", "")
    doubts = [
        settle(answers(truth, 3, 0.0, seed=seed), {}, "rules", NAMES, truth).doubt
        for seed in range(20)
    ]
    assert sum(doubt != "" for doubt in doubts) >= 18


@pytest.mark.parametrize("texts", [60, 400])
def test_few_models_that_guess_are_believed_by_a_map_that_was_learned_for_them(texts: int) -> None:
    """One-sided 5 % would let 5 of 100 pass, were the answers of the folds independent."""
    truth = np.random.default_rng(texts).integers(0, len(NAMES), texts)
    guesses = (answers(truth, 3, 0.0, seed=seed) for seed in range(300))
    believed = sum(settle(own, {}, "rules", NAMES, truth).doubt == "" for own in guesses)
    assert believed <= 0.05 * 300


def test_without_verdicts_a_map_is_taken_as_it_is_and_none_is_none(truth: Ints) -> None:
    own = answers(truth, 3, 0.8, turn=1)
    assert settle(own, STRAIGHT, "rules", NAMES, None).doubt == ""
    assert "nobody knows" in settle(own, {}, "rules", NAMES, None).doubt


@given(st.lists(st.integers(0, 3), min_size=2, max_size=60))
def test_kappa_is_one_with_oneself_and_at_most_one(said: list[int]) -> None:
    one = np.array(said)
    found, error = kappa(one, one, 4)
    assert found == pytest.approx(1.0 if len(set(said)) > 1 else 0.0)
    assert kappa(one, np.roll(one, 1), 4)[0] <= 1.0 and error >= 0


def test_kappa_of_answers_with_nothing_in_common_lies_within_its_error(truth: Ints) -> None:
    draw = np.random.default_rng(3)
    beyond = 0
    for _ in range(200):
        found, error = kappa(draw.integers(3, size=200), truth, 3)
        beyond += found > Z * error
    assert 1 <= beyond <= 22, "one-sided 5 % of 200"


@given(st.integers(1, 40), st.integers(1, 6))
def test_folds_hold_each_text_once(count: int, parts: int) -> None:
    assert (np.sum(folds(count, parts), axis=0) == 1).all()


def test_a_gain_of_one_text_is_not_believed() -> None:
    worse = np.array([True] * 80 + [False] * 20)
    assert not is_better(np.array([True] * 81 + [False] * 19), worse)
    assert is_better(np.array([True] * 95 + [False] * 5), worse)
    assert not is_better(worse, worse)
