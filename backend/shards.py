"""The shards of one bulk prediction (a run) in Redis: what is to do, predicted, imported, failed.

A run is planned once: a project's tasks that lack a prediction of a tag, cut into shards. Workers
move each shard on, `todo` -> `ready` (predicted, not imported yet) -> `done`, or to `failed` after
its last attempt; the command line only reads. One method a key; what a worker writes goes through
the pipeline of its lease. Knows nothing of Label Studio, committees or queues.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import redis
from redis.client import Pipeline

from backend.labeling import Labeled
from backend.lease import Lease
from backend.projects import HardSample

SHARD_TASKS = 500
"""A worker's unit: some seconds of work, so that the last ones end together on all workers."""

IMPORT_TASKS = 2_000
"""Label Studio recounts the whole project at each import, so predictions wait for company."""

IMPORT_SHARDS = 20  # at most so many go into one import: 10,000 predictions

ATTEMPTS = 3
_KEPT_S = 24 * 3600  # an unfinished run is forgotten a day after its last write

STOPPED = "stopped"


@dataclass(frozen=True)
class Run:
    """One bulk prediction of a project under a tag."""

    id: str
    project_id: int
    tag: str
    tasks: int

    @property
    def shards(self) -> int:
        """How many shards it has."""
        return -(-self.tasks // SHARD_TASKS)

    def size(self, numbers: Iterable[int]) -> int:
        """How many tasks these shards have; all but the last are full."""
        return sum(min(SHARD_TASKS, self.tasks - number * SHARD_TASKS) for number in numbers)


@dataclass(frozen=True)
class Report:
    """What the worker of a predicted shard tells; times in epoch seconds, spans in seconds."""

    tasks: int
    hard: int
    worker: str
    started: float
    ended: float
    list_s: float
    predict_s: float


@dataclass(frozen=True)
class Progress:
    """Where a run stands: shard numbers by state, why shards failed, why it ended early."""

    todo: frozenset[int]
    ready: frozenset[int]
    done: Mapping[int, Report]
    failed: Mapping[int, str]
    over: str

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return not self.todo and not self.ready

    def import_is_due(self, run: Run) -> bool:
        """Whether enough is predicted for an import, or no more will come."""
        enough = run.size(self.ready) >= IMPORT_TASKS
        return bool(self.ready) and (enough or not self.todo or bool(self.over))


class Shards:
    """The state of one run."""

    def __init__(self, client: redis.Redis, run: Run) -> None:
        self._redis = client
        self.run = run

    @classmethod
    def current(cls, client: redis.Redis, project_id: int) -> Shards | None:
        """The newest run of a project, None when it never had one or it is long over."""
        raw = client.get(_run_key(project_id))
        return cls(client, Run(**json.loads(raw))) if raw else None

    @classmethod
    def plan(
        cls, client: redis.Redis, project_id: int, tag: str, task_ids: Sequence[int]
    ) -> Shards:
        """Begin a run over these tasks; it takes the place of the project's last one."""
        run = Run(uuid.uuid4().hex[:8], project_id, tag, len(task_ids))
        shards, before = cls(client, run), cls.current(client, project_id)
        cut = {
            number: json.dumps(task_ids[number * SHARD_TASKS : (number + 1) * SHARD_TASKS])
            for number in range(run.shards)
        }
        with client.pipeline() as pipe:
            if before:
                pipe.delete(*before._keys())
            pipe.hset(shards._key("tasks"), mapping=cut)  # type: ignore[arg-type]
            pipe.sadd(shards._key("todo"), *cut)
            pipe.set(_run_key(project_id), json.dumps(asdict(run)))
            shards._keep(pipe)
            pipe.execute()
        return shards

    def task_ids(self, number: int) -> list[int]:
        """The tasks of a shard, ascending; none when the run was replaced."""
        raw = self._redis.hget(self._key("tasks"), str(number))
        ids: list[int] = json.loads(raw) if raw else []
        return ids

    def progress(self) -> Progress:
        """Where the run stands."""
        with self._redis.pipeline() as pipe:
            pipe.smembers(self._key("todo"))
            pipe.hkeys(self._key("ready"))
            for name in ("done", "failed"):
                pipe.hgetall(self._key(name))
            pipe.get(self._key("over"))
            todo, ready, done, failed, over = pipe.execute()
        return Progress(
            frozenset(int(one) for one in todo),
            frozenset(int(one) for one in ready),
            {int(one): Report(**json.loads(raw)) for one, raw in done.items()},
            {int(one): str(why) for one, why in failed.items()},
            over or "",
        )

    def is_todo(self, number: int) -> bool:
        """Whether a shard is still to be predicted."""
        return bool(self._redis.sismember(self._key("todo"), str(number)))

    # What workers write

    def attempt(self, number: int) -> int:
        """Count that a worker begins with a shard; the first is 1. A killed one counts, too."""
        return int(self._redis.hincrby(self._key("attempts"), str(number), 1))

    def spare(self, number: int) -> None:
        """The last attempt does not count: the shard was not the reason that it failed."""
        self._redis.hincrby(self._key("attempts"), str(number), -1)

    def predicted(
        self, number: int, labeled: Sequence[Labeled], report: Report, via: Pipeline
    ) -> None:
        """A shard waits for its import."""
        row = {"report": asdict(report), "labeled": [asdict(one) for one in labeled]}
        via.srem(self._key("todo"), str(number))
        via.hset(self._key("ready"), str(number), json.dumps(row))
        self._keep(via)

    def ready(self) -> dict[int, list[Labeled]]:
        """The predictions that one import may take, by shard, lowest first."""
        numbers = sorted(int(one) for one in self._redis.hkeys(self._key("ready")))
        found = {number: self._ready(number) for number in numbers[:IMPORT_SHARDS]}
        return {
            number: [_labeled(one) for one in row["labeled"]]
            for number, row in found.items()
            if row
        }

    def imported(self, numbers: Collection[int], via: Pipeline, **facts: float) -> None:
        """The predictions of these shards are in Label Studio; `facts` tell of the import."""
        for number in numbers:
            row = self._ready(number)
            if row:
                via.hset(self._key("done"), str(number), json.dumps(row["report"]))
            via.hdel(self._key("ready"), str(number))
        via.rpush(self._key("imports"), json.dumps(facts))
        self._keep(via)

    def blame(self, number: int, why: str, via: Pipeline) -> None:
        """A shard failed: it is to be done again, until its attempts are used up."""
        tried = int(self._redis.hget(self._key("attempts"), str(number)) or 0)
        via.hdel(self._key("ready"), str(number))
        if tried < ATTEMPTS:
            via.sadd(self._key("todo"), str(number))
        else:
            via.srem(self._key("todo"), str(number))
            via.hset(self._key("failed"), str(number), why)
        self._keep(via)

    # The run as a whole

    def end(self, why: str) -> None:
        """Let workers begin no more shards; STOPPED, or a sentence."""
        self._redis.set(self._key("over"), why, ex=_KEPT_S)

    def resume(self) -> None:
        """Go on after a stop."""
        self._redis.delete(self._key("over"))

    def imports(self) -> list[dict[str, Any]]:
        """What each import told, in order."""
        return [json.loads(raw) for raw in self._redis.lrange(self._key("imports"), 0, -1)]

    def _ready(self, number: int) -> dict[str, Any] | None:
        raw = self._redis.hget(self._key("ready"), str(number))
        return json.loads(raw) if raw else None

    def _key(self, name: str) -> str:
        return f"{_run_key(self.run.project_id)}:{self.run.id}:{name}"

    def _keys(self) -> list[str]:
        names = ("tasks", "todo", "ready", "done", "failed", "attempts", "imports", "over")
        return [self._key(name) for name in names]

    def _keep(self, via: Pipeline) -> None:
        for key in (_run_key(self.run.project_id), *self._keys()):
            via.expire(key, _KEPT_S)


def prelabel_lease(project_id: int) -> str:
    """The lease that the command `prelabel` holds while it watches over a run."""
    return f"prelabel:{project_id}"


def prelabels(client: redis.Redis, project_id: int) -> bool:
    """Whether a `prelabel` is at work on a project: nobody else need predict its tasks."""
    return Lease.is_held(client, prelabel_lease(project_id))


def _run_key(project_id: int) -> str:
    return f"aa:project:{project_id}:prelabel"


def _labeled(row: Mapping[str, Any]) -> Labeled:
    hard = tuple(HardSample(**{**one, "labels": tuple(one["labels"])}) for one in row["hard"])
    return Labeled(
        row["task_id"], row["prediction"], hard, tuple(row["settled"]), row.get("votes", 0)
    )
