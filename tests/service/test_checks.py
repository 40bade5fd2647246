"""Checks: the LLM audits labels that the committee is sure of, and nothing learns from it."""

from __future__ import annotations

import pytest
from provider import Provider
from world import PROJECT, TASKS, MakeWorld, World, answering, asked, audits

from backend import report
from backend.audit import is_llm_audit
from backend.jobs import train
from backend.jobs.questions import CHECK, Questions
from backend.pace import CHECK_SHARE

SHARE = 0.2


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    """A project whose rule has learned enough to be sure; people answered the audits."""
    made = make_world(AUDIT_SHARE=str(SHARE), LLM_SHARE="1")
    made.observe()
    for task in range(1, 61):
        made.human(task)
    made.believe_the_llm()
    made.refit()
    for task in audits(SHARE):
        made.human(task)
    return made


def own() -> list[int]:
    """The tasks that are the LLM's to audit."""
    return [task for task in range(1, TASKS + 1) if is_llm_audit(PROJECT, task, SHARE)]


def checks(world: World, budget: float) -> list[int]:
    project = world.wiring.projects.get(PROJECT)
    assert project
    with world.wiring.lease("review:7") as lease:
        return [one.task_id for one in Questions(world.wiring, project, lease)._checks(budget)]


def test_audits_that_people_answered_are_checked_within_a_share_of_the_budget(
    world: World, provider: Provider
) -> None:
    few, all_of_them = checks(world, 50), checks(world, 1e6)
    assert len(few) == int(50 * CHECK_SHARE) < len(all_of_them)
    assert few == all_of_them[: len(few)], "a random sample of the same"
    assert set(all_of_them) <= set(audits(SHARE))
    provider.decide = answering(world)
    waiting = world.pool.waiting()
    world.review()
    assert set(asked(provider)) & set(audits(SHARE)) == set(asked(provider)) & set(all_of_them)
    made = set(asked(provider)) & set(all_of_them)
    assert len(made) == int(TASKS * CHECK_SHARE)
    assert world.pool.waiting() == waiting, "nothing is to be learned from them"
    assert not made & {sample.task_id for sample in world.desk.to_review()}
    before = len(provider.requests)
    world.review()
    assert len(set(asked(provider)[before:]) & set(audits(SHARE))) == 0, "and asked once"
    assert CHECK not in {sample.reason for sample in world.desk.hard()}


def test_what_the_llm_audits_is_measured_and_not_learned(world: World) -> None:
    for task in own():
        world.llm(task, world.right(task))
    learned = {task for task, _ in train._learnable(world.wiring, PROJECT, world.tag)}
    assert not learned & {*own(), *audits(SHARE)}
    assert learned == {t for t in range(1, 61) if t not in {*own(), *audits(SHARE)}}


def test_both_together_are_reported_with_a_narrower_interval(world: World) -> None:
    world.refit()
    (alone,) = report.read(world.wiring, PROJECT)
    assert alone["estimate"]["basis"] == "audits"
    disputed = audits(SHARE)[::4]  # people and the LLM agree that these are wrong
    for task in (*audits(SHARE), *own()):
        world.llm(task, world.wrong(task) if task in disputed else world.right(task))
    for task in disputed:
        world.human(task, world.wrong(task))
    world.refit()
    (both,) = report.read(world.wiring, PROJECT)
    found = both["estimate"]
    assert found["basis"] == "both"
    assert found["low"] < found["accuracy"] <= found["high"]
    assert "of the LLM as far as people confirm it" in " ".join(report.sentences(both))
