"""Refits and reviews on a real Redis, with made-up evidence: what is learned, asked and shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from provider import Provider, says
from redis import Redis
from world import PROJECT, TASKS, World, answering, asked, audits, settings

from backend import report, status
from backend.evidence_store import Shown
from backend.jobs import refit
from backend.jobs.relabel import NOT_WORTH
from backend.jobs.train import _learnable
from backend.scheduler import Scheduler
from backend.wiring import Wiring
from specialists.evidence import Evidence
from specialists.value_rule import MIN_GAIN
from training.card import Card
from training.gate import held_out

Make = Callable[..., World]


@pytest.fixture
def make(redis: Redis, redis_socket: str, tmp_path: Path, provider: Provider) -> Iterator[Make]:
    made: list[Wiring] = []

    def build(**more: str) -> World:
        made.append(Wiring(settings(redis_socket, tmp_path, provider, **more)))
        return World(made[-1])

    yield build
    for wiring in made:
        wiring.evidence.close()
        wiring.redis.close()
        wiring.raw_redis.close()


@pytest.fixture
def world(make: Make) -> World:
    made = make()
    made.observe()
    return made


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


def test_a_refit_with_nothing_to_learn_from_is_not_due_again(make: Make) -> None:
    world = make()  # no evidence at all
    for task in range(1, 20):
        world.human(task)
    assert not world.refit()
    assert not refit.is_due(world.wiring, PROJECT)


def test_a_new_target_error_makes_a_refit_due(world: World, make: Make) -> None:
    for task in range(1, 20):
        world.human(task)
    world.refit()
    assert not refit.is_due(world.wiring, PROJECT)
    assert refit.is_due(make(TARGET_ERROR="0.05").wiring, PROJECT)


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
    for task in range(1, refit.LEAST_TRAINED):
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


def test_audits_teach_nothing_and_are_not_shown(make: Make) -> None:
    world = make(AUDIT_SHARE="0.3")
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


def test_the_best_questions_are_asked_first_and_no_more_than_llm_share(
    make: Make, provider: Provider
) -> None:
    world = make(LLM_SHARE="0.05")
    world.observe()
    world.believe_the_llm()
    provider.decide = answering(world)
    for task in range(1, 41):
        world.hard(task, gain=0.01 + task / 1000)
    world.review()
    assert len(provider.requests) == 12  # 5 % of 240
    # Three in the first round of four; a refit comes after eight.
    assert asked(provider)[:3] == [40, 39, 38]
    waiting = world.desk.waiting()
    assert waiting["to_review"] > 0
    assert ("review", PROJECT) not in Scheduler(world.wiring).tick()
    told = status.render(status.collect(world.wiring))
    assert "LLM_SHARE or LLM_BUDGET_USD is used up (12 of 12 calls)" in told
    world.review()
    assert len(provider.requests) == 12


def test_while_an_import_goes_on_the_calls_keep_pace_with_it(
    make: Make, provider: Provider
) -> None:
    world = make(LLM_SHARE="0.5")
    world.wiring.projects.update(PROJECT, push=True)
    world.observe(tasks=range(1, 61))  # a quarter of the tasks
    world.desk.want_predictions(range(61, TASKS + 1))
    provider.decide = answering(world)
    for task in range(1, 61):
        world.hard(task, gain=0.3)
    world.review()
    assert len(provider.requests) <= 0.7 * 0.5 * 60
    assert ("review", PROJECT) not in Scheduler(world.wiring).tick()


def test_what_is_not_worth_a_call_is_left_to_people(make: Make, provider: Provider) -> None:
    world = make()
    world.observe()
    world.hard(1, gain=MIN_GAIN / 2)
    world.review()
    assert provider.requests == []
    (sample,) = world.desk.hard()
    assert sample.error == NOT_WORTH
    assert world.desk.to_review() == []


def test_the_paper_s_rule_asks_about_every_hard_sample(make: Make, provider: Provider) -> None:
    world = make(DECISION_RULE="paper", LLM_SHARE="1")
    world.observe()
    provider.decide = answering(world)
    for task in range(1, 21):
        world.hard(task, gain=0.0)
    world.review()
    assert len(provider.requests) == 20
    assert {v.chance for v in world.verdicts().values()} == {None}
    assert all(v.labels == (world.right(v.task_id),) for v in world.verdicts().values())


def test_answers_are_fused_with_the_stored_votes(make: Make, provider: Provider) -> None:
    world = make(LLM_SHARE="1")
    world.observe(tasks=range(1, 20))
    provider.decide = answering(world)
    world.hard(1)
    world.hard(100)  # nothing is stored of this one
    world.review()
    verdicts = world.verdicts()
    assert verdicts[1].answer == (world.right(1),)
    assert verdicts[1].chance and 0.5 < verdicts[1].chance < 1
    assert verdicts[100].chance is None and verdicts[100].labels == (world.right(100),)
    assert world.desk.hard() == []


def test_people_s_texts_are_asked_to_measure_the_llm_and_not_shown(
    make: Make, provider: Provider
) -> None:
    world = make(LLM_SHARE="0.1")  # 24 calls, 6 of them probes
    world.observe()
    provider.decide = answering(world)
    for task in range(1, 8):
        world.human(task)
    waiting = world.pool.waiting()
    world.hard(200, gain=0.3)
    world.review()
    probes = asked(provider)[:6]
    assert len(set(probes)) == 6 and max(probes) < 8
    assert not set(world.desk.wanted_patches()) & set(probes)
    others = asked(provider)[6:]
    assert others and min(others) > 7
    assert world.pool.waiting() == waiting + len(others), "probes teach no stage"
    world.hard(201, gain=0.3)
    world.review()
    assert len([task for task in asked(provider) if task < 8]) == 6


def test_an_unproven_llm_is_first_asked_what_the_committee_is_sure_of(
    make: Make, provider: Provider
) -> None:
    world = make(LLM_SHARE="0.05")
    world.observe()
    provider.decide = answering(world)
    for task in range(1, 41):
        world.hard(task, gain=0.3 if task <= 20 else 0.1)
    rows = world.wiring.evidence.read(PROJECT, world.control.name, world.tag, range(1, 41))
    votes = {row.task_id: Evidence.from_bytes(row.evidence).votes[0] for row in rows}
    unanimous = [task for task, said in votes.items() if said.mean(axis=0).max() > 0.55]
    world.review()
    assert len(unanimous) > 3
    assert set(asked(provider)[:3]) <= set(unanimous)


def test_an_unsure_answer_is_counted_and_not_asked_for_again(
    make: Make, provider: Provider
) -> None:
    world = make(LLM_SHARE="1")
    world.observe()
    provider.decide = lambda body: says("unsure", "could be both")
    world.hard(1)
    world.review()
    assert [one.error for one in world.desk.hard()] == ["The LLM is unsure"]
    world.hard(1)  # predicted again, and hard again
    world.review()
    assert asked(provider) == [1]
    assert world.desk.to_review() == []
    for task in range(100, 140):
        world.human(task)
    world.refit()
    state = world.state()
    assert state and state.answered < 0.95


def test_what_people_answered_meanwhile_is_not_asked(make: Make, provider: Provider) -> None:
    world = make(LLM_SHARE="0.004")  # 0.96 of a call: no probe either
    world.observe()
    world.hard(1)
    world.human(1)
    world.review()
    assert provider.requests == []
    assert world.desk.hard() == []


# The promise


def test_target_error_leaves_doubtful_labels_to_people(make: Make) -> None:
    world = make(TARGET_ERROR="0.02", AUDIT_SHARE="0.1", LLM_SHARE="0")
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
