"""Whether people agree with what Label Studio showed them, answer by answer, and when less.

`note` puts answers on a list as they arrive, which is all that a webhook has time for. `look`, for
the scheduler, joins them with what was shown, as the evidence store has it; what was shown before
an answer stays there, as tasks that people annotated are not relabelled. Left out are answers that
are older than their arrival: what was shown then is not known. Audits, on which nothing is shown,
only tell whether what is shown sways people (sway.py): nothing may be learned from them, a stage's
beginning neither.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from redis.client import Pipeline

from backend import sway
from backend.audit import is_audit
from backend.wiring import Wiring
from specialists.types import Verdict
from training import drift

_RECENT_S = 3600.0  # hooks come at once; what reconcile finds may be of any age
_KEPT = drift.BEFORE + drift.RECENT
_AT_ONCE = 500

Row = Mapping[str, Any]


def arrived_key(project_id: int) -> str:
    """List: answers that were not looked at yet, oldest first."""
    return f"aa:project:{project_id}:answered"


def agreed_key(project_id: int, control: str) -> str:
    """Sorted set of the last answers: annotation:agreed (0 or 1), by the annotation's id."""
    return f"aa:project:{project_id}:agreed:{control}"


def untested_key(project_id: int) -> str:
    """Hash: control -> answers since agreement was compared last."""
    return f"aa:project:{project_id}:agreed_untested"


def note(project_id: int, verdicts: Iterable[Verdict], via: Pipeline) -> None:
    """Remember new answers of people, to be looked at."""
    since = time.time() - _RECENT_S
    rows = [
        json.dumps([v.annotation_id, v.task_id, v.control, list(v.labels)])
        for v in verdicts
        if v.at >= since
    ]
    if rows:
        via.rpush(arrived_key(project_id), *rows)


def forget(wiring: Wiring, project_id: int, controls: Iterable[str], via: Any) -> None:
    """Begin anew: agreement under other labels says nothing of agreement under these."""
    names = list(controls)
    via.delete(
        arrived_key(project_id),
        untested_key(project_id),
        *(agreed_key(project_id, control) for control in names),
        *sway.keys(project_id, names),
    )


def look(wiring: Wiring, project_id: int) -> None:
    """Count the answers that arrived; a drop in agreement starts a stage and is told once.

    Safe to repeat. After a drop the count begins anew: the same answers say nothing twice.
    """
    key = arrived_key(project_id)
    rows: Any = wiring.redis.lrange(key, 0, _AT_ONCE - 1)
    if not rows:
        return
    by_control: defaultdict[str, list[tuple[int, int, tuple[str, ...]]]] = defaultdict(list)
    for annotation, task, control, labels in map(json.loads, rows):
        by_control[control].append((annotation, task, tuple(labels)))
    share = wiring.settings.audit_share
    for control, answers in by_control.items():
        sway.count(wiring, project_id, control, answers)
        aided = [one for one in answers if not is_audit(project_id, one[1], share)]
        _count(wiring, project_id, control, aided)
        _compare(wiring, project_id, control)
    wiring.redis.ltrim(key, len(rows), -1)


def _count(
    wiring: Wiring,
    project_id: int,
    control: str,
    answers: Sequence[tuple[int, int, tuple[str, ...]]],
) -> None:
    """Add answers to the last ones; an answer that was changed replaces itself."""
    tag = wiring.promotions(project_id).served()
    if tag is None:
        return
    tasks = {task for _, task, _ in answers}
    shown = {
        row.task_id: set(row.shown.labels)
        for row in wiring.evidence.read(project_id, control, tag, tasks)
        if row.shown and row.shown.labels
    }
    key, untested = agreed_key(project_id, control), untested_key(project_id)
    for annotation, task, labels in answers:
        if task not in shown:
            continue
        one = f"{annotation}:{int(shown[task] == set(labels))}"
        with wiring.redis.pipeline() as pipe:
            pipe.zrem(key, f"{annotation}:0", f"{annotation}:1")
            pipe.zadd(key, {one: annotation})
            pipe.zremrangebyrank(key, 0, -_KEPT - 1)
            known, _, _ = pipe.execute()
        if not known:
            wiring.redis.hincrby(untested, control, 1)


def _compare(wiring: Wiring, project_id: int, control: str) -> None:
    """Compare the last answers with those before, once every few."""
    untested = untested_key(project_id)
    if int(wiring.redis.hget(untested, control) or 0) < drift.STEP:
        return
    key = agreed_key(project_id, control)
    members: Any = wiring.redis.zrange(key, 0, -1)
    found = drift.drop([str(one).endswith(":1") for one in members])
    if found:
        told = f"{control}: {found.sentence()}."
        wiring.journal.error("drift", f"{told} A stage starts early.", project_id)
    with wiring.redis.pipeline() as pipe:
        pipe.hdel(untested, control)
        if found:
            wiring.projects.desk(project_id).set_stage(pipe, drift=told)
            pipe.delete(key)
        pipe.execute()
