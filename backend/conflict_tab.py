"""The tab "Conflicts (AutoAnnotator)" in a project's Data Manager: the tasks that are in conflict.

Its filter lists task ids: agreement is a filter of the Enterprise edition only. `conflicts` on the
command line makes the tab, the reconcile job keeps it up to date; one that a person deleted stays
deleted until the command is run again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from backend.conflicts import Conflict, collect
from backend.errors import NotFound
from backend.projects import Project
from backend.wiring import Wiring

TITLE = "Conflicts (AutoAnnotator)"
MOST = 100
"""Tasks in the tab, the newest ones: each is a filter, and people see the list of them."""


def tab_key(project_id: int) -> str:
    """JSON of the tab that was made: its `id`, and the `tasks` that it lists."""
    return f"aa:project:{project_id}:conflict_tab"


def make(wiring: Wiring, project: Project, conflicts: Iterable[Conflict]) -> int:
    """Make the tab, or list these conflicts in the one that is there; how many tasks it lists.

    Raises:
        LabelStudioError: Label Studio does not answer, or refuses.
    """
    client, tasks = wiring.label_studio, _tasks(conflicts)
    views = client.views(project.id)
    if not views:  # else ours would stand in place of the one that Label Studio shows without any
        client.create_view(project.id, {"title": "Default"})
    mine = [one for one in views if one["data"].get("title") == TITLE]
    if mine:
        view = client.update_view(int(mine[0]["id"]), project.id, _data(tasks))
    else:
        view = client.create_view(project.id, _data(tasks))
    _remember(wiring, project.id, int(view["id"]), tasks)
    return len(tasks)


def refresh(wiring: Wiring, project: Project) -> None:
    """List in the tab what is in conflict now, if it was made and lists something else.

    Raises:
        LabelStudioError: Label Studio does not answer, or refuses.
    """
    raw = wiring.redis.get(tab_key(project.id))
    if raw is None:
        return
    known, tasks = json.loads(raw), _tasks(collect(wiring, project))
    if known["tasks"] == tasks:
        return
    try:
        wiring.label_studio.update_view(known["id"], project.id, _data(tasks))
    except NotFound:
        wiring.redis.delete(tab_key(project.id))
    else:
        _remember(wiring, project.id, known["id"], tasks)


def _remember(wiring: Wiring, project_id: int, view: int, tasks: list[int]) -> None:
    wiring.redis.set(tab_key(project_id), json.dumps({"id": view, "tasks": tasks}))


def _tasks(conflicts: Iterable[Conflict]) -> list[int]:
    return sorted({one.task_id for one in conflicts})[-MOST:]


def _data(tasks: list[int]) -> dict[str, Any]:
    """The tab as Label Studio keeps it; no task has the id 0.

    A filter a task: the API takes lists, but 1.23's Data Manager does not open with one.
    """
    listed = [
        {"filter": "filter:tasks:id", "operator": "equal", "type": "Number", "value": task}
        for task in tasks or [0]
    ]
    return {"title": TITLE, "filters": {"conjunction": "or", "items": listed}}
