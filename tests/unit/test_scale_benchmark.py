"""The arithmetic of benchmarks.scale, and what its simulated people, LLM and Label Studio say."""

from __future__ import annotations

import pytest

from benchmarks.scale.__main__ import LEAST, STEP, main, sizes
from benchmarks.scale.growth import (
    Size,
    Snapshot,
    family,
    faster_than_data,
    per_task,
    slowest,
    table,
)
from benchmarks.scale.simulated import (
    LLM_RIGHT,
    RecordedVotes,
    SimulatedLabelStudio,
    SimulatedLLM,
    Truth,
    number,
)
from benchmarks.texts import Sample
from specialists.types import Label, LabelSet

TRUTH = Truth([Sample("good", "positive"), Sample("bad", "negative"), Sample("so", "neutral")])


def snapshot(tasks: int, used: int, disk: int, **families: int) -> Snapshot:
    sizes = {name: Size(entries, 10 * entries) for name, entries in families.items()}
    return Snapshot(tasks, used, disk, 0, sizes, {"hook": 0.01}, {"status": 0.1})


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("aa:project:17:pool:verdicts", "aa:project:N:pool:verdicts"),
        ("aa:project:17", "aa:project:N"),
        ("aa:spend:2026-11-29", "aa:spend:DAY"),
        ("rq:job:12345678-1234-1234-1234-123456789abc", "rq:job:ID"),
        ("aa:project:7:rule:label2", "aa:project:N:rule:label2"),
    ],
)
def test_keys_of_one_kind_have_one_name(key: str, kind: str) -> None:
    assert family(key) == kind


def test_bytes_a_task_are_what_is_there_beyond_an_empty_project() -> None:
    empty = snapshot(0, 1000, 0)
    before, after = snapshot(100, 1000 + 500, 800), snapshot(1000, 1000 + 10_000, 8000)
    assert per_task(before, after, empty) == {"redis": 2.0, "disk": 1.0}


def test_kinds_that_grow_faster_than_tasks_are_named() -> None:
    before = snapshot(100, 0, 0, linear=50, bounded=20, square=4)
    after = snapshot(1000, 0, 0, linear=500, bounded=20, square=400, new=7)
    assert faster_than_data(before, after) == {"square": pytest.approx(10.0)}
    rows = [line.split()[0] for line in table(before, after)]
    assert rows[:4] == ["key", "linear", "square", "bounded"]


def test_the_slowest_operation_is_the_one_that_grew_most_and_takes_any_time() -> None:
    before, after = {"a": 0.1, "b": 0.01, "c": 0.00001}, {"a": 0.2, "b": 0.1, "c": 0.001}
    assert slowest(before, after) == ("b", pytest.approx(10.0))
    assert slowest({}, {}) == ("", 1.0)


def test_a_project_grows_in_small_steps_and_stops_at_a_tenth() -> None:
    found = sizes(1_000_000)
    assert found[-1] == 1_000_000 and 100_000 in found
    assert found == sorted(set(found)) and found[0] == LEAST
    steps = [later / earlier for earlier, later in zip(found, found[1:], strict=False)]
    assert max(steps) <= STEP * 1.01


def test_too_few_tasks_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--tasks", "500"]) == 2
    assert "20000 or more" in capsys.readouterr().err


def test_a_text_tells_its_task_and_gets_the_votes_of_its_sample() -> None:
    texts = [TRUTH.text(task) for task in (1, 4, 5)]
    assert len(set(texts)) == 3 and [number(text) for text in texts] == [1, 4, 5]
    seen = RecordedVotes([b"0", b"1", b"2"]).of((), None, texts, None)
    assert [seen[text] for text in texts] == [b"1", b"1", b"2"]
    with pytest.raises(ValueError, match="no text of the simulated project"):
        number("another text")


def test_the_llm_says_the_same_each_time_and_is_right_about_as_often_as_it_should() -> None:
    from meta_controller.language_model import Question
    from meta_controller.packing import build_pack
    from meta_controller.wire import to_replies

    llm = SimulatedLLM(TRUTH)
    labels = LabelSet(tuple(map(Label, TRUTH.labels)))
    asked = [Question("sentiment", TRUTH.text(task), labels) for task in range(1, 7)]
    alone = [llm.ask(one).labels for one in asked]
    pack = llm.complete(build_pack(asked))
    replies = to_replies(asked, pack)
    assert [one.labels for one in replies if one] == alone
    truth = [TRUTH.samples[task % 3].label for task in range(2000)]
    right = sum(TRUTH.said(task, LLM_RIGHT, "llm") == truth[task] for task in range(2000)) / 2000
    assert LLM_RIGHT < right < 0.93  # by chance it hits another third


def test_label_studio_has_what_was_created_imported_and_answered() -> None:
    site = SimulatedLabelStudio(TRUTH)
    assert [row["id"] for row in site.created(3)["tasks"]] == [1, 2, 3]
    assert [row["id"] for row in site.created(2)["tasks"]] == [4, 5]
    assert site.predictions(1) == [] == site.task_predictions(1)
    rows = [{"task": task, "model_version": "tag"} for task in (1, 2, 3)]
    assert site.import_predictions(1, rows) == 3
    assert [row["task"] for row in site.predictions(1)] == [1, 2, 3]
    assert site.task_predictions(4) == []
    site.annotated(2)
    assert [row["total_annotations"] for row in site.tasks(1)] == [0, 1, 0, 0, 0]
    site.deleted(2)
    assert not any(row["is_labeled"] for row in site.tasks(1, [2, 3]))
