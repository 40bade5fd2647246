"""The journal: last errors, in words for people, and counters of what was ignored.

It never holds task text, keys or headers: messages come from our own errors.
"""

from __future__ import annotations

import json
import time
from typing import Any

import redis

_KEPT = 50


class Journal:
    """The last errors and counters of all processes, in Redis."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client

    def error(self, where: str, message: str, project_id: int | None = None) -> None:
        """Note an error; the same message again only moves to the top, with its count."""
        name = json.dumps([where, project_id, message[:500]])
        with self._redis.pipeline() as pipe:
            pipe.zadd("aa:errors", {name: time.time()})
            pipe.hincrby("aa:errors:count", name, 1)
            pipe.hincrby("aa:errors:total", where, 1)
            pipe.zrange("aa:errors", 0, -_KEPT - 1)
            *_, old = pipe.execute()
            if old:
                pipe.zrem("aa:errors", *old)
                pipe.hdel("aa:errors:count", *old)
                pipe.execute()

    def errors(self) -> list[dict[str, Any]]:
        """The last errors, newest first: at (epoch seconds), where, project, message, count."""
        rows: Any = self._redis.zrevrange("aa:errors", 0, -1, withscores=True)
        counts: Any = self._redis.hgetall("aa:errors:count")
        found = []
        for name, at in rows:
            where, project, message = json.loads(name)
            found.append(
                {
                    "at": at,
                    "where": where,
                    "project": project,
                    "message": message,
                    "count": int(counts.get(name, 1)),
                }
            )
        return found

    def totals(self) -> dict[str, int]:
        """How often each part of the backend noted an error, those that are not kept among them."""
        return {str(k): int(n) for k, n in self._redis.hgetall("aa:errors:total").items()}

    def count(self, what: str) -> None:
        """Count something that was ignored on purpose."""
        self._redis.hincrby("aa:counters", what, 1)

    def counters(self) -> dict[str, int]:
        """All counters."""
        return {str(name): int(value) for name, value in self._redis.hgetall("aa:counters").items()}
