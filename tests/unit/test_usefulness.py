"""Which answers would teach most: doubt, and the order that a design gives."""

from __future__ import annotations

import numpy as np
import pytest

from specialists.chances import unit
from training import usefulness
from training.usefulness import Design, doubt

WIDTH = 8


def rows(*vectors: list[float]) -> np.ndarray:
    """Unit rows (texts, WIDTH) that begin with these numbers."""
    filled = np.zeros((len(vectors), WIDTH), dtype=np.float32)
    for row, vector in zip(filled, vectors, strict=True):
        row[: len(vector)] = vector
    return np.asarray(unit(filled), dtype=np.float32)


def order(
    open_rows: np.ndarray,
    doubts: list[float],
    known: np.ndarray | None = None,
    count: int = 99,
) -> list[int]:
    """The order of texts whose ids are 1, 2, ..."""
    design = Design(WIDTH)
    if known is not None:
        design.know(known)
    design.consider(np.arange(1, len(open_rows) + 1), open_rows, np.array(doubts))
    return design.order(count)


def test_doubt_is_one_less_the_margin_of_the_two_likeliest() -> None:
    chances = np.array([[0.5, 0.5, 0.0], [0.9, 0.06, 0.04], [1.0, 0.0, 0.0]])
    assert doubt(chances) == pytest.approx([1.0, 0.16, 0.0])


@pytest.mark.parametrize("labels", [1, 2, 77, 300])
def test_doubt_is_a_number_in_0_to_1_for_any_chances(labels: int) -> None:
    chances = np.random.default_rng(0).random((20, labels))
    chances[0], chances[1, 0] = np.nan, np.inf
    found = doubt(chances)
    assert found.shape == (20,) and ((found >= 0) & (found <= 1)).all()


def test_no_text_and_one_text_have_an_order() -> None:
    assert Design(WIDTH).order(5) == []
    assert order(rows(), []) == []
    assert order(rows([1.0]), [0.3]) == [1]
    assert order(rows([1.0]), [0.0], count=0) == []


def test_of_alike_texts_the_doubtful_one_comes_first() -> None:
    assert order(rows([1.0], [0.0, 1.0]), [0.2, 0.9])[0] == 2


def test_near_duplicates_do_not_fill_the_head() -> None:
    same = [[1.0, 0.001 * i] for i in range(20)]
    others = [[0.0, 0.0, 1.0], [0.0, 0.0, 0.0, 1.0]]
    found = order(rows(*same, *others), [1.0] * 20 + [0.5, 0.5])
    assert found[0] <= 20
    assert set(found[1:3]) == {21, 22}
    assert sorted(found) == list(range(1, 23)), "each text once"


def test_what_resembles_a_known_text_waits() -> None:
    found = order(rows([1.0], [0.0, 1.0]), [0.8, 0.8], known=rows([1.0, 0.01], [1.0, -0.01]))
    assert found == [2, 1]


def test_a_text_that_many_resemble_comes_before_an_outlier() -> None:
    cluster = [[1.0, 0.05 * (i - 5)] for i in range(10)]
    found = order(rows([0.0, 0.0, 1.0], *cluster), [1.0] * 11)
    assert found[0] > 1


def test_equal_texts_keep_their_order() -> None:
    assert order(rows(*[[1.0]] * 5), [0.5] * 5) == [1, 2, 3, 4, 5]
    assert order(rows(*[[1.0]] * 5), [0.0] * 5) == [1, 2, 3, 4, 5]


def test_updates_equal_the_regression_solved_anew() -> None:
    rng = np.random.default_rng(3)
    texts = np.asarray(unit(rng.normal(size=(30, WIDTH))), dtype=np.float32)
    doubts = rng.random(30)
    found = order(texts, doubts.tolist())
    known = usefulness.PENALTY * np.eye(WIDTH)
    doubtful = (texts * doubts[:, None] ** 2).T @ texts
    left = list(range(30))
    for task in found:
        covariance = np.linalg.inv(known)
        worth = [
            text @ covariance @ doubtful @ covariance @ text / (1 + text @ covariance @ text)
            for text in texts[left]
        ]
        assert worth[left.index(task - 1)] == pytest.approx(max(worth), rel=1e-3)
        left.remove(task - 1)
        known += np.outer(texts[task - 1], texts[task - 1])


def test_of_equally_doubtful_texts_some_from_everywhere_are_kept() -> None:
    design = Design(WIDTH)
    texts = np.tile(rows([1.0]), (10 * usefulness.MOST, 1))
    design.consider(np.arange(len(texts)), texts, np.ones(len(texts)))
    found = design.order(50)
    assert max(found) > 4 * len(found), "of the first alone it would be 49"


def test_only_the_most_doubtful_texts_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usefulness, "MOST", 10)
    design = Design(WIDTH)
    rng = np.random.default_rng(0)
    for start in range(0, 100, 20):
        texts = np.asarray(unit(rng.normal(size=(20, WIDTH))), dtype=np.float32)
        design.consider(np.arange(start, start + 20), texts, np.linspace(0, 1, 20))
    found = design.order(99)
    assert len(found) == 10 and all(task % 20 >= 18 for task in found)
