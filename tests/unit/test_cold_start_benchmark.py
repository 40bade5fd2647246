"""What benchmarks.cold_start measures: stages of one project, and files that do not fit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import cold_start
from benchmarks.cold_start import Data, Part, main, measure
from specialists.evidence import Evidence
from specialists.registry import SIMILARITY
from specialists.types import Label, LabelSet

NAMES = ("a", "b", "c")


def part(count: int, seed: int) -> Part:
    """Texts whose frozen view tells the label; similarity is right in half of them."""
    draw = np.random.default_rng(seed)
    gold = draw.integers(0, 3, count)
    said = np.where(draw.random(count) < 0.5, gold, draw.integers(0, 3, count))
    votes = np.full((count, 1, 3), 0.2, dtype=np.float32)
    votes[np.arange(count), 0, said] = 0.6
    frozen = np.eye(3, 12)[gold] + draw.normal(0, 0.15, (count, 12))
    return Part(Evidence(votes, (), frozen.astype(np.float32)), gold)


def test_stages_tell_how_much_is_hard_and_how_much_is_right(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cold_start, "STAGES", (0, 20, 60))
    labels = LabelSet(tuple(map(Label, NAMES)))
    data = Data("letters", labels, (SIMILARITY,), part(300, 0), part(200, 1))
    found = json.loads(json.dumps(measure(data, 2)))
    hard, right = found["hard_share_by_stage"], found["accuracy_by_stage"]
    assert list(hard) == list(right) == ["0", "20", "60"]
    assert hard["0"] == 1.0, "nothing is accepted before verdicts"
    assert hard["60"] < 0.6
    assert right["0"] < 0.75 < 0.9 < right["60"]
    assert found["ours_at_1000"] == right["60"]
    assert found["logistic_random_at_1000"] > 0.9
    assert capsys.readouterr().out.startswith("letters: 3 labels, 300 texts\n")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("id,text,label\n1,one,a\n", "needs the columns text, label and split"),
        ("id,text,label,split\n", "needs the columns text, label and split"),
        ("id,text,label,split\n1,one,a,train\n2,two,b,train\n", "no row has split test"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(
    tmp_path: Path, content: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "texts.csv"
    file.write_text(content)
    assert main(["--data", str(file), "--cache", str(tmp_path)]) == 2
    assert told in capsys.readouterr().err
