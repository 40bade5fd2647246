"""What starts a stage of training."""

from __future__ import annotations

import time

from backend.wiring import Wiring


def is_due(wiring: Wiring, project_id: int) -> bool:
    """Whether a stage should start: enough new verdicts (STAGE_SIZE), or somebody asked.

    Promotions re-predict all unlabelled tasks, so stages wait until PROMOTE_EVERY has passed since
    the last one; "train now" does not wait. A candidate is promoted first.
    """
    desk = wiring.projects.desk(project_id)
    if desk.candidate():
        return False
    stage = desk.stage()
    if stage.get("now") == "1":
        return True
    if time.time() - float(stage.get("promoted_at", 0)) < wiring.settings.promote_every:
        return False
    new = wiring.pool(project_id).waiting(after=int(stage.get("attempted", 0)))
    return new >= wiring.settings.stage_size
