"""The scheduler: looks every second for work that waits without a holder and wakes a worker.

It reads state, never events: work whose worker was killed is found by its expired lease, work
whose hook or job was lost is found in Redis or by the reconcile job. One of the review workers
runs it at a time, under a lease.
"""

from __future__ import annotations

import logging
import threading

import redis

from backend.jobs import lease_name, pause_key, reconcile, review
from backend.lease import Lease, LeaseHeld, LeaseLost
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
        woken = []
        for project_id in self._wiring.projects.ids():
            for job in self._due(project_id):
                if self._wiring.queues.wake(job, project_id):
                    woken.append((job, project_id))
        return woken

    def _due(self, project_id: int) -> list[str]:
        wiring = self._wiring
        desk = wiring.projects.desk(project_id)
        waiting = desk.waiting()
        pushes = desk.candidate() or (waiting["to_predict"] and wiring.has_label_studio)
        wanted = {
            "review": self._can_review(project_id, waiting),
            "push": bool(pushes),
            "train": is_due(wiring, project_id),
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
        """Something waits that can be done now: a review, or a verdict to write back."""
        paused = self._wiring.redis.exists(review.paused_key(project_id))
        asks = waiting["to_review"] and self._wiring.settings.has_llm and not paused
        return bool(asks or (waiting["to_patch"] and self._wiring.has_label_studio))
