"""Waves make a linear head see neighbours; it learns on them where that says more."""

from __future__ import annotations

import json

import numpy as np
import pytest

from specialists.chances import log_softmax, unit, waves
from specialists.evidence import Evidence
from specialists.rule_state import SHARPNESS, Live, RuleState
from training.heads import WAVE_PENALTIES, View
from training.live import Lesson
from training.reliability import Answers

WIDTH, COUNT = 8, 256


def rows(count: int, seed: int = 0) -> np.ndarray:
    found = np.random.default_rng(seed).normal(size=(count, WIDTH))
    return unit(found).astype(np.float32)


def test_their_products_are_a_gaussian_kernel_and_their_length_is_one() -> None:
    some = rows(30)
    spread = waves(some, 4096)
    distances = ((some[:, None] - some[None]) ** 2).sum(axis=2)
    np.testing.assert_allclose(spread @ spread.T, np.exp(-distances / 2), atol=0.06)
    np.testing.assert_allclose(np.linalg.norm(spread, axis=1), 1.0, atol=1e-5)
    assert spread.dtype == np.float32


def test_they_are_the_same_in_every_process() -> None:
    """What one process learned is evaluated by others: these numbers must never change."""
    found = waves(np.eye(2, dtype=np.float32), 3)
    expected = np.cos([[1.7640524, 0.4001572, 0.978738], [2.2408931, 1.867558, -0.9772779]])
    np.testing.assert_allclose(found[:, :3], expected / np.sqrt(3), atol=1e-5)


def test_leave_one_out_equals_fitting_without_that_text() -> None:
    view, target = rows(40), np.eye(3)[np.random.default_rng(1).integers(0, 3, 40)]
    weights, centre = np.ones(40), np.zeros(WIDTH)
    _, log_p = View.of(view, weights, centre, COUNT).fit(target)
    inputs, others, offset = waves(view, COUNT), np.arange(40) != 5, target.mean(axis=0)
    expected = []
    for penalty in WAVE_PENALTIES:
        kernel = inputs[others] @ inputs[others].T + penalty * np.eye(39)
        solved = np.linalg.solve(kernel, (target - offset)[others])
        scores = SHARPNESS * (inputs[5] @ inputs[others].T @ solved + offset)
        expected.append(log_softmax(scores[None])[0])
    assert min(np.abs(log_p[5] - one).max() for one in expected) < 1e-3


def lesson(view: np.ndarray, truth: np.ndarray, count: int = COUNT) -> Lesson:
    evidence = Evidence(np.zeros((len(view), 0, 2), dtype=np.float32), (), view)
    none = np.full(len(view), -1)
    answers = Answers(none, truth, none >= 0)
    nobody = evidence.rows([]), answers.rows(np.zeros(0, dtype=np.intp))
    return Lesson((evidence, answers), nobody, waves=count)


@pytest.mark.parametrize(("crooked", "expected"), [(True, COUNT), (False, 0)])
def test_the_head_that_says_more_of_texts_left_out_is_taken(crooked: bool, expected: int) -> None:
    view = rows(300)
    truth = ((view[:, 0] * view[:, 1] if crooked else view[:, 0]) > 0).astype(int)
    head, log_p = lesson(view, truth).learn(np.eye(2)[truth], np.eye(2))
    assert head.waves == expected
    assert (log_p.argmax(axis=1) == truth).mean() > 0.75
    fresh = rows(300, seed=1)
    right = (fresh[:, 0] * fresh[:, 1] if crooked else fresh[:, 0]) > 0
    assert (head.log_probabilities(fresh).argmax(axis=1) == right).mean() > 0.75


def test_a_head_on_them_travels() -> None:
    view = rows(60)
    truth = (view[:, 0] * view[:, 1] > 0).astype(int)
    head, _ = lesson(view, truth).learn(np.eye(2)[truth], np.eye(2))
    state = RuleState(np.ones(0), np.eye(2), live=Live(head, 1.0, True, 60, 60, 0.1))
    again = RuleState.from_json(state.to_json()).live
    assert again is not None
    np.testing.assert_allclose(
        again.head.log_probabilities(view), head.log_probabilities(view), atol=0.05
    )


def test_a_head_that_was_stored_before_there_were_any_is_plain() -> None:
    head, _ = lesson(rows(20), np.arange(20) % 2, 0).learn(np.eye(2)[np.arange(20) % 2], np.eye(2))
    raw = RuleState(np.ones(0), np.eye(2), live=Live(head, 1.0, True, 20, 20, 0.1)).to_json()
    old = json.loads(raw)
    del old["live"]["head"]["waves"]
    again = RuleState.from_json(json.dumps(old)).live
    assert again is not None and again.head.waves == 0
