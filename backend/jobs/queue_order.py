"""The head of the queue: which open tasks people should answer first, after each refit.

In a project whose Label Studio serves the lowest scores first, the tasks whose answers would teach
most (training/usefulness.py) get scores below all others, from stored evidence, without any model.
Each score that changes is one PATCH, so the head is short: about twice what is answered before the
next refit, and a task that moved little keeps its score. Safe to repeat.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain, zip_longest
from typing import Any

import numpy as np

from backend.audit import is_audit
from backend.jobs.stored import Stored, unpack
from backend.label_config import parse
from backend.lease import Lease
from backend.predictions import HEAD
from backend.projects import Project
from backend.wiring import Wiring
from specialists.chances import unit
from specialists.evidence import Evidence, Floats
from specialists.runtime import VIEWS
from specialists.types import Verdict
from training.usefulness import Design, doubt

SHORTEST, LONGEST = 50, 500
"""Tasks at the head of the queue."""
_MOVED = 0.2  # of the head: a task that moved less keeps its score


def arrange(
    wiring: Wiring,
    project: Project,
    tag: str,
    verdicts: Collection[Verdict],
    room: int,
    lease: Lease,
) -> None:
    """Give the most useful open tasks their places under a tag, and ask for patches.

    The next refit is `room` verdicts away. A control whose rule does not learn gives no places.
    """
    count = min(LONGEST, max(SHORTEST, 2 * room))
    controls = [Stored(wiring, project.id, one, tag) for one in parse(project.label_config)]
    order = _in_turn([useful(one, verdicts, count) for one in controls if one.learns])[:count]
    desk = wiring.projects.desk(project.id)

    def write(pipe: Any) -> None:
        before = desk.places(tag)
        now = _places(order, before)
        desk.place(tag, now, pipe)
        desk.want_patches(
            {task for task in before.keys() | now.keys() if before.get(task) != now.get(task)}, pipe
        )

    lease.transaction(write, desk.places_key)


def useful(stored: Stored, verdicts: Collection[Verdict], count: int) -> list[int]:
    """At most `count` open tasks of a control, those whose answers would teach most first.

    Tasks with a verdict on this control count as known; audits count for nothing, as nothing
    learns from them. What a person answered is not open.
    """
    answered = [v.task_id for v in verdicts if v.control == stored.control.name]
    by_people = [v.task_id for v in verdicts if v.source == "human"]
    share = stored.wiring.settings.audit_share
    design: Design | None = None
    centre: Floats = np.zeros(0, dtype=np.float32)
    for rows in stored.chunks():
        rule = stored.value_rule(rows)
        if rule is None:
            break
        evidence = unpack(rows)
        if design is None:
            centre = centre_of(evidence)
            design = Design(len(centre))
        seen = seen_from(evidence, centre)
        ids = np.array([row.task_id for row in rows])
        audits = np.array([is_audit(stored.project_id, row.task_id, share) for row in rows])
        known = np.isin(ids, answered) & ~audits
        is_open = ~(known | audits | np.isin(ids, by_people))
        design.know(seen[known])
        doubts = doubt(rule.probabilities(evidence.rows(is_open)))
        design.consider(ids[is_open], seen[is_open], doubts)
    return design.order(count) if design else []


def seen_from(evidence: Evidence, centre: Floats) -> Floats:
    """A view of texts about a centre, rows of length 1, shape (texts, width).

    A row of 0 for a text that was observed without this view: it resembles none.
    """
    view = _view(evidence)
    if view.shape[1] != len(centre):
        return np.zeros((len(evidence), len(centre)), dtype=np.float32)
    rows: Floats = np.nan_to_num(unit(view - centre))
    return rows


def centre_of(evidence: Evidence) -> Floats:
    """The mean of a view over texts, shape (width,)."""
    mean: Floats = np.nan_to_num(_view(evidence)).mean(axis=0)
    return mean


def _view(evidence: Evidence) -> Floats:
    """The last layer of the frozen view; else of a member, else the votes, shape (texts, width)."""
    if evidence.frozen is not None:
        return np.split(evidence.frozen, VIEWS, axis=1)[-1]
    if evidence.features:
        return evidence.features[-1]
    return evidence.votes.reshape(len(evidence), -1)


def _in_turn(orders: Sequence[Iterable[int]]) -> list[int]:
    """One of each control's order in turn, each task once."""
    tasks = chain.from_iterable(zip_longest(*orders))
    return list(dict.fromkeys(task for task in tasks if task is not None))


def _places(order: Sequence[int], before: Mapping[int, float]) -> dict[int, float]:
    """Scores (0..HEAD) of tasks in their order; who moved little keeps the score of before."""
    step = HEAD / (len(order) + 1)
    now = {task: round(step * place, 4) for place, task in enumerate(order, start=1)}
    return {
        task: before[task] if abs(before.get(task, -1.0) - score) < _MOVED * HEAD else score
        for task, score in now.items()
    }
