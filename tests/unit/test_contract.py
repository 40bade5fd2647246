"""The contract test: what keeps to it passes, and each way to break it is seen by its check."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from specialists.contract import PROBES, BuiltIn, Report, examine_answers
from specialists.errors import SandboxError
from specialists.types import Label, LabelSet

LABELS = LabelSet((Label("yes"), Label("no")))
SEVERAL = LabelSet((Label("yes"), Label("no")), multiple=True)
Rows = list[dict[str, float]]


def share(text: str) -> float:
    return 0.2 + 0.6 * (len(text[:80]) % 10) / 10


def fair(texts: Sequence[str]) -> Rows:
    return [{"yes": share(text), "no": 1 - share(text)} for text in texts]


def examine(
    annotate: Callable[[Sequence[str]], Rows],
    labels: LabelSet = LABELS,
    built_in: BuiltIn | None = None,
) -> Report:
    found = built_in or BuiltIn(texts_per_s=1.0)
    return examine_answers(annotate, labels, ["a text of the project"], lambda texts: found)


def failed(report: Report) -> list[str]:
    return [check.name for check in report.checks if not check.passed]


def test_what_keeps_the_contract_passes_every_check() -> None:
    votes = np.array([[share(t), 1 - share(t)] for t in [*PROBES, "a text of the project"]])
    report = examine(fair, built_in=BuiltIn(1.0, votes))
    assert report.passed and report.problems == ""
    assert [check.name for check in report.checks] == [
        *("form", "texts of the project", "empty and long texts", "deterministic"),
        *("batch size", "order", "depends on the text", "speed", "labels of the built-in path"),
    ]
    assert all(row["seen"] for row in report.to_json())


@pytest.mark.parametrize(
    ("answer", "seen"),
    [
        ({"yes": 1.0}, "exactly"),
        ({"yes": 0.5, "no": 0.4, "other": 0.1}, "exactly"),
        ({"Yes": 0.5, "no": 0.5}, "exactly"),
        ({"yes": 0.5, "no": 0.6}, "sum to 1.1"),
        ({"yes": -0.5, "no": 1.5}, "outside 0 to 1"),
    ],
)
def test_answers_of_another_form_end_the_test(answer: dict[str, float], seen: str) -> None:
    report = examine(lambda texts: [answer] * len(texts))
    assert failed(report) == ["form"] and len(report.checks) == 1
    assert seen in report.problems


def test_what_the_code_says_of_the_projects_texts_is_not_repeated() -> None:
    def quoting(texts: Sequence[str]) -> Rows:
        for text in texts:
            if "project" in text:
                raise SandboxError(f"KeyError: {text}", "it raised an error")
        return fair(texts)

    report = examine(quoting)
    assert failed(report) == ["texts of the project"]
    assert report.problems == "texts of the project: it raised an error"


def test_independent_labels_need_not_sum_to_one() -> None:
    def annotate(texts: Sequence[str]) -> Rows:
        return [{"yes": share(text), "no": 0.9} for text in texts]

    assert examine(annotate, SEVERAL).passed
    assert failed(examine(annotate, LABELS)) == ["form"]


def test_empty_and_long_texts_must_be_answered() -> None:
    def fragile(texts: Sequence[str]) -> Rows:
        if any(len(text) > 1000 for text in texts):
            raise SandboxError("IndexError: index out of range", "it raised")
        return fair(texts)

    report = examine(fragile)
    assert failed(report) == ["empty and long texts"]
    assert "IndexError" in report.problems


def test_chance_is_seen() -> None:
    counter = itertools.count()

    def moody(texts: Sequence[str]) -> Rows:
        step = 0.001 * (next(counter) % 7)
        return [{"yes": share(t) + step, "no": 1 - share(t) - step} for t in texts]

    assert "deterministic" in failed(examine(moody))


def test_an_answer_that_depends_on_the_batch_is_seen() -> None:
    def crowded(texts: Sequence[str]) -> Rows:
        extra = min(len(texts), 10) / 100
        return [{"yes": share(t) + extra, "no": 1 - share(t) - extra} for t in texts]

    assert "batch size" in failed(examine(crowded))


def test_an_answer_that_depends_on_the_place_is_seen() -> None:
    def placed(texts: Sequence[str]) -> Rows:
        rows = fair(texts)
        rows[0] = {"yes": 0.123, "no": 0.877} if len(texts) > 3 else rows[0]
        return rows

    assert failed(examine(placed)) == ["batch size", "order"]


def test_an_answer_that_ignores_the_text_is_seen() -> None:
    report = examine(lambda texts: [{"yes": 0.5, "no": 0.5}] * len(texts))
    assert failed(report) == ["depends on the text"]


def test_what_is_much_slower_than_the_built_in_path_is_refused() -> None:
    def slow(texts: Sequence[str]) -> Rows:
        time.sleep(0.001)
        return fair(texts)

    assert failed(examine(slow, built_in=BuiltIn(1e9))) == ["speed"]


def test_another_label_than_the_built_in_path_is_seen() -> None:
    votes = np.array([[1 - share(t), share(t)] for t in [*PROBES, "a text of the project"]])
    report = examine(fair, built_in=BuiltIn(1.0, votes))
    assert failed(report) == ["labels of the built-in path"]
    assert "the same on 0." in report.problems
