"""What starts a stage of training: its size, time, a drift, or somebody who asks.

Every trigger needs verdicts that no stage has tried yet (`attempted`), so none fires twice for the
same ones, whatever became of the stage.
"""

from __future__ import annotations

import time

from backend.wiring import Wiring

LEAST = 10
"""New verdicts below which time and drift start no stage: a fifth is held out for the gate, and of
fewer none may be (0.8 ** 10 = 11 %)."""


def trigger(wiring: Wiring, project_id: int) -> str:
    """Why one should start: `begun`, `asked`, `size`, `drift` or `time`; empty when none should.

    Promotions re-predict all unlabelled tasks, so stages wait until PROMOTE_EVERY has passed since
    the last one, and until a burst of verdicts is over; "train now" waits for neither, nor does a
    stage that was `begun` and whose worker died. A candidate is promoted first.
    """
    desk = wiring.projects.desk(project_id)
    if desk.candidate():
        return ""
    stage, now = desk.stage(), time.time()
    if stage.get("running"):
        return "begun"
    if stage.get("now") == "1":
        return "asked"
    # A clock that was ahead at the promotion must not hold stages back until it is right.
    if 0 <= now - float(stage.get("promoted_at", 0)) < wiring.settings.promote_every:
        return ""
    pool = wiring.pool(project_id)
    new = pool.waiting(after=int(stage.get("attempted", 0)))
    stage_size = wiring.settings_of(project_id).stage_size
    if new < min(LEAST, stage_size):
        return ""
    arrivals = pool.arrivals()
    if arrivals.in_burst(now):
        return ""
    if new >= stage_size:
        return "size"
    if stage.get("drift"):
        return "drift"
    every = wiring.settings.stage_every
    last = float(stage.get("ended_at") or arrivals.first or now)
    return "time" if every and now - last >= every else ""


def is_due(wiring: Wiring, project_id: int) -> bool:
    """Whether a stage should start now."""
    return bool(trigger(wiring, project_id))
