"""A running stage's progress: told to people, and the place where it hears that it must end."""

from __future__ import annotations

import time

from rq import get_current_job

from backend.devices import Held
from backend.lease import Lease
from backend.wiring import Wiring
from training.errors import StageCancelled

_TELLING = 0.05  # of a stage; less of it says nothing about the rest
_EVERY_S = 0.5  # a GPU makes a hundred steps in a second; nobody reads as many


class Progress:
    """Call it after each step, from one thread at a time."""

    def __init__(
        self, wiring: Wiring, project_id: int, lease: Lease, held: Held, began: float
    ) -> None:
        """`began` (epoch seconds) is the stage's, `lease` its project's, `held` its devices."""
        self._wiring = wiring
        self._desk = wiring.projects.desk(project_id)
        self._lease = lease
        self._held = held
        self._deadline = began + wiring.settings.stage_timeout
        self._job = get_current_job()  # here: members that train at once tell from other threads
        self._told_s = 0.0
        self._first: tuple[float, float] | None = None  # seconds, share done by then

    def __call__(self, member: str, share: float, loss: float) -> None:
        """Tell the desk and the job's meta; raises as `check` does."""
        now_s = time.monotonic()
        left = self._left(now_s, share)
        if share < 1.0 and now_s - self._told_s < _EVERY_S:
            return
        self._told_s = now_s
        self.check()
        words = "" if left is None else f", {left:.0f} s left"
        text = f"{share:.0%} {member} loss {loss:.3f}{words}"
        self._lease.transaction(lambda pipe: self._desk.set_stage(pipe, progress=text))
        if self._job:
            self._job.meta = {
                "percent": round(100 * share, 1),
                "member": member,
                "loss": round(loss, 4),
                "seconds_left": None if left is None else round(left),
            }
            self._job.save_meta()  # type: ignore[no-untyped-call]

    def check(self) -> None:
        """Raise StageCancelled when it was called off or takes too long, LeaseLost when lost."""
        self._held.check()
        self._lease.check()
        if self._desk.stage().get("cancel") == "1":
            raise StageCancelled("Called off; its verdicts wait for the next stage.")
        if time.time() > self._deadline:
            longest = self._wiring.settings.stage_timeout
            raise StageCancelled(
                f"Called off, as it took longer than STAGE_TIMEOUT ({longest:.0f} s); its verdicts "
                "wait for the next stage. Raise STAGE_TIMEOUT, or lower STAGE_EPOCHS."
            )

    def _left(self, now_s: float, share: float) -> float | None:
        """Seconds that it still takes, by how fast this run went; None while nobody can say."""
        if self._first is None:
            self._first = (now_s, share)
        began_s, before = self._first
        if share - before < _TELLING:
            return None
        return (now_s - began_s) * (1 - share) / (share - before)
