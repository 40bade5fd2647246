"""People's answers on their way into the pool: what each control's text was answered with."""

from __future__ import annotations

import time
from collections.abc import Sequence

from backend import agreement
from backend.annotations import HumanAnswer
from backend.label_config import Control, text_of
from backend.wiring import Wiring
from specialists.types import Verdict


def record_answers(
    wiring: Wiring, project_id: int, controls: Sequence[Control], answers: Sequence[HumanAnswer]
) -> list[Verdict]:
    """Put people's answers into the pool; their samples are not hard any more.

    Answers that the label config allows no longer are set aside there. Returns what was new.
    """
    pool, desk = wiring.pool(project_id), wiring.projects.desk(project_id)
    given: list[Verdict] = []
    for answer in answers:
        for control in controls:
            text = text_of(control, answer.data)
            labels = answer.choices.get(control.name) or answer.unfit.get(control.name)
            if not labels or not text:
                continue
            verdict = Verdict(
                task_id=answer.task_id,
                control=control.name,
                text=text,
                labels=labels,
                source="human",
                author=str(answer.completed_by),
                at=answer.updated_at or time.time(),
                annotation_id=answer.annotation_id,
                ground_truth=answer.ground_truth,
            )
            if control.name in answer.unfit:
                pool.set_aside(verdict)
            else:
                given.append(verdict)
    new = pool.add_all(given)
    with wiring.redis.pipeline() as pipe:
        desk.settle_hard((f"{one.task_id}:{one.control}" for one in given), pipe)
        agreement.note(project_id, new, pipe)
        pipe.execute()
    return new
