"""What was stored, by kind of key, and how it grew; arithmetic and reading only."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis

_SAMPLES = 2000  # members of a large key by which Redis estimates its bytes
_NUMBER = re.compile(r"(?<=:)\d+(?=:|$)")
_UUID = re.compile(r"(?<=:)[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}(?=:|$)")
_DATE = re.compile(r"(?<=:)\d{4}-\d\d-\d\d(?=:|$)")
_STARTED = 0.002
"""Seconds below which an operation's growth is chance."""


@dataclass(frozen=True)
class Size:
    """How much a kind of key holds."""

    entries: int
    bytes: int


@dataclass(frozen=True)
class Snapshot:
    """A project at a number of tasks: sizes in bytes, times in seconds by operation.

    `events` happen once a request or a second, `passes` read or change the whole project.
    """

    tasks: int
    redis_bytes: int
    disk_bytes: int
    append_bytes: int
    families: Mapping[str, Size] = field(repr=False)
    events: Mapping[str, float] = field(repr=False)
    passes: Mapping[str, float] = field(repr=False)


def family(key: str) -> str:
    """A key's kind: its name without ids and dates."""
    return _NUMBER.sub("N", _UUID.sub("ID", _DATE.sub("DAY", key)))


def families(client: redis.Redis) -> dict[str, Size]:
    """All keys by kind; bytes of large ones are Redis's estimate."""
    found: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0])
    for key in client.scan_iter(count=1000):
        one = found[family(str(key))]
        one[0] += _entries(client, str(key))
        one[1] += int(client.memory_usage(key, samples=_SAMPLES) or 0)
    return {name: Size(*size) for name, size in sorted(found.items())}


def _entries(client: redis.Redis, key: str) -> int:
    counting: Mapping[str, Any] = {
        "hash": client.hlen,
        "list": client.llen,
        "set": client.scard,
        "zset": client.zcard,
        "stream": client.xlen,
    }
    count = counting.get(str(client.type(key)))
    return int(count(key)) if count else 1


def used_bytes(client: redis.Redis) -> int:
    """What Redis has allocated."""
    return int(client.info("memory")["used_memory"])


def disk_bytes(folder: Path) -> int:
    """The size of all files below a folder."""
    return sum(one.stat().st_size for one in folder.rglob("*") if one.is_file())


def per_task(before: Snapshot, after: Snapshot, empty: Snapshot) -> dict[str, float]:
    """Growth of bytes a task between two sizes: 1.0 where they grow as the data does."""

    def ratio(first: int, second: int, nothing: int) -> float:
        return ((second - nothing) / after.tasks) / ((first - nothing) / before.tasks)

    return {
        "redis": ratio(before.redis_bytes, after.redis_bytes, empty.redis_bytes),
        "disk": ratio(before.disk_bytes, after.disk_bytes, empty.disk_bytes),
    }


def faster_than_data(before: Snapshot, after: Snapshot, tolerance: float = 0.1) -> dict[str, float]:
    """Kinds of keys whose entries grew by more than the tasks did: how many times more."""
    grew = after.tasks / before.tasks
    found = {}
    for name, size in after.families.items():
        earlier = before.families.get(name)
        if earlier is None or not earlier.entries:
            continue
        ratio = size.entries / earlier.entries / grew
        if ratio > 1 + tolerance:
            found[name] = ratio
    return found


def slowest(before: Mapping[str, float], after: Mapping[str, float]) -> tuple[str, float]:
    """The operation whose time grew most, and how many times; what takes no time is left out."""
    grown = {
        name: seconds / max(before[name], _STARTED)
        for name, seconds in after.items()
        if name in before and seconds > _STARTED
    }
    return max(grown.items(), key=lambda one: one[1], default=("", 1.0))


def table(before: Snapshot, after: Snapshot) -> list[str]:
    """Kinds of keys at both sizes, the largest first, and the operations."""
    lines = [f"{'key':<44}{'entries':>10}{'bytes':>13}{'entries':>11}{'bytes':>14}{'a task':>9}"]
    order = sorted(after.families.items(), key=lambda one: -one[1].bytes)
    for name, now in order:
        was = before.families.get(name, Size(0, 0))
        each = now.bytes / after.tasks
        lines.append(
            f"{name:<44}{was.entries:>10}{was.bytes:>13}{now.entries:>11}{now.bytes:>14}{each:>9.2f}"
        )
    for title, earlier, later in (
        ("an event", before.events, after.events),
        ("a pass over the project", before.passes, after.passes),
    ):
        lines.append(f"{title + ', seconds':<44}{before.tasks:>10}{after.tasks:>24}{'times':>9}")
        for name, seconds in later.items():
            grew = seconds / earlier[name] if earlier.get(name) else float("nan")
            lines.append(f"  {name:<42}{earlier.get(name, 0.0):>10.4f}{seconds:>24.4f}{grew:>9.1f}")
    return lines
