"""Agreement with what was shown, on a real Redis and a real evidence store."""

from __future__ import annotations

import time
from collections.abc import Sequence

import pytest
from world import PROJECT, MakeWorld, World

from backend import agreement, status
from backend.annotations import HumanAnswer
from backend.answers import record_answers
from backend.audit import is_audit
from backend.evidence_store import Shown
from training.drift import RECENT, STEP


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    """A project in which every task shows the right label."""
    made = make_world(AUDIT_SHARE="0.1")
    made.observe()
    for task in range(1, 241):
        shows(made, task)
    return made


def shows(world: World, task: int) -> None:
    shown = {task: Shown((world.right(task),), 0.9, hard=False)}
    world.wiring.evidence.show(PROJECT, world.control.name, world.tag, shown)


def answer(world: World, tasks: Sequence[int], right: bool = True, age_s: float = 0.0) -> None:
    """People answer, in one hook."""
    answers = [
        HumanAnswer(
            annotation_id=1000 + task,
            task_id=task,
            completed_by=1,
            updated_at=time.time() - age_s,
            ground_truth=False,
            choices={
                world.control.name: (world.right(task) if right else world.wrong(task),),
            },
            data={"text": world.text(task)},
        )
        for task in tasks
    ]
    record_answers(world.wiring, PROJECT, [world.control], answers)


def agreed(world: World) -> list[str]:
    agreement.look(world.wiring, PROJECT)
    key = agreement.agreed_key(PROJECT, world.control.name)
    return [str(one) for one in world.wiring.redis.zrange(key, 0, -1)]


def plain(world: World, count: int, after: int = 0) -> list[int]:
    """Tasks that are no audits."""
    tasks = [t for t in range(after + 1, 241) if not is_audit(PROJECT, t, 0.1)]
    return tasks[:count]


def test_answers_are_compared_with_what_was_shown_once(world: World) -> None:
    one, two, three = plain(world, 3)
    answer(world, [one, two])
    answer(world, [three], right=False)
    expected = [f"{1000 + one}:1", f"{1000 + two}:1", f"{1000 + three}:0"]
    assert agreed(world) == expected
    answer(world, [one, two])
    answer(world, [three], right=False)  # hooks and reconcile repeat
    assert agreed(world) == expected
    answer(world, [two], right=False)  # and people change their mind
    assert agreed(world)[1] == f"{1000 + two}:0"


def test_audits_old_answers_and_what_showed_nothing_are_left_out(world: World) -> None:
    audit = next(task for task in range(1, 241) if is_audit(PROJECT, task, 0.1))
    old, blank, counted = plain(world, 3)
    nothing = {blank: Shown((), 0.0, hard=True)}
    world.wiring.evidence.show(PROJECT, world.control.name, world.tag, nothing)
    answer(world, [audit, blank, counted])
    answer(world, [old], age_s=7200)
    assert agreed(world) == [f"{1000 + counted}:1"]


def test_a_drop_is_told_once_and_begins_anew(world: World) -> None:
    tasks = plain(world, 3 * RECENT)
    answer(world, tasks[: 2 * RECENT])
    assert len(agreed(world)) == 2 * RECENT
    for start in range(2 * RECENT, 3 * RECENT, STEP):
        answer(world, tasks[start : start + STEP], right=False)
        agreement.look(world.wiring, PROJECT)
    told = world.wiring.projects.desk(PROJECT).stage()["drift"]
    assert "people agreed with 100% of what was shown" in told
    errors = [one for one in world.wiring.journal.errors() if one["where"] == "drift"]
    assert [(one["count"], told in one["message"]) for one in errors] == [(1, True)]
    assert told in status.render(status.collect(world.wiring))
    assert len(agreed(world)) < RECENT, "the same answers say nothing twice"
    answer(world, plain(world, 2 * RECENT, after=tasks[-1]), right=False)
    agreement.look(world.wiring, PROJECT)
    assert [one["count"] for one in world.wiring.journal.errors()] == [1]


def test_a_label_config_that_changed_begins_anew(world: World) -> None:
    answer(world, plain(world, 3))
    assert len(agreed(world)) == 3
    answer(world, plain(world, 3, after=100))
    with world.wiring.redis.pipeline() as pipe:
        agreement.forget(world.wiring, PROJECT, [world.control.name], pipe)
        pipe.execute()
    assert agreed(world) == []
