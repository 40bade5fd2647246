"""The RQ queues: review, push and train; jobs carry a project id, and its part if there are many.

A job only wakes a worker up: what is to be done lies in Redis (see projects.py). So a lost job
costs a few seconds until the scheduler enqueues another, and a job too many finds the lease held
or nothing to do.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import redis
from rq import Queue
from rq.exceptions import NoSuchJobError
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.utils import now

QUEUES = {
    "review": "review",
    "reconcile": "review",
    "labels": "review",
    "push": "push",
    "shard": "push",
    "prepare": "push",
    "select": "push",
    "train": "train",
}
KINDS = ("review", "push", "train")
_QUEUED_S = 15


class Queues:
    """Wake workers up; `raw` is a client without decode_responses, as RQ needs it."""

    def __init__(self, raw: redis.Redis) -> None:
        self._raw = raw

    def queue(self, name: str) -> Queue:
        """The RQ queue of one kind of worker."""
        return Queue(name, connection=self._raw, serializer=JSONSerializer)

    def wake(self, job: str, project_id: int) -> bool:
        """Enqueue `backend.jobs.run(job, project_id)` unless one is queued already."""
        if not self._raw.set(self._mark(job, project_id), 1, nx=True, ex=_QUEUED_S):
            return False
        queue, newest = self.queue(QUEUES[job]), self._newest(job, project_id)
        waiting: Any = self._raw.get(newest)
        if waiting and self._raw.lpos(queue.key, waiting) is not None:
            return False  # its worker is busy or down; more of the same would only pile up
        self._raw.set(newest, self._enqueue(job, project_id).id)
        return True

    def put(self, job: str, project_id: int, part: str) -> None:
        """Enqueue one part of a job (letters, digits, dashes); `parts` tells whether it waits."""
        self._enqueue(job, project_id, part)

    def parts(self, job: str, project_id: int) -> set[str]:
        """The parts of a job that wait for a worker."""
        prefix = _job_id(job, project_id)
        waiting = self.queue(QUEUES[job]).job_ids
        return {one.removeprefix(prefix) for one in waiting if one.startswith(prefix)}

    def withdraw(self, job: str, project_id: int) -> None:
        """Take the waiting parts of a job off the queue."""
        queue = self.queue(QUEUES[job])
        for part in self.parts(job, project_id):
            queue.remove(_job_id(job, project_id, part))

    def _enqueue(self, job: str, project_id: int, *part: str) -> Job:
        return self.queue(QUEUES[job]).enqueue_call(
            "backend.jobs.run",
            args=(job, project_id, *part),
            timeout=24 * 3600,
            result_ttl=600,
            failure_ttl=24 * 3600,
            description=" ".join((job, "project", str(project_id), *part)),
            job_id=_job_id(job, project_id, *part) if part else None,
        )

    def started(self, job: str, project_id: int) -> None:
        """A job began: from now on new work needs a new job."""
        self._raw.delete(self._mark(job, project_id))

    def lengths(self) -> dict[str, int]:
        """Waiting jobs by queue."""
        return {kind: len(self.queue(kind)) for kind in KINDS}

    def workers(self) -> dict[str, int]:
        """Live workers by queue.

        Each writes a key that dies in seconds: RQ's own registry keeps a killed worker for as long
        as its job might have run.
        """
        alive = self._raw.scan_iter("aa:worker:*", count=1000)
        kinds = Counter(name.decode().split(":")[2] for name in alive)
        return {kind: kinds[kind] for kind in KINDS}

    def report(self, kind: str, name: str) -> None:
        """Say that a worker is alive."""
        self._raw.set(f"aa:worker:{kind}:{name}", 1, ex=10)

    def works_on(self, host: str) -> bool:
        """Whether a live worker runs on that machine."""
        found = self._raw.scan_iter(f"aa:worker:*:*-{host}-*", count=1000)
        return next(found, None) is not None

    def tell(self, kind: str, **facts: str) -> None:
        """Note what a kind of worker runs with, for `status`: its environment is not the CLI's."""
        self._raw.set(f"aa:runs_with:{kind}", json.dumps(facts))

    def told(self, kind: str) -> dict[str, str]:
        """What the workers of a kind run with; empty when none ever started."""
        facts: dict[str, str] = json.loads(self._raw.get(f"aa:runs_with:{kind}") or "{}")
        return facts

    def gone(self, kind: str, name: str) -> None:
        """Say that a worker stops."""
        self._raw.delete(f"aa:worker:{kind}:{name}")

    def job(self, job_id: str) -> dict[str, Any] | None:
        """State of one RQ job, `meta` with how far it is; None when unknown."""
        try:
            job = Job.fetch(job_id, self._raw, serializer=JSONSerializer)
        except (NoSuchJobError, ValueError):  # an id that no job can have
            return None
        return {
            "job_id": job_id,
            "status": job.get_status().value,
            "description": job.description,
            "meta": job.meta,
        }

    def oldest_s(self) -> dict[str, float]:
        """For how long the first job of each queue has waited, 0.0 where none does."""
        return {kind: self._waits_s(self.queue(kind)) for kind in KINDS}

    def _waits_s(self, queue: Queue) -> float:
        first = queue.get_job_ids(0, 1)
        try:
            job = Job.fetch(first[0], self._raw, serializer=JSONSerializer) if first else None
        except NoSuchJobError:
            return 0.0
        since = job.enqueued_at if job else None
        return max(0.0, (now() - since).total_seconds()) if since else 0.0

    @staticmethod
    def _mark(job: str, project_id: int) -> str:
        return f"aa:queued:{job}:{project_id}"

    @staticmethod
    def _newest(job: str, project_id: int) -> str:
        return f"aa:queued:{job}:{project_id}:newest"


def about(job: Job) -> dict[str, str | int]:
    """What the lines of a log say of the job that a worker does."""
    name, project_id, *part = job.args
    return {"job_id": job.id, "job": name, "project": project_id} | (
        {"part": part[0]} if part else {}
    )


def _job_id(job: str, project_id: int, part: str = "") -> str:
    """The RQ job of one part: what runs twice has one record."""
    return f"{job}-{project_id}-{part}"
