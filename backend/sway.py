"""Whether people say what Label Studio shows them: agreement with shown and with hidden labels.

On audits nothing is shown, so that agreement there is what people think of the committee's labels
by themselves. Compared are labels that the committee alone is sure of, answered in the same time.
Not covered: where the least sure are asked first, those shown are the less sure of the sure ones,
which hides some of the sway.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from backend.audit import is_audit
from backend.jobs.stored import Stored
from backend.label_config import parse
from backend.wiring import Wiring
from training.intervals import newcombe

LEAST = 20
"""Answers to hidden labels, and to shown ones, below which nothing is said."""
_KEPT = 2000

Answer = tuple[int, int, tuple[str, ...]]  # annotation id, task id, labels


def sway_key(project_id: int, control: str, kind: str) -> str:
    """Sorted set of answers to "shown" or "hidden": annotation:agreed (0 or 1), by annotation."""
    return f"aa:project:{project_id}:sway:{kind}:{control}"


def keys(project_id: int, controls: Iterable[str]) -> list[str]:
    """All keys of some controls."""
    return [sway_key(project_id, name, kind) for name in controls for kind in ("shown", "hidden")]


def count(wiring: Wiring, project_id: int, control: str, answers: Sequence[Answer]) -> None:
    """Count answers that came just now; one that was changed replaces itself."""
    share = wiring.settings.audit_share
    audits = {task for _, task, _ in answers if is_audit(project_id, task, share)}
    shown = _shown(wiring, project_id, control, {task for _, task, _ in answers} - audits)
    hidden = _hidden(wiring, project_id, control, audits)
    for annotation, task, labels in answers:
        ours = hidden.get(task) or shown.get(task)
        if ours:
            kind = "hidden" if task in audits else "shown"
            key = sway_key(project_id, control, kind)
            with wiring.redis.pipeline() as pipe:
                pipe.zrem(key, f"{annotation}:0", f"{annotation}:1")
                pipe.zadd(key, {f"{annotation}:{int(ours == set(labels))}": annotation})
                pipe.zremrangebyrank(key, 0, -_KEPT - 1)
                pipe.execute()


def _shown(wiring: Wiring, project_id: int, control: str, tasks: set[int]) -> dict[int, set[str]]:
    """What the committee was sure of and Label Studio showed; the LLM's verdicts left out."""
    tag = wiring.promotions(project_id).served()
    if tag is None or not tasks:
        return {}
    verdicts = wiring.pool(project_id).llm_verdicts((task, control) for task in tasks)
    return {
        row.task_id: set(row.shown.labels)
        for row in wiring.evidence.read(project_id, control, tag, tasks)
        if row.shown and not row.shown.hard and (row.task_id, control) not in verdicts
    }


def _hidden(wiring: Wiring, project_id: int, control: str, audits: set[int]) -> dict[int, set[str]]:
    """What the committee is sure of and Label Studio did not show."""
    project, tag = wiring.projects.get(project_id), wiring.promotions(project_id).served()
    mine = [one for one in parse(project.label_config) if one.name == control] if project else []
    if tag is None or not mine or not audits:
        return {}
    stored = Stored(wiring, project_id, mine[0], tag)
    rows = stored.rows(audits)
    return {
        row.task_id: set(decision.labels)
        for row, decision in zip(rows, stored.decisions(rows), strict=True)
        if not decision.hard
    }


def read(wiring: Wiring, project_id: int) -> list[dict[str, Any]]:
    """The comparison of each control with enough answers, as plain JSON.

    `shown` and `hidden` are (agreed, answers), `difference` of their shares with its 95 % interval.
    """
    project = wiring.projects.get(project_id)
    found = []
    for control in parse(project.label_config) if project and project.label_config else ():
        shown, hidden = _same_time(
            *(_answers(wiring, key) for key in keys(project_id, [control.name]))
        )
        if min(len(shown), len(hidden)) >= LEAST:
            pairs = (sum(shown), len(shown)), (sum(hidden), len(hidden))
            difference, low, high = newcombe(*pairs[0], *pairs[1])
            found.append(
                {
                    "control": control.name,
                    "shown": pairs[0],
                    "hidden": pairs[1],
                    "difference": difference,
                    "low": low,
                    "high": high,
                }
            )
    return found


def _answers(wiring: Wiring, key: str) -> dict[int, bool]:
    """Whether each annotation agreed."""
    rows: Any = wiring.redis.zrange(key, 0, -1)
    pairs = (str(row).split(":") for row in rows)
    return {int(annotation): agreed == "1" for annotation, agreed in pairs}


def _same_time(shown: dict[int, bool], hidden: dict[int, bool]) -> tuple[list[bool], list[bool]]:
    """Those of both since both are kept: the committee was another before."""
    if not shown or not hidden:
        return [], []
    since = max(min(shown), min(hidden))
    first, second = ([v for a, v in one.items() if a >= since] for one in (shown, hidden))
    return first, second


def sentence(found: dict[str, Any]) -> str:
    """Say it for people."""
    (agreed, n), (unaided, of) = found["shown"], found["hidden"]
    proven = "are swayed by" if found["low"] > 0 else "are not shown to be swayed by"
    return (
        f"{found['control']}: people agree with {agreed / n:.1%} of {n} labels that they are shown "
        f"and with {unaided / of:.1%} of {of} that are hidden: they {proven} what they see "
        f"({100 * found['difference']:+.1f} points, {100 * found['low']:+.1f} to "
        f"{100 * found['high']:+.1f})"
    )
