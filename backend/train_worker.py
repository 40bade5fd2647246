"""The train queue's worker: a process for each job, ended when it is stuck.

The process (RQ's work horse) gives memory and GPU back at its end. While it lives it renews a lease
of its own; one that was stopped or hangs in a driver loses it, and this worker kills it and is free
for the next job. RQ alone would wait for the job's time-out, a day.
"""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

from rq import Queue, SpawnWorker
from rq.executions import Execution
from rq.job import Job
from rq.utils import now

from backend import logs
from backend.lease import Lease
from backend.queues import about
from backend.settings import Settings

_LOOK_S = 10
_FIRST_WORDS_S = 60.0  # a process on a busy machine imports for long before it is heard of
_LAST_WORDS_S = 60.0  # for a job that ends by itself when its time is over


class TrainWorker(SpawnWorker):
    """Looks after its work horse; `bound_jobs` says how long one may work."""

    _longest_s = float("inf")

    def bound_jobs(self, longest_s: float) -> None:
        """Kill the horse of a job that did not end by itself within `longest_s` seconds."""
        self._longest_s = longest_s
        self.job_monitoring_interval = _LOOK_S

    def execute_job(self, job: Job, queue: Queue) -> None:
        """Run in the worker: have a horse do the job, and wait for it."""
        with logs.job(**about(job)):
            super().execute_job(job, queue)

    def main_work_horse(self, job: Job, queue: Queue) -> Any:
        """Run in the horse: do the job, and be heard of meanwhile."""
        settings = Settings.from_env(os.environ)
        logs.configure(settings.log_level, settings.log_format)
        with logs.job(**about(job)), Lease(self.connection, _beat(job)):
            return super().main_work_horse(job, queue)

    def maintain_heartbeats(self, job: Job, execution: Execution) -> None:
        """Run in the worker every few seconds while its horse works."""
        super().maintain_heartbeats(job, execution)
        if why := self._stuck(job):
            self.log.warning("Worker %s: job %s %s; killed", self.name, job.id, why)
            self.kill_horse()

    def _stuck(self, job: Job) -> str:
        """Why the horse cannot be waited for, empty while it works."""
        worked = now() - job.started_at if job.started_at else timedelta()
        if worked.total_seconds() > self._longest_s + _LAST_WORDS_S:
            return f"works for more than {self._longest_s:.0f} s"
        silent = not Lease.is_held(self.connection, _beat(job))
        return "is silent" if silent and worked.total_seconds() > _FIRST_WORDS_S else ""


def _beat(job: Job) -> str:
    return f"horse:{job.id}"
