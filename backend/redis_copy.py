"""Our keys in Redis as lines of JSON, and back: `{"key", "type", "value"}`, one key a line.

All keys of one project are read in one transaction, so a copy taken while workers write is what
Redis held at one moment, project by project; the memory it takes is the largest project's. What
expires by itself is left out (leases, signs of life, pauses), and so are queued jobs: what is to
be done lies in the other keys. Values are typed, not dumped: any version of Redis reads them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

import redis

from backend.errors import BackendError

_OURS = "aa:*"
_OF_PROJECT = re.compile(r"aa:project:(\d+):")
# They tell of workers and jobs that run, or ran; or are a secret, of the page's forms.
_LEFT_OUT = ("aa:lease:", "aa:worker:", "aa:queued:", "aa:runs_with:", "aa:pause:", "aa:page:")
_BATCH = 1000


class RedisChanging(BackendError):
    """Keys came and went faster than they could be read."""


def is_empty(client: redis.Redis) -> bool:
    """Whether Redis holds nothing that a copy would bring."""
    return not any(_kept(str(key)) for key in client.scan_iter(_OURS, count=_BATCH))


def clear(client: redis.Redis) -> None:
    """Remove all our keys."""
    for key in client.scan_iter(_OURS, count=_BATCH):
        client.delete(key)


def lines(client: redis.Redis) -> Iterator[str]:
    """Every key of ours, those that belong to no project last.

    Raises RedisChanging.
    """
    projects = {found[1] for key in _keys(client) if (found := _OF_PROJECT.match(key))}
    for project in sorted(projects, key=int):
        yield from _group(client, f"aa:project:{project}:*", project)
    yield from _group(client, _OURS, None)


def load(client: redis.Redis, rows: Iterable[str]) -> int:
    """Write what `lines` gave; returns how many keys. The list of projects comes last: see there.

    Until it is there, no worker sees any of it.
    """
    count = 0
    for row in rows:
        one = json.loads(row)
        _write(client, one["key"], one["type"], one["value"])
        count += 1
    return count


def _keys(client: redis.Redis, pattern: str = _OURS) -> list[str]:
    return sorted({str(k) for k in client.scan_iter(pattern, count=_BATCH) if _kept(str(k))})


def _kept(key: str) -> bool:
    return not key.startswith(_LEFT_OUT)


def _group(client: redis.Redis, pattern: str, project: str | None) -> Iterator[str]:
    """The lines of a group of keys, read at one moment at which there were no others."""
    for _ in range(100):
        keys = _members(client, pattern, project)
        found = _read(client, keys)
        if _members(client, pattern, project) == keys:
            break
    else:
        raise RedisChanging("Redis changes too fast to be copied; try again when less is done.")
    for key, kind, value in found:
        yield json.dumps({"key": key, "type": kind, "value": value}, sort_keys=True) + "\n"


def _members(client: redis.Redis, pattern: str, project: str | None) -> list[str]:
    """Ascending, but the list of projects last."""
    keys = _keys(client, pattern)
    if project is None:
        keys = [key for key in keys if not _OF_PROJECT.match(key)]
    return sorted(keys, key=lambda key: (key == "aa:projects", key))


def _read(client: redis.Redis, keys: list[str]) -> list[tuple[str, str, Any]]:
    """Key, type and value of each that does not expire, in one transaction."""
    kinds = client.pipeline(transaction=False)
    for key in keys:
        kinds.type(key)
    known = list(zip(keys, kinds.execute(), strict=True))
    with client.pipeline() as pipe:
        for key, kind in known:
            pipe.ttl(key)
            _ask(pipe, key, kind)
        answers = pipe.execute()
    found = []
    for (key, kind), ttl, value in zip(known, answers[::2], answers[1::2], strict=True):
        if ttl == -1:
            found.append((key, kind, sorted(value) if kind == "set" else value))
    return found


def _ask(pipe: Any, key: str, kind: str) -> None:
    """Queue the command that reads a key whole."""
    if kind == "hash":
        pipe.hgetall(key)
    elif kind == "set":
        pipe.smembers(key)
    elif kind == "zset":
        pipe.zrange(key, 0, -1, withscores=True)
    elif kind == "list":
        pipe.lrange(key, 0, -1)
    elif kind == "stream":
        pipe.xrange(key)
    else:  # "none" was removed a moment ago
        pipe.get(key)


def _write(client: redis.Redis, key: str, kind: str, value: Any) -> None:
    """Write a key, a batch of its members at a time."""
    if kind == "string":
        client.set(key, value)
        return
    if kind == "stream":
        for number, row in value:
            client.xadd(key, row, id=number)
        return
    members = list(value.items()) if kind == "hash" else value
    for start in range(0, len(members), _BATCH):
        some = members[start : start + _BATCH]
        if kind == "hash":
            client.hset(key, mapping=dict(some))
        elif kind == "set":
            client.sadd(key, *some)
        elif kind == "zset":
            client.zadd(key, {str(member): score for member, score in some})
        else:
            client.rpush(key, *some)
