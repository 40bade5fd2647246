"""What was written to Label Studio, and why: a bounded record of each project.

The client tells of every request that changed something: its method, its path and how many rows it
had, never what was in them. A process works on one project at a time and says why beforehand.
"""

from __future__ import annotations

import time
from typing import Any

import redis

KEPT = 10_000
"""Writes that are remembered of a project, about 1.5 MB of Redis at most."""
SHOWN = 50

REASONS = {
    "push": "tasks without a prediction get one, and Label Studio is told which tag to show",
    "shard": "a bulk run predicts tasks without a prediction",
    "review": "verdicts, and what the rule learned from them, are shown",
    "reconcile": "differences between Label Studio and the backend are mended",
}
"""Why jobs write, by job."""


def writes_key(project_id: int) -> str:
    """Stream of writes, oldest first."""
    return f"aa:project:{project_id}:writes"


class Writes:
    """The record of all projects in Redis (a client with decode_responses=True)."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client
        self._work: tuple[int, str] | None = None

    def because(self, project_id: int, reason: str) -> None:
        """Say for which project this process writes from now on, and why."""
        self._work = project_id, reason

    def note(self, method: str, path: str, rows: int) -> None:
        """Record that Label Studio carried out a request; without a reason nothing is recorded."""
        if self._work:
            project_id, reason = self._work
            row: dict[Any, Any] = {"method": method, "path": path, "rows": rows, "reason": reason}
            self._redis.xadd(writes_key(project_id), row, maxlen=KEPT, approximate=True)

    def last(self, project_id: int, count: int = SHOWN) -> list[dict[str, Any]]:
        """The last writes, newest first: at (epoch seconds), method, path, rows, reason."""
        found: Any = self._redis.xrevrange(writes_key(project_id), count=count)
        return [
            {"at": int(name.partition("-")[0]) / 1000, **row, "rows": int(row["rows"])}
            for name, row in found
        ]


def line(write: dict[str, Any]) -> str:
    """One write, for people; times are local."""
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(write["at"]))
    rows = f", {write['rows']} rows" if write["rows"] > 1 else ""
    return f"{at}  {write['method']} {write['path']}{rows}: {write['reason']}"
