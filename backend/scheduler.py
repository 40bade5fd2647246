"""The scheduler: looks every second for work that waits without a holder and wakes a worker.

It reads state, never events: work whose worker was killed is found by its expired lease, work
whose hook or job was lost is found in Redis or by the reconcile job. One of the review workers
runs it at a time, under a lease.
"""

from __future__ import annotations

import logging
import threading

import redis

from backend import agreement, logs, pauses
from backend.allowance import allowance
from backend.jobs import backlog, lease_name, pause_key, reconcile, refit
from backend.label_changes import LabelChanges
from backend.lease import Lease, LeaseHeld, LeaseLost
from backend.shards import prelabels
from backend.triggers import is_due
from backend.wiring import Wiring

logger = logging.getLogger(__name__)

_TICK_S = 1.0


class Scheduler:
    """Wakes workers up for what waits in all projects."""

    def __init__(self, wiring: Wiring) -> None:
        self._wiring = wiring

    def run(self, stop: threading.Event) -> None:
        """Tick until `stop`, whenever this process holds the scheduler's lease."""
        logs.tell(job="scheduler")
        while not stop.wait(_TICK_S):
            try:
                with self._wiring.lease("scheduler") as lease:
                    while not stop.wait(_TICK_S):
                        lease.check()
                        self.tick()
            except (LeaseHeld, LeaseLost):
                continue
            except redis.RedisError as error:
                logger.warning("scheduler: Redis does not answer: %s", type(error).__name__)
            except Exception:
                logger.exception("scheduler: tick failed, going on")

    def tick(self) -> list[tuple[str, int]]:
        """Wake workers for what is due now; returns (job, project) of each job enqueued."""
        due: list[tuple[str, int]] = []
        for project_id in self._wiring.projects.ids():
            agreement.look(self._wiring, project_id)
            due += [(job, project_id) for job in self._due(project_id)]
        woken = []
        for job, project_id in sorted(due, key=self._turn):
            if self._wiring.queues.wake(job, project_id):
                woken.append((job, project_id))
        return woken

    def _turn(self, work: tuple[str, int]) -> float:
        """Stages take minutes on one worker: whose last one ended first is next."""
        job, project_id = work
        if job != "train":
            return 0.0
        return float(self._wiring.projects.desk(project_id).stage().get("ended_at") or 0)

    def _due(self, project_id: int) -> list[str]:
        wiring = self._wiring
        desk = wiring.projects.desk(project_id)
        waiting = desk.waiting()
        predicts = wiring.has_label_studio and not prelabels(wiring.redis, project_id)
        pushes = desk.candidate() or (waiting["to_predict"] and predicts)
        wanted = {
            "review": self._can_review(project_id, waiting),
            "push": bool(pushes),
            "train": is_due(wiring, project_id),
            "labels": LabelChanges(wiring.redis, project_id).wait(),
            "reconcile": wiring.has_label_studio and reconcile.is_due(wiring, project_id),
        }
        return [
            job
            for job, due in wanted.items()
            if due
            and not Lease.is_held(wiring.redis, lease_name(job, project_id))
            and not wiring.redis.exists(pause_key(job, project_id))
        ]

    def _can_review(self, project_id: int, waiting: dict[str, int]) -> bool:
        """Something can be done now: a refit, a write-back, a call, a look at a batch."""
        wiring = self._wiring
        if waiting["to_patch"] and wiring.has_label_studio:
            return True
        if refit.is_due(wiring, project_id):
            return True
        if not wiring.settings.has_llm or pauses.held(wiring.redis, project_id):
            return False
        if backlog.is_due(wiring.redis, project_id):
            return True
        if not waiting["to_review"] or backlog.is_waiting(wiring.redis, project_id):
            return False
        if pauses.is_paused(wiring.redis, project_id):
            return False
        project = wiring.projects.get(project_id)
        return bool(project and allowance(wiring, project).calls)
