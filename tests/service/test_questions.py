"""What the LLM is asked, in which order and how much, on a real Redis with made-up evidence."""

from __future__ import annotations

from provider import Provider, says
from world import PROJECT, TASKS, MakeWorld, answering, asked

from backend import status
from backend.jobs.relabel import NOT_WORTH
from backend.scheduler import Scheduler
from specialists.evidence import Evidence
from specialists.value_rule import MIN_GAIN


def test_the_best_questions_are_asked_first_and_no_more_than_llm_share(
    make_world: MakeWorld, provider: Provider
) -> None:
    world = make_world(LLM_SHARE="0.05")
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
    assert "LLM_SHARE is used up (12 of 12 questions)" in told
    world.review()
    assert len(provider.requests) == 12


def test_while_an_import_goes_on_the_calls_keep_pace_with_it(
    make_world: MakeWorld, provider: Provider
) -> None:
    world = make_world(LLM_SHARE="0.5")
    world.wiring.projects.update(PROJECT, push=True)
    world.observe(tasks=range(1, 61))  # a quarter of the tasks
    world.desk.want_predictions(range(61, TASKS + 1))
    provider.decide = answering(world)
    for task in range(1, 61):
        world.hard(task, gain=0.3)
    world.review()
    assert len(provider.requests) <= 0.7 * 0.5 * 60
    assert ("review", PROJECT) not in Scheduler(world.wiring).tick()


def test_what_is_not_worth_a_call_is_left_to_people(
    make_world: MakeWorld, provider: Provider
) -> None:
    world = make_world()
    world.observe()
    world.hard(1, gain=MIN_GAIN / 2)
    world.review()
    assert provider.requests == []
    (sample,) = world.desk.hard()
    assert sample.error == NOT_WORTH
    assert world.desk.to_review() == []


def test_the_paper_s_rule_asks_about_every_hard_sample(
    make_world: MakeWorld, provider: Provider
) -> None:
    world = make_world(DECISION_RULE="paper", LLM_SHARE="1")
    world.observe()
    provider.decide = answering(world)
    for task in range(1, 21):
        world.hard(task, gain=0.0)
    world.review()
    assert len(provider.requests) == 20
    assert {v.chance for v in world.verdicts().values()} == {None}
    assert all(v.labels == (world.right(v.task_id),) for v in world.verdicts().values())


def test_answers_are_fused_with_the_stored_votes(make_world: MakeWorld, provider: Provider) -> None:
    world = make_world(LLM_SHARE="1")
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
    make_world: MakeWorld, provider: Provider
) -> None:
    world = make_world(LLM_SHARE="0.1")  # 24 calls, 6 of them probes
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
    make_world: MakeWorld, provider: Provider
) -> None:
    world = make_world(LLM_SHARE="0.05")
    world.observe()
    provider.decide = answering(world)
    for task in range(1, 41):
        world.hard(task, gain=0.3 if task <= 20 else 0.1)
    rows = world.wiring.evidence.read(PROJECT, world.control.name, world.tag, range(1, 41))
    votes = {row.task_id: Evidence.unpack([row.evidence]).votes[0] for row in rows}
    unanimous = [task for task, said in votes.items() if said.mean(axis=0).max() > 0.55]
    world.review()
    assert len(unanimous) > 3
    assert set(asked(provider)[:3]) <= set(unanimous)


def test_an_unsure_answer_is_counted_and_not_asked_for_again(
    make_world: MakeWorld, provider: Provider
) -> None:
    world = make_world(LLM_SHARE="1")
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


def test_what_people_answered_meanwhile_is_not_asked(
    make_world: MakeWorld, provider: Provider
) -> None:
    world = make_world(LLM_SHARE="0.004")  # 0.96 of a call: no probe either
    world.observe()
    world.hard(1)
    world.human(1)
    world.review()
    assert provider.requests == []
    assert world.desk.hard() == []
