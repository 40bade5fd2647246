"""Whether what is shown sways people, on a real Redis and a real evidence store."""

from __future__ import annotations

import time
from collections.abc import Iterable

import pytest
from world import PROJECT, TASKS, MakeWorld, World, audits

from backend import agreement, status, sway
from backend.annotations import HumanAnswer
from backend.answers import record_answers
from backend.evidence_store import Shown
from backend.jobs.stored import Stored

SHARE = 0.4


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    """A project in which the committee's label is shown for every task that is no audit."""
    made = make_world(AUDIT_SHARE=str(SHARE))
    made.observe()
    for task in range(1, 41):
        made.human(task)
    made.refit()
    labels = sure(made)
    blind = set(audits(SHARE))
    shown = {
        task: Shown((), 0.0, hard=False) if task in blind else Shown((label,), 0.9, hard=False)
        for task, label in labels.items()
    }
    made.wiring.evidence.show(PROJECT, made.control.name, made.tag, shown)
    return made


def sure(world: World) -> dict[int, str]:
    """What the committee is sure of, of the tasks that the rule has not learned."""
    stored = Stored(world.wiring, PROJECT, world.control, world.tag)
    rows = stored.rows(range(41, TASKS + 1))
    decisions = zip(rows, stored.decisions(rows), strict=True)
    return {row.task_id: said.labels[0] for row, said in decisions if not said.hard}


def answer(world: World, tasks: Iterable[int], *, accept: bool) -> None:
    """People answer in one hook: what is shown, or something else."""
    labels = sure(world)
    others = {task: next(x for x in world.labels if x != label) for task, label in labels.items()}
    answers = [
        HumanAnswer(
            annotation_id=1000 + task,
            task_id=task,
            completed_by=1,
            updated_at=time.time(),
            ground_truth=False,
            choices={world.control.name: ((labels if accept else others)[task],)},
            data={"text": world.text(task)},
        )
        for task in tasks
    ]
    record_answers(world.wiring, PROJECT, [world.control], answers)
    agreement.look(world.wiring, PROJECT)


def test_agreement_with_shown_and_with_hidden_labels_is_compared(world: World) -> None:
    blind = [task for task in sure(world) if task in audits(SHARE)]
    seen = [task for task in sure(world) if task not in audits(SHARE)]
    assert min(len(blind), len(seen)) >= sway.LEAST
    half = len(blind) // 2
    # In turns, as tasks are served.
    answer(world, [*blind[:1], *seen[:1]], accept=True)
    assert sway.read(world.wiring, PROJECT) == [], "too few to say anything"
    answer(world, seen, accept=True)
    answer(world, blind[:half], accept=True)
    answer(world, blind[half:], accept=False)
    (found,) = sway.read(world.wiring, PROJECT)
    since = 1000 + max(min(seen), min(blind))
    kept = [task for task in blind if 1000 + task >= since]
    assert found["hidden"] == (sum(task in blind[:half] for task in kept), len(kept))
    assert found["shown"][0] == found["shown"][1]
    assert 0 < found["low"] < found["difference"] < found["high"]
    told = status.render(status.collect(world.wiring))
    assert "they are swayed by what they see" in told
    answer(world, blind[half:], accept=True)  # people change their mind
    (found,) = sway.read(world.wiring, PROJECT)
    assert found["difference"] == 0.0
    assert "are not shown to be swayed" in sway.sentence(found)


def test_audits_stay_out_of_what_starts_a_stage(world: World) -> None:
    blind = [task for task in sure(world) if task in audits(SHARE)]
    answer(world, blind, accept=False)
    key = agreement.agreed_key(PROJECT, world.control.name)
    assert world.wiring.redis.zcard(key) == 0


def test_verdicts_of_the_llm_are_not_the_committees(world: World) -> None:
    seen = [task for task in sure(world) if task not in audits(SHARE)]
    for task in seen:
        world.llm(task, world.right(task))
    answer(world, seen, accept=True)
    assert world.wiring.redis.zcard(sway.sway_key(PROJECT, world.control.name, "shown")) == 0
