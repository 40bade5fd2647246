"""Confidence: unused until people checked it, then worth what it was worth."""

from __future__ import annotations

import numpy as np
import pytest

from specialists.chances import confidence_odds, symmetric
from specialists.rule_state import RuleState
from specialists.value_rule import ValueRule
from training.calibration import LEAST, calibrate
from training.reliability import Answers

RNG = np.random.default_rng(0)


def answers(count: int, informative: bool = True) -> Answers:
    """An LLM that is right in 80 %: with confidence 0.95, and 0.6 where it is wrong."""
    right = np.arange(count) % 5 != 0
    sure = np.where(right, 0.95, 0.6) if informative else RNG.uniform(0.5, 1.0, count)
    human = np.zeros(count, dtype=int)
    return Answers(np.where(right, 0, 1), human, np.ones(count, dtype=bool), sure)


def test_too_few_checked_texts_calibrate_nothing() -> None:
    assert calibrate(answers(LEAST - 1)) is None
    assert calibrate(answers(LEAST)) is not None


def test_without_wrong_answers_or_confidences_nothing_is_known() -> None:
    known = answers(100)
    assert calibrate(Answers(known.human, known.human, known.asked, known.confidence)) is None
    assert calibrate(Answers(known.llm, known.human, known.asked)) is None
    nothing = np.full(100, np.nan)
    assert calibrate(Answers(known.llm, known.human, known.asked, nothing)) is None


def test_an_informative_confidence_moves_the_odds_both_ways() -> None:
    found = calibrate(answers(200))
    assert found
    high, low, unknown = confidence_odds(np.array([0.95, 0.6, np.nan]), found)
    assert high > 2 and low < 0.3 and unknown == 1.0
    assert confidence_odds(np.array([1.0, 0.0]), (50.0, 0.0)) == pytest.approx(
        [np.exp(3), np.exp(-3)]
    )


def test_a_confidence_that_says_nothing_changes_nothing() -> None:
    found = calibrate(answers(2000, informative=False))
    assert found
    assert confidence_odds(np.array([0.5, 0.75, 0.99]), found) == pytest.approx([1, 1, 1], abs=0.25)


def test_the_rule_fuses_as_ever_until_it_is_calibrated() -> None:
    state = RuleState(np.ones(1), symmetric(0.8, 2))
    prior, said = np.array([[0.4, 0.6], [0.4, 0.6]]), np.array([0, -1])
    sure = np.array([0.99, 0.99])
    plain = ValueRule(state).fuse(prior, said)
    assert np.array_equal(ValueRule(state).fuse(prior, said, sure), plain)
    told = RuleState(np.ones(1), symmetric(0.8, 2), calibration=(1.0, -1.0))
    refined = ValueRule(told).fuse(prior, said, sure)
    assert refined[0, 0] > plain[0, 0]
    assert np.array_equal(refined[1], plain[1]), "no answer, nothing to believe"
    assert refined.sum(axis=1) == pytest.approx([1, 1])
    doubtful = ValueRule(told).fuse(prior, said, np.array([0.3, np.nan]))
    assert doubtful[0, 0] < plain[0, 0]


def test_a_state_keeps_its_calibration() -> None:
    state = RuleState(np.ones(1), symmetric(0.8, 2), calibration=(1.25, -0.5))
    assert RuleState.from_json(state.to_json()).calibration == (1.25, -0.5)
    assert RuleState.from_json(RuleState.first(3, 2).to_json()).calibration is None
