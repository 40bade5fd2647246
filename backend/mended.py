"""What the reconcile job mended in a project, by kind, and when it compared last.

Counted is what differed although hooks and jobs should have kept it equal, and answers that came
with an import, for which Label Studio sends no hook. Not counted is what is normal work: what a
hook or a job has on its list already, what a promotion leaves to the reconcile job, and the whole
first comparison of a project, which takes over what was there before.
"""

from __future__ import annotations

import time
from typing import Any

import redis

KINDS = {
    "answers_read": "answers read that no webhook brought",
    "answers_withdrawn": "answers withdrawn that are gone from Label Studio",
    "duplicates": "predictions too many deleted",
    "unpredicted": "tasks that lacked a prediction",
    "unshown": "verdicts shown again",
    "tags": "tags removed that are no longer kept",
    "version": "times the model version was set again",
}
"""What is mended, in words, by kind."""
_AT = "compared_at"


class Mended:
    """The counts of one project in Redis (a client with decode_responses=True)."""

    def __init__(self, client: redis.Redis, project_id: int) -> None:
        self._redis = client
        self._project_id = project_id

    @property
    def key(self) -> str:
        """Hash: kind -> how often, and when the last comparison ended."""
        return f"aa:project:{self._project_id}:mended"

    def count(self, kind: str, times: int) -> None:
        """Count what was mended just now; of a first comparison nothing counts."""
        if times and self._redis.hexists(self.key, _AT):
            self._redis.hincrby(self.key, kind, times)

    def compared(self) -> None:
        """A comparison went through."""
        self._redis.hset(self.key, _AT, str(time.time()))

    def read(self) -> dict[str, Any]:
        """The counts by kind, and `at` (seconds since the epoch), None before the first."""
        rows: Any = self._redis.hgetall(self.key)
        at = rows.get(_AT)
        counts = {kind: int(rows.get(kind, 0)) for kind in KINDS}
        return {"at": None if at is None else float(at), "counts": counts}


def sentence(mended: dict[str, Any]) -> str:
    """Say it for people; empty while nothing was mended."""
    return ", ".join(f"{n} {KINDS[kind]}" for kind, n in mended["counts"].items() if n)
