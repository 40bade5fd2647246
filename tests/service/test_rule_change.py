"""A project that changes its rule: everything open is decided again, by the other rule."""

from __future__ import annotations

import pytest
from world import PROJECT, TASKS, MakeWorld, World

from backend import report
from backend.connect import _rule_before
from backend.jobs import refit
from backend.jobs.relabel import NOT_WORTH
from backend.scheduler import Scheduler


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    made = make_world(LLM_SHARE="0")
    made.observe()
    return made


def choose(world: World, rule: str) -> None:
    """As `connect --rule` does."""
    _rule_before(world.wiring, PROJECT)
    world.wiring.projects.update(PROJECT, rule=rule)


def taught(world: World) -> set[int]:
    """A project with answers of people and of an LLM; returns where the LLM was overruled."""
    for task in range(1, 101):
        world.human(task)
    for task in range(101, 141):
        world.llm(task, world.right(task) if task > 104 else world.wrong(task))
    world.review()
    overruled = {v.task_id for v in world.verdicts().values() if v.answer != v.labels}
    assert overruled
    return overruled


def test_the_paper_s_rule_takes_the_llm_s_word_and_asks_about_every_disagreement(
    world: World,
) -> None:
    overruled = taught(world)
    world.wiring.redis.delete(f"aa:project:{PROJECT}:to_patch")
    choose(world, "paper")
    assert ("review", PROJECT) in Scheduler(world.wiring).tick()
    world.review()
    verdicts = world.verdicts()
    assert all(v.labels == v.answer and v.chance is None for v in verdicts.values())
    wanted = set(world.desk.wanted_patches())
    assert overruled <= wanted
    assert not wanted & set(range(1, 101)), "people annotated those"
    hard = world.desk.hard()
    assert len(hard) > 50, "members of 60 % seldom all agree"
    assert not any(one.error == NOT_WORTH for one in hard)
    assert report.read(world.wiring, PROJECT) == []
    assert not refit.is_due(world.wiring, PROJECT)


def test_back_to_measured_reliability_all_is_as_before(world: World) -> None:
    overruled = taught(world)
    before = world.verdicts()
    for rule in ("paper", "value"):
        choose(world, rule)
        world.review()
    assert world.verdicts() == before
    assert {v.task_id for v in world.verdicts().values() if v.answer != v.labels} == overruled
    (found,) = report.read(world.wiring, PROJECT)
    assert found["tasks"] == TASKS


def test_a_rule_is_changed_before_there_is_any_verdict(world: World) -> None:
    choose(world, "paper")
    assert refit.is_due(world.wiring, PROJECT)
    world.review()
    assert len(world.desk.hard()) > 50
    assert not refit.is_due(world.wiring, PROJECT)


def test_choosing_the_same_rule_again_changes_nothing(world: World) -> None:
    choose(world, "value")
    assert not refit.is_due(world.wiring, PROJECT)
    choose(world, "value")
    assert not refit.is_due(world.wiring, PROJECT)
