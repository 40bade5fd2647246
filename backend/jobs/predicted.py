"""Which tasks have a stored prediction of a tag, asked in the way that costs Label Studio less.

Its list of predictions has all of a project in one answer, of every tag (10,000 in 0.8 s): right
for a large part of the tasks, and minutes for a few new ones in a project of a million.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from backend.errors import NotFound, Rejected
from backend.projects import Project
from backend.wiring import Wiring

THREADS = 4
_FEW, _SHARE = 50, 0.01  # a list row takes 80 us, a task looked up about 10 ms

Row = Mapping[str, Any]


def are_few(project: Project, count: int) -> bool:
    """Whether so many tasks are looked up faster one by one than in the list of all."""
    return count <= max(_FEW, _SHARE * project.tasks)


def listed(wiring: Wiring, project: Project, tag: str) -> dict[int, list[Row]]:
    """All stored predictions of a tag by task."""
    found: defaultdict[int, list[Row]] = defaultdict(list)
    for row in wiring.label_studio.predictions(project.id):
        if row["model_version"] == tag:
            found[int(row["task"])].append(row)
    return dict(found)


def of_task(wiring: Wiring, tag: str, task_id: int) -> Sequence[Row]:
    """The stored predictions of one task and tag; none of a task that is gone."""
    try:
        rows = wiring.label_studio.task_predictions(task_id)
    except (NotFound, Rejected):  # as a filter, an id that is not there is refused (400)
        return ()
    return [row for row in rows if row["model_version"] == tag]


def which(wiring: Wiring, project: Project, tag: str, task_ids: Collection[int]) -> set[int]:
    """Those of some tasks that have a prediction of a tag; maybe others of the project, too."""
    if not are_few(project, len(task_ids)):
        return set(listed(wiring, project, tag))
    with ThreadPoolExecutor(THREADS, "look up") as threads:
        rows = threads.map(partial(of_task, wiring, tag), task_ids)
        return {task for task, some in zip(task_ids, rows, strict=True) if some}
