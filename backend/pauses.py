"""Whether an LLM may be asked about a project: not while a failure passes, nor while people say so.

What failed (wrong key, quota, provider down) pauses asking for minutes and expires. What a person
paused stays so until a person goes on; verdicts that are there already are still written back.
"""

from __future__ import annotations

import time

import redis


def paused_key(project_id: int) -> str:
    """Why asking is paused (wrong key, quota or budget used up, provider down); then it expires."""
    return f"aa:project:{project_id}:review_paused"


def held_key(project_id: int) -> str:
    """Since when a person wants nothing asked, in seconds since the epoch."""
    return f"aa:project:{project_id}:review_held"


def hold(client: redis.Redis, project_id: int) -> None:
    """Let nothing be asked from now on; a pause that is there keeps its beginning."""
    client.set(held_key(project_id), time.time(), nx=True)


def release(client: redis.Redis, project_id: int) -> None:
    """Let asking go on."""
    client.delete(held_key(project_id))


def held(client: redis.Redis, project_id: int) -> float | None:
    """Since when a person paused asking (seconds since the epoch), None when nobody did."""
    at = client.get(held_key(project_id))
    return None if at is None else float(at)


def is_paused(client: redis.Redis, project_id: int) -> bool:
    """Whether nothing may be asked now, for whichever reason."""
    return bool(client.exists(paused_key(project_id), held_key(project_id)))
