"""The benchmark of orders of asking: each asks about open texts once, and counts honestly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.active_learning import ORDERS, Project, Texts, labels_to, main
from specialists.evidence import Evidence

LABELS, WIDTH = 4, 8


@pytest.fixture(scope="module")
def texts() -> Texts:
    """Four kinds of texts, one of them frequent; no member votes."""
    rng = np.random.default_rng(0)

    def seen(count: int) -> tuple[Evidence, np.ndarray]:
        gold = rng.choice(LABELS, size=count, p=[0.7, 0.1, 0.1, 0.1])
        view = np.eye(LABELS, WIDTH)[gold] + rng.normal(0, 0.25, (count, WIDTH))
        both = np.concatenate([view, view], axis=1).astype(np.float32)
        return Evidence(np.zeros((count, 0, LABELS), np.float32), frozen=both), gold

    return Texts("made", *seen(300), *seen(200))


@pytest.mark.parametrize("name", ORDERS)
def test_an_order_asks_about_open_texts_once(texts: Texts, name: str) -> None:
    project = Project(texts, seed=1)
    for count in (8, 16, 24):
        project.ask(ORDERS[name])
        assert len(set(project.answered.tolist())) == len(project.answered) == count
    assert project.accuracy() > 0.5


@pytest.mark.parametrize("name", ORDERS)
def test_equal_seeds_count_equal_labels(texts: Texts, name: str) -> None:
    first, again = (labels_to(0.85, texts, ORDERS[name], seed=2) for _ in range(2))
    assert 0 < first == again < 300


def test_a_target_out_of_reach_takes_all_labels(texts: Texts) -> None:
    assert labels_to(1.1, texts, ORDERS["random"], seed=0) == 300


def test_ours_needs_fewer_labels_than_chance(texts: Texts) -> None:
    by_order = {
        name: np.mean([labels_to(0.9, texts, ORDERS[name], seed) for seed in range(3)])
        for name in ("random", "ours")
    }
    assert by_order["ours"] < by_order["random"]


def test_a_file_that_cannot_serve_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--data", str(tmp_path / "none.csv"), "--cache", str(tmp_path)]) == 2
    assert "none.csv" in capsys.readouterr().err
