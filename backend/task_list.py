"""A project's tasks, read page by page from Label Studio's Data Manager.

Knows how to read many tasks with their annotations quickly and without missing any. Knows
nothing of what the annotations mean.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from backend.label_studio_session import SLOW_TIMEOUT_S, Row, Session

_TASKS_PER_PAGE = 500
_IDS_PER_PAGE = 1000
_IDS_PER_QUERY = 200
"""They travel in the address, which servers cut at about 4,000 characters."""

_FIELDS = (
    "id,data,project,is_labeled,total_annotations,annotations,"
    "result,was_cancelled,ground_truth,completed_by,lead_time,parent_prediction,updated_at,task"
)
"""Label Studio applies the list at every level: the second line picks fields of annotations."""


class TaskList:
    """The tasks of one project, in ascending order of their ids."""

    def __init__(self, session: Session, project_id: int) -> None:
        self._session = session
        self._project_id = project_id

    def all(self) -> Iterator[Row]:
        """Yield every task with its data and annotations."""
        yield from self._walk(_FIELDS, _TASKS_PER_PAGE)

    def some(self, task_ids: Iterable[int]) -> Iterator[Row]:
        """Yield those of the given tasks that exist, with data and annotations."""
        wanted = sorted(set(task_ids))
        for start in range(0, len(wanted), _IDS_PER_QUERY):
            chunk = wanted[start : start + _IDS_PER_QUERY]
            selected = {"selectedItems": {"all": False, "included": chunk}}
            yield from self._page(_FIELDS, len(chunk), selected)

    def ids(self) -> Iterator[int]:
        """Yield every task's id."""
        return (int(row["id"]) for row in self._walk("id", _IDS_PER_PAGE))

    def _walk(self, fields: str, size: int) -> Iterator[Row]:
        """Page by id, not by number: deletions meanwhile make no task slip through."""
        page = self._page(fields, size, {})
        yield from page
        while len(page) == size:
            page = self._page(fields, size, _above(page[-1]["id"]))
            yield from page

    def _page(self, fields: str, size: int, query: dict[str, Any]) -> list[Row]:
        """Fetch the first `size` tasks that the query selects.

        `include` makes the list four times as fast as all fields. `review` keeps Label Studio
        from asking its ML backend, us, about each task that it lists.
        """
        params = {
            "project": self._project_id,
            "fields": "all",
            "include": fields,
            "page_size": size,
            "resolve_uri": "false",
            "review": "true",
            "query": json.dumps({**query, "ordering": ["tasks:id"]}, separators=(",", ":")),
        }
        answer = self._session.row("GET", "api/tasks/", params=params, timeout_s=SLOW_TIMEOUT_S)
        tasks: list[Row] = answer["tasks"]
        return tasks


def _above(task_id: int) -> dict[str, Any]:
    """Build the Data Manager's filter for the tasks above an id."""
    above = {
        "filter": "filter:tasks:id",
        "operator": "greater",
        "type": "Number",
        "value": task_id,
    }
    return {"filters": {"conjunction": "and", "items": [above]}}
