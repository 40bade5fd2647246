"""Refits on a real Redis, with made-up evidence: what is learned, and what follows."""

from __future__ import annotations

import json

import pytest
from provider import Provider
from world import PROJECT, TASKS, MakeWorld, World, answering, audits

from backend import meter, report, status
from backend.evidence_store import Shown
from backend.jobs import refit
from backend.jobs.learned import LEAST_TRAINED
from backend.jobs.relabel import NOT_WORTH
from backend.jobs.train import _learnable
from specialists.value_rule import MIN_GAIN
from training.card import Card
from training.gate import held_out

# When


def test_a_refit_is_due_after_eight_verdicts_then_after_15_percent_more(world: World) -> None:
    for task in range(1, 8):
        world.human(task)
    assert not refit.is_due(world.wiring, PROJECT)
    assert refit.room(world.wiring, PROJECT) == 1
    for task in range(8, 101):
        world.human(task)
    assert refit.is_due(world.wiring, PROJECT)
    assert world.refit()
    assert refit.room(world.wiring, PROJECT) == 15
    for task in range(101, 115):
        world.human(task)
    assert not refit.is_due(world.wiring, PROJECT)
    world.human(115)
    assert refit.is_due(world.wiring, PROJECT)


def test_a_refit_with_nothing_to_learn_from_is_not_due_again(make_world: MakeWorld) -> None:
    world = make_world()  # no evidence at all
    for task in range(1, 20):
        world.human(task)
    assert not world.refit()
    assert not refit.is_due(world.wiring, PROJECT)


def test_a_new_target_error_makes_a_refit_due(world: World, make_world: MakeWorld) -> None:
    for task in range(1, 20):
        world.human(task)
    world.refit()
    assert not refit.is_due(world.wiring, PROJECT)
    assert refit.is_due(make_world(TARGET_ERROR="0.05").wiring, PROJECT)


# What is learned


def test_verdicts_teach_and_all_open_tasks_are_decided_again(world: World) -> None:
    for task in range(1, 61):
        world.human(task)
    assert world.refit()
    state = world.state()
    assert state and state.verdicts == 60 and len(state.heads) == 1
    wanted = set(world.desk.wanted_patches())
    assert wanted == set(range(61, TASKS + 1)), "not those that people annotated"
    (found,) = report.read(world.wiring, PROJECT)
    assert found["tasks"] == TASKS
    assert found["estimate"]["basis"] == "people" and found["estimate"]["accuracy"] > 0.9


def test_the_same_verdicts_teach_the_same_again(world: World) -> None:
    for task in range(1, 41):
        world.human(task)
    world.refit()
    first, hard = world.state(), world.desk.hard()
    world.refit()
    again = world.state()
    assert first and again and first.to_json() == again.to_json()
    assert sorted(map(str, world.desk.hard())) == sorted(map(str, hard))


def test_only_what_shows_differently_is_patched(world: World) -> None:
    for task in range(1, 61):
        world.human(task)
    world.refit()
    store, name = world.wiring.evidence, world.control.name
    decided = {task: Shown((world.right(task),), 0.99, hard=False) for task in range(61, 240)}
    decided[100] = Shown((world.wrong(100),), 0.99, hard=False)
    store.show(PROJECT, name, world.tag, decided)
    world.wiring.redis.delete(f"aa:project:{PROJECT}:to_patch")
    world.refit()
    wanted = world.desk.wanted_patches()
    assert 100 in wanted and 240 in wanted
    assert len(wanted) < 60


def test_an_answer_to_another_text_is_not_learned(world: World) -> None:
    world.observe(tasks=range(1, 31))
    for task in range(1, 31):
        world.human(task)
    world.text = lambda task: "edited"  # type: ignore[method-assign]
    for task in range(31, 61):
        world.human(task)
    world.refit()
    state = world.state()
    assert state and state.verdicts == 30


def test_texts_that_the_committee_was_trained_on_are_left_out(world: World) -> None:
    card = Card("tag-2", world.tag, 1, "promoted", "", at=100.0)
    world.wiring.promotions(PROJECT).promote("tag-2", card, world.wiring.redis)
    world.observe("tag-2")
    for task in range(1, 61):
        world.human(task, at=50.0)
    for task in range(61, 101):
        world.human(task, at=150.0)
    assert world.refit()
    state = world.state("tag-2")
    kept = sum(held_out(world.text(task)) for task in range(1, 61))
    assert kept < 30
    assert state and state.verdicts == kept + 40


def test_few_honest_verdicts_teach_a_trained_committee_nothing_but_the_llm(world: World) -> None:
    card = Card("tag-2", world.tag, 1, "promoted", "", at=100.0)
    world.wiring.promotions(PROJECT).promote("tag-2", card, world.wiring.redis)
    world.observe("tag-2")
    for task in range(1, LEAST_TRAINED):
        world.human(task, at=150.0)
        world.llm(task, world.right(task), at=150.0)
    assert world.refit()
    state = world.state("tag-2")
    assert state and state.heads == () and state.verdicts == 0
    assert state.llm_accuracy > 0.9


def test_a_candidate_s_rule_is_learned_and_nothing_else_changes(world: World) -> None:
    wiring = world.wiring
    world.observe("tag-2")
    for task in range(1, 41):
        world.human(task, at=150.0)
    project = wiring.projects.get(PROJECT)
    assert project
    with wiring.lease("push:7") as lease:
        assert refit.refit_tag(wiring, project, "tag-2", lease)
    state = world.state("tag-2")
    assert state and state.verdicts == 40
    assert world.state() is None
    assert world.desk.waiting() == {"to_predict": 0, "to_patch": 0, "to_review": 0, "hard": 0}


def test_audits_teach_nothing_and_are_not_shown(make_world: MakeWorld) -> None:
    world = make_world(AUDIT_SHARE="0.3")
    world.observe()
    audited = audits(0.3)
    assert len(audited) > 40
    for task in range(1, TASKS + 1):
        if task <= 60 or task in audited:
            world.human(task)
    world.refit()
    state = world.state()
    assert state and state.verdicts == len(set(range(1, 61)) - set(audited))
    assert not set(world.desk.wanted_patches()) & set(audited)
    assert not {one.task_id for one in world.desk.hard()} & set(audited)
    (found,) = report.read(world.wiring, PROJECT)
    assert found["estimate"]["basis"] == "audits"
    learnable = _learnable(world.wiring, PROJECT, world.tag)
    assert learnable and not {task for task, _ in learnable} & set(audited)


# The LLM's answers


def test_a_verdict_that_the_committee_outweighs_is_revised_and_keeps_its_answer(
    world: World,
) -> None:
    for task in range(1, 101):
        world.human(task)
    for task in range(101, 141):
        world.llm(task, world.right(task) if task > 104 else world.wrong(task))
    waiting = world.pool.waiting()
    world.refit()
    verdicts = world.verdicts()
    assert world.pool.waiting() == waiting
    overruled = [v.task_id for v in verdicts.values() if v.answer != v.labels]
    assert overruled and set(overruled) <= {101, 102, 103, 104}
    assert all(v.chance is not None and 0 < v.chance <= 1 for v in verdicts.values())
    (found,) = report.read(world.wiring, PROJECT)
    assert found["llm_overridden"] == sorted(overruled)[:5]


def test_an_llm_worse_than_the_committee_is_asked_no_more_and_teaches_no_stage(
    world: World, provider: Provider
) -> None:
    provider.decide = answering(world, wrong=True)
    for task in range(1, 81):
        world.human(task)
    for task in range(1, 41):
        world.llm(task, world.wrong(task))
    for task in range(100, 110):
        world.llm(task, world.wrong(task))
        world.hard(task + 50)
    world.review()
    state = world.state()
    assert state and state.trust == "committee"
    assert provider.requests == []
    assert world.desk.waiting()["to_review"] == 0
    (error,) = [e for e in world.wiring.journal.errors() if e["where"] == "trust"]
    assert "80" not in error["message"] and "40" in error["message"]
    world.refit()
    assert [e["count"] for e in world.wiring.journal.errors() if e["where"] == "trust"] == [1]
    learnable = _learnable(world.wiring, PROJECT, world.tag)
    assert {verdict.source for verdict in learnable.values()} == {"human"}
    assert "not asked any more" in status.render(status.collect(world.wiring))


# The promise


def test_target_error_leaves_doubtful_labels_to_people(make_world: MakeWorld) -> None:
    world = make_world(TARGET_ERROR="0.02", AUDIT_SHARE="0.1", LLM_SHARE="0")
    world.observe()
    for task in range(1, 31):
        world.human(task)
    for task in audits(0.1):
        world.human(task)
    world.refit()
    state = world.state()
    assert state and state.accept_above is not None
    (found,) = report.read(world.wiring, PROJECT)
    assert "At most 2 % of the accepted labels wrong" in found["promise"]
    assert "not verified" in found["promise"]
    assert found["promise"] in status.render(status.collect(world.wiring))
    left = [one for one in world.desk.hard() if one.error == NOT_WORTH]
    assert all(one.gain < MIN_GAIN and one.confidence < state.accept_above for one in left)


@pytest.mark.parametrize(("target", "enough"), [("0.3", True), ("0.001", False)])
def test_the_meter_says_enough_when_audits_show_that_the_target_is_kept(
    make_world: MakeWorld, target: str, enough: bool
) -> None:
    world = make_world(TARGET_ERROR=target, AUDIT_SHARE="0.3")
    world.observe()
    assert "nothing was measured yet" in meter.collect(world.wiring, PROJECT)["why"]
    for task in {*range(1, 61), *audits(0.3)}:
        world.human(task)
    world.refit()
    found = json.loads(json.dumps(meter.collect(world.wiring, PROJECT)))
    assert found["enough"] is enough
    (now,) = found["now"]
    assert now["basis"] == "audits" and 0 <= now["hard"] <= 1
    assert now["low"] < now["accuracy"] <= now["high"]
    assert meter.advice(found) in status.render(status.collect(world.wiring))
