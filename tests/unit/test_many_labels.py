"""Refits of a project whose labels nobody knew: 77 or 300 of them, few verdicts each."""

from __future__ import annotations

import numpy as np
import pytest

from specialists.evidence import Evidence
from specialists.rule_state import RuleState
from specialists.value_rule import ValueRule
from training.refit import WAVES, Known, Refit, refit
from training.reliability import Answers

WIDTH = 96
CLAIMED = 0.4


class World:
    """Texts of one member that compares; it is right so often. The frozen view tells the truth."""

    def __init__(self, labels: int, *, right: float = 0.5, seed: int = 0) -> None:
        self.labels, self.right = labels, right
        self.draw = np.random.default_rng(seed)
        self.centres = self.draw.normal(size=(labels, WIDTH))

    def texts(self, truth: np.ndarray) -> Evidence:
        count = len(truth)
        said = np.where(
            self.draw.random(count) < self.right, truth, self.draw.integers(0, self.labels, count)
        )
        votes = np.full((count, 1, self.labels), (1 - CLAIMED) / self.labels, dtype=np.float32)
        votes[np.arange(count), 0, said] += CLAIMED
        frozen = self.centres[truth] + self.draw.normal(size=(count, WIDTH))
        return Evidence(votes, (), frozen.astype(np.float32))


def learned(evidence: Evidence, gold: np.ndarray, *, by: str = "people") -> Refit:
    none = np.full(len(gold), -1)
    people = by == "people"
    answers = Answers(none if people else gold, gold if people else none, none >= people)
    return refit(Known(evidence, answers), taught=False)


def losses(chances: np.ndarray, truth: np.ndarray) -> np.ndarray:
    found: np.ndarray = -np.log(chances[np.arange(len(truth)), truth])
    return found


@pytest.mark.parametrize("labels", [77, 300])
def test_a_label_without_a_verdict_stays_possible(labels: int) -> None:
    world = World(labels)
    seen = world.draw.integers(0, labels // 2, 120)  # verdicts on the first half only
    state = learned(world.texts(seen), seen).state
    fresh = world.draw.integers(labels // 2, labels, 400)
    found = losses(ValueRule(state).probabilities(world.texts(fresh)), fresh)
    assert np.isfinite(found).all()
    assert found.mean() < np.log(labels) + 1.0, "hardly worse than knowing nothing"


@pytest.mark.parametrize("labels", [77, 300])
def test_what_is_learned_is_worth_more_than_what_labels_are_called(labels: int) -> None:
    world = World(labels, right=0.3)
    gold, fresh = world.draw.integers(0, labels, 900), world.draw.integers(0, labels, 500)
    state, seen = learned(world.texts(gold), gold).state, world.texts(fresh)
    chances = ValueRule(state).probabilities(seen)
    assert state.live is not None and state.live.admitted
    assert (chances.argmax(axis=1) == fresh).mean() > 0.6
    assert chances.max(axis=1).mean() == pytest.approx(
        (chances.argmax(axis=1) == fresh).mean(), abs=0.15
    ), "as sure as it is right"


@pytest.mark.parametrize("labels", [77, 300])
def test_its_state_travels_and_stays_small(labels: int) -> None:
    world = World(labels)
    gold = world.draw.integers(0, labels, 200)
    evidence = world.texts(gold)
    state = learned(evidence, gold, by="llm").state
    raw = state.to_json()
    assert len(raw) < 4 * (labels * labels + 2 * WAVES * labels) < 4_000_000
    again = RuleState.from_json(raw)
    before, after = (ValueRule(one).probabilities(evidence) for one in (state, again))
    np.testing.assert_allclose(after, before, atol=0.02)
    np.testing.assert_allclose(again.confusion.sum(axis=1), 1.0, atol=0.02)
    assert (again.confusion > 0).all(), "nothing that the LLM could say is impossible"


def test_answers_that_nobody_can_check_are_taken_for_good_until_people_do() -> None:
    """All that is known of the labels comes from them: to measure them by that drags both down."""
    world = World(77, right=0.6)
    gold = world.draw.integers(0, 77, 400)
    evidence, none = world.texts(gold), np.full(400, -1)
    assert learned(evidence, gold, by="llm").state.llm_accuracy > 0.9
    wrong = np.where(world.draw.random(400) < 0.5, gold, (gold + 1) % 77)
    people = np.where(np.arange(400) < 100, gold, none)
    found = refit(Known(evidence, Answers(wrong, people, none < 0)), taught=False)
    assert found.state.llm_accuracy < 0.75


def test_it_is_never_held_against_the_llm_that_labels_are_called_otherwise() -> None:
    world = World(77, right=0.0)
    gold = world.draw.integers(0, 77, 120)
    evidence = world.texts(gold)
    found = learned(evidence, gold, by="llm")
    assert found.state.trust == "both"
    assert (found.posterior.argmax(axis=1) == gold).mean() > 0.8
    none = np.full(len(gold), -1)
    taught = refit(Known(evidence, Answers(gold, none, gold >= 0)))
    assert taught.state.trust == "committee", "members that were taught are believed"


def test_few_verdicts_leave_the_first_state() -> None:
    world = World(77)
    gold = world.draw.integers(0, 77, 7)
    state = learned(world.texts(gold), gold).state
    assert (state.verdicts, state.live, state.trust) == (0, None, "both")
