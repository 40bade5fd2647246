"""Runs and shards: their arithmetic, and predictions that survive the way through Redis."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from backend.labeling import Labeled
from backend.projects import HardSample
from backend.shards import IMPORT_TASKS, SHARD_TASKS, STOPPED, Progress, Run, _labeled


def run(tasks: int) -> Run:
    return Run("a1b2", 7, "t1", tasks)


def labeled(task_id: int, tag: str) -> Labeled:
    """A task's prediction, hard."""
    region = {
        "id": f"r{task_id}",
        "from_name": "sentiment",
        "to_name": "text",
        "type": "choices",
        "value": {"choices": ["positive"]},
    }
    sample = HardSample(task_id, "sentiment", "A text.", ("positive",), 0.5, "they differ", tag)
    return Labeled(
        task_id, {"result": [region], "score": 0.5, "model_version": tag}, (sample,), ("9:mood",)
    )


@pytest.mark.parametrize("tasks", [1, SHARD_TASKS, SHARD_TASKS + 1, 10 * SHARD_TASKS - 1])
def test_the_shards_of_a_run_hold_all_its_tasks(tasks: int) -> None:
    one = run(tasks)
    assert one.size(range(one.shards)) == tasks
    assert one.size(range(one.shards - 1)) == (one.shards - 1) * SHARD_TASKS


def progress(todo: int, ready: int, over: str = "") -> Progress:
    numbers = range(todo + ready)
    return Progress(frozenset(numbers[:todo]), frozenset(numbers[todo:]), {}, {}, over)


def test_an_import_waits_for_company_unless_no_more_comes() -> None:
    one, few = run(100 * SHARD_TASKS), IMPORT_TASKS // SHARD_TASKS - 1
    assert not progress(5, few).import_is_due(one)
    assert progress(5, few + 1).import_is_due(one)
    assert progress(0, few).import_is_due(one)
    assert progress(5, few, STOPPED).import_is_due(one)
    assert not progress(0, 0).import_is_due(one)


def test_a_prediction_comes_back_from_redis_as_it_was() -> None:
    one = labeled(3, "t1")
    assert _labeled(json.loads(json.dumps(asdict(one)))) == one
