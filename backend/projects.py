"""What we remember of each Label Studio project in Redis, one method a key.

The record, the hard samples that wait for review, and the work that is still to be done in Label
Studio (tasks to predict, predictions to patch). All of it is level-triggered: a worker that dies
leaves its work in these keys, and the scheduler finds it there.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import redis
from redis.client import Pipeline


@dataclass(frozen=True)
class Project:
    """The record of one project; `push` when `connect` set it up (predictions are imported).

    `rule` is the decision rule that it has instead of DECISION_RULE, empty for none; `shown` is the
    tag that Label Studio was last told to show, empty before that. `active_learning` when Label
    Studio serves the lowest scores first (uncertainty sampling).
    """

    id: int
    label_config: str = field(default="", repr=False)
    title: str = ""
    guideline: str = field(default="", repr=False)
    push: bool = False
    empty: bool = False
    backend_id: int | None = None
    tasks: int = 0
    rule: str = ""
    shown: str = ""
    active_learning: bool = False


@dataclass(frozen=True)
class HardSample:
    """A text whose decision is not trusted; `error` says why a review gave no verdict.

    `gain` is how much more likely a right label becomes by asking the LLM (0..1).
    """

    task_id: int
    control: str
    text: str = field(repr=False)
    labels: tuple[str, ...]
    confidence: float
    reason: str
    tag: str
    error: str = ""
    gain: float = 0.0

    @property
    def member(self) -> str:
        """Its field in the hash of hard samples."""
        return f"{self.task_id}:{self.control}"


class Projects:
    """All projects that this backend knows."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client

    def ids(self) -> list[int]:
        """Known project ids, ascending."""
        return sorted(int(one) for one in self._redis.smembers("aa:projects"))

    def get(self, project_id: int) -> Project | None:
        """The record of a project, None when unknown."""
        raw = self._redis.get(self._record(project_id))
        return Project(**json.loads(raw)) if raw else None

    def put(self, project: Project) -> None:
        """Store a record."""
        with self._redis.pipeline() as pipe:
            self._queue(pipe, project)
            pipe.execute()

    def update(self, project_id: int, **changes: Any) -> Project:
        """Change fields of a record and return it; what others change meanwhile is kept."""
        changed = []

        def change(pipe: Pipeline) -> None:
            changed.append(replace(self.get(project_id) or Project(project_id), **changes))
            pipe.multi()
            self._queue(pipe, changed[-1])

        self._redis.transaction(change, self._record(project_id))
        return changed[-1]

    def forget(self, project_id: int) -> None:
        """Remove a project that Label Studio does not have any more from the list of projects."""
        self._redis.srem("aa:projects", project_id)

    def desk(self, project_id: int) -> Desk:
        """The work that waits in a project."""
        return Desk(self._redis, project_id)

    def _queue(self, pipe: Pipeline, project: Project) -> None:
        pipe.sadd("aa:projects", project.id)
        pipe.set(self._record(project.id), json.dumps(asdict(project)))

    @staticmethod
    def _record(project_id: int) -> str:
        return f"aa:project:{project_id}:record"


class Desk:
    """What waits to be done in one project."""

    def __init__(self, client: redis.Redis, project_id: int) -> None:
        self._redis = client
        self._prefix = f"aa:project:{project_id}"

    @property
    def _hard(self) -> str:
        return f"{self._prefix}:hard"

    @property
    def _hard_since(self) -> str:
        return f"{self._prefix}:hard_since"

    @property
    def _decided(self) -> str:
        return f"{self._prefix}:decided"

    @property
    def _to_review(self) -> str:
        return f"{self._prefix}:to_review"

    @property
    def _to_predict(self) -> str:
        return f"{self._prefix}:to_predict"

    @property
    def _to_patch(self) -> str:
        return f"{self._prefix}:to_patch"

    @property
    def places_key(self) -> str:
        """Hash: tag -> JSON of the tasks at the head of its queue."""
        return f"{self._prefix}:places"

    @property
    def _candidate(self) -> str:
        return f"{self._prefix}:candidate"

    @property
    def _stage(self) -> str:
        return f"{self._prefix}:stage"

    # Hard samples

    def add_hard(self, samples: Iterable[HardSample], via: Pipeline | None = None) -> None:
        """Put samples up for review."""
        rows: dict[Any, Any] = {one.member: json.dumps(one.__dict__) for one in samples}
        if rows:
            with _together(self._redis, via) as pipe:
                pipe.hset(self._hard, mapping=rows)
                pipe.zadd(self._hard_since, dict.fromkeys(rows, time.time()), nx=True)
                pipe.sadd(self._to_review, *rows)

    def settle_hard(self, members: Iterable[str], via: Pipeline | None = None) -> None:
        """Take samples off: they have a verdict, or are not hard any more."""
        names = list(members)
        if names:
            with _together(self._redis, via) as pipe:
                pipe.hdel(self._hard, *names)
                pipe.zrem(self._hard_since, *names)
                pipe.srem(self._to_review, *names)

    def leave_to_people(self, sample: HardSample, error: str, via: Pipeline) -> None:
        """The review gave no verdict and will not: the sample stays hard and says why."""
        via.hset(self._hard, sample.member, json.dumps({**asdict(sample), "error": error}))
        via.srem(self._to_review, sample.member)

    def to_review(self) -> list[HardSample]:
        """Hard samples that the LLM has not seen yet."""
        members = sorted(self._redis.smembers(self._to_review))
        if not members:
            return []
        return [_sample(str(raw)) for raw in self._redis.hmget(self._hard, members) if raw]

    def hard(self) -> list[HardSample]:
        """All hard samples without a verdict."""
        return [_sample(str(raw)) for raw in self._redis.hvals(self._hard)]

    def oldest_hard(self) -> float | None:
        """Since when (seconds since the epoch) the oldest hard sample has no verdict."""
        first: Any = self._redis.zrange(self._hard_since, 0, 0, withscores=True)
        return float(first[0][1]) if first else None

    def note(self, hard: Collection[HardSample], settled: Collection[str], votes: int) -> None:
        """What came of deciding tasks: samples to review, others settled; all of it is counted."""
        with _together(self._redis, None) as pipe:
            self.settle_hard(settled, pipe)
            self.add_hard(hard, pipe)
            for what, n in (
                ("all", len(hard) + len(settled)),
                ("hard", len(hard)),
                ("votes", votes),
            ):
                pipe.hincrby(self._decided, what, n)

    def decided(self) -> dict[str, int]:
        """Decisions ever made, repeated ones again: all, hard, and the members' votes in them."""
        return {str(what): int(n) for what, n in self._redis.hgetall(self._decided).items()}

    def left(self) -> list[HardSample]:
        """Hard samples that no review waits for: they are left to people."""
        with self._redis.pipeline() as pipe:
            pipe.hlen(self._hard)
            pipe.scard(self._to_review)
            hard, waiting = pipe.execute()
        if hard <= waiting:  # as a rule; and names alone of many samples are megabytes
            return []
        members = sorted(set(self._redis.hkeys(self._hard)) - self._redis.smembers(self._to_review))
        raws = self._redis.hmget(self._hard, members) if members else []
        return [_sample(str(raw)) for raw in raws if raw]

    # Work in Label Studio

    def want_predictions(self, task_ids: Iterable[int], via: Pipeline | None = None) -> None:
        """Ask for predictions of tasks under the served tag."""
        ids = list(task_ids)
        if ids:
            (via if via is not None else self._redis).sadd(self._to_predict, *ids)

    def wanted_predictions(self) -> list[int]:
        """Tasks that wait for a prediction, ascending."""
        return sorted(int(one) for one in self._redis.smembers(self._to_predict))

    def predicted(self, task_ids: Iterable[int], via: Pipeline) -> None:
        """These tasks have their prediction."""
        ids = list(task_ids)
        if ids:
            via.srem(self._to_predict, *ids)

    def want_patches(self, task_ids: Iterable[int], via: Pipeline | None = None) -> None:
        """Ask that the predictions of tasks show their verdicts."""
        ids = list(task_ids)
        if ids:
            (via if via is not None else self._redis).sadd(self._to_patch, *ids)

    def wanted_patches(self) -> list[int]:
        """Tasks whose prediction must be patched, ascending."""
        return sorted(int(one) for one in self._redis.smembers(self._to_patch))

    def patched(self, task_ids: Iterable[int], via: Pipeline) -> None:
        """The predictions of these tasks show their verdicts."""
        via.srem(self._to_patch, *task_ids)

    def places(self, tag: str) -> dict[int, float]:
        """The scores (0..HEAD) of the tasks at the head of a tag's queue."""
        raw = self._redis.hget(self.places_key, tag)
        return {int(task): place for task, place in json.loads(raw).items()} if raw else {}

    def place(self, tag: str, places: Mapping[int, float], via: Pipeline) -> None:
        """Give tasks their places at the head of a tag's queue; all others lose theirs."""
        via.hset(self.places_key, tag, json.dumps(places))

    def prune_places(self, kept_tags: Collection[str]) -> None:
        """Forget the queues of tags that are not kept."""
        gone = [tag for tag in self._redis.hkeys(self.places_key) if tag not in kept_tags]
        if gone:
            self._redis.hdel(self.places_key, *gone)

    def waiting(self) -> dict[str, int]:
        """Counts of what waits: predictions, patches, reviews, and all hard samples."""
        with self._redis.pipeline() as pipe:
            for name in (self._to_predict, self._to_patch, self._to_review):
                pipe.scard(name)
            pipe.hlen(self._hard)
            predict, patch, review, hard = pipe.execute()
        return {"to_predict": predict, "to_patch": patch, "to_review": review, "hard": hard}

    def forget_tasks(self, task_ids: Iterable[int], controls: Iterable[str]) -> None:
        """Tasks were deleted in Label Studio: nothing is to be done for them any more."""
        ids = list(task_ids)
        if ids:
            self._redis.srem(self._to_predict, *ids)
            self._redis.srem(self._to_patch, *ids)
            self.settle_hard(f"{task}:{control}" for control in controls for task in ids)

    # The stage

    def candidate(self) -> dict[str, Any] | None:
        """The committee that passed its gate and waits for promotion: tag, card, up_to."""
        raw = self._redis.get(self._candidate)
        return json.loads(raw) if raw else None

    def propose(self, candidate: Mapping[str, Any], via: Pipeline) -> None:
        """Put up a committee for promotion."""
        via.set(self._candidate, json.dumps(candidate))

    def withdraw(self, via: Pipeline) -> None:
        """The candidate was promoted or dropped."""
        via.delete(self._candidate)

    def stage(self) -> dict[str, str]:
        """State of the stage: attempted (sequence), ended_at, now, progress, promoted_at, drift."""
        return {str(k): str(v) for k, v in self._redis.hgetall(self._stage).items()}

    def set_stage(self, via: Pipeline | None = None, **values: Any) -> None:
        """Change the state of the stage."""
        (via if via is not None else self._redis).hset(
            self._stage, mapping={key: str(value) for key, value in values.items()}
        )


@contextmanager
def _together(client: redis.Redis, via: Pipeline | None) -> Iterator[Pipeline]:
    """The caller's pipeline, or one of ours that runs at the end: all of it or nothing."""
    if via is not None:
        yield via
        return
    with client.pipeline() as pipe:
        yield pipe
        pipe.execute()


def _sample(raw: str) -> HardSample:
    row = json.loads(raw)
    return HardSample(**{**row, "labels": tuple(row["labels"])})
