"""Predictions that are stored: a few tasks are looked up, many are found in the list of all."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

from backend.errors import Rejected
from backend.jobs import predicted
from backend.projects import Project
from backend.wiring import Wiring


class Site:
    """Tasks 1 to 99 have a prediction of "new", even ones of "old" too; 100 is gone."""

    def __init__(self) -> None:
        self.lists = 0
        self.lookups = 0

    def task_predictions(self, task: int) -> list[Mapping[str, Any]]:
        self.lookups += 1
        if task == 100:
            raise Rejected("Select a valid choice.", 400, "")
        tags = [] if task > 100 else ["new"] if task % 2 else ["old", "new"]
        return [{"id": task, "task": task, "model_version": tag} for tag in tags]

    def predictions(self, project: int) -> list[Mapping[str, Any]]:
        self.lists += 1
        return [row for task in range(1, 100) for row in self.task_predictions(task)]


def wiring(site: Site) -> Wiring:
    return cast(Wiring, SimpleNamespace(label_studio=site))


def test_few_tasks_of_a_large_project_are_looked_up_one_by_one() -> None:
    site, large = Site(), Project(1, tasks=1_000_000)
    assert predicted.which(wiring(site), large, "new", [3, 100, 101, 4]) == {3, 4}
    assert predicted.which(wiring(site), large, "old", [3, 4]) == {4}
    assert (site.lists, site.lookups) == (0, 6)


def test_many_tasks_are_found_in_one_list() -> None:
    site = Site()
    found = predicted.which(wiring(site), Project(1, tasks=100), "old", range(1, 100))
    assert found == set(range(2, 100, 2))
    assert site.lists == 1


def test_what_few_means_depends_on_the_size_of_the_project() -> None:
    assert predicted.are_few(Project(1, tasks=100), 50)
    assert not predicted.are_few(Project(1, tasks=100), 51)
    assert predicted.are_few(Project(1, tasks=100_000), 1000)
    assert not predicted.are_few(Project(1, tasks=100_000), 1001)
