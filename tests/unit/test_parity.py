"""Whether two runtimes say the same: labels, probabilities, few texts, broken answers."""

from __future__ import annotations

import numpy as np
import pytest

from specialists.evidence import Floats
from specialists.parity import MAX_DIFFERENCE, Parity, compare


def two_labels(texts: int) -> Floats:
    """Sure answers, each label half the time."""
    first = np.where(np.arange(texts) % 2 == 0, 4.0, -4.0)
    return np.stack([first, -first], axis=1).astype(np.float32)


def changed(logits: Floats, texts: int) -> Floats:
    """The same, but the first `texts` answers barely say the other label."""
    other = logits.copy()
    other[:texts] = -0.01 * np.sign(logits[:texts])
    return other


def near_ties(texts: int) -> Floats:
    return (two_labels(texts) * 0.001).astype(np.float32)


def test_a_runtime_agrees_with_itself() -> None:
    logits = two_labels(50)
    assert compare(logits, logits, sigmoid=False) == Parity(1.0, 0.0, 50)


def test_softmax_does_not_see_a_shift_of_all_logits_and_sigmoid_does() -> None:
    logits = two_labels(50)
    assert compare(logits, logits + 6, sigmoid=False).difference == pytest.approx(0, abs=1e-6)
    shifted = compare(logits, logits + 6, sigmoid=True)
    assert shifted.agreement == 0.0
    assert not shifted.passed


def test_one_text_in_a_hundred_may_change_its_label_and_no_more() -> None:
    logits = two_labels(1_000)
    few, many = (compare(logits, changed(logits, n), sigmoid=False) for n in (10, 11))
    assert (few.agreement, many.agreement) == (0.99, 0.989)
    assert (few.passed, many.passed) == (True, False)


def test_of_few_texts_one_near_a_tie_may_change() -> None:
    logits = near_ties(20)
    one, two = (compare(logits, changed(logits, n), sigmoid=False) for n in (1, 2))
    assert one.agreement == 0.95
    assert (one.passed, two.passed) == (True, False)


def test_the_same_labels_with_other_probabilities_do_not_pass() -> None:
    found = compare(two_labels(100), two_labels(100) * 0.25, sigmoid=False)
    assert found.agreement == 1.0
    assert found.difference == pytest.approx(0.9997 - 0.8808, abs=1e-4)
    assert found.difference > MAX_DIFFERENCE
    assert not found.passed


def test_independent_labels_agree_as_sets() -> None:
    logits = np.full((100, 4), -3.0, np.float32)
    other = logits.copy()
    other[0, 2] = 0.0  # .5 is said
    found = compare(logits, other, sigmoid=True)
    assert found.agreement == 0.99
    assert found.difference == pytest.approx((0.5 - 0.0474) / 400, abs=1e-5)


@pytest.mark.parametrize("sigmoid", [False, True])
@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_answers_that_are_not_finite_never_pass(broken: float, sigmoid: bool) -> None:
    other = two_labels(10)
    other[3] = broken
    assert not compare(two_labels(10), other, sigmoid=sigmoid).passed
