"""What `python -m backend estimate` says, and that a run then takes what it said."""

from __future__ import annotations

import pytest
from provider import Provider, says
from world import PROJECT, TASKS, MakeWorld, World, answering

from backend.estimate import ENOUGH, WRITTEN, Estimate, estimate, render
from meta_controller.ledger import Ledger
from meta_controller.prices import Price
from meta_controller.prompt import build_prompt

PAPER = {"DECISION_RULE": "paper", "LLM_SHARE": "1", "LLM_MODEL": "gpt-4o-mini"}


def reckon(world: World) -> tuple[Estimate, str]:
    project = world.wiring.projects.get(PROJECT)
    assert project
    found = estimate(world.wiring, project)
    return found, render(world.wiring, project, found)


def test_before_anything_is_known_it_is_what_the_settings_allow(make_world: MakeWorld) -> None:
    world = make_world(LLM_SHARE="0.25", LLM_MODEL="my-own", LLM_BASE_URL="https://example.org/v1")
    found, told = reckon(world)
    assert found.samples == (0, TASKS / 4)
    assert "no task is predicted yet: up to what LLM_SHARE allows" in told
    assert "openai my-own: price unknown, bounded in tokens" in told


def test_samples_follow_the_hard_share_and_tokens_the_project_s_own_texts(
    make_world: MakeWorld, provider: Provider
) -> None:
    world = make_world(**PAPER, LLM_PRICE="1,5", LLM_BUDGET_USD="2")
    world.wiring.projects.update(PROJECT, tasks=2 * TASKS)
    world.observe()
    for task in range(1, 61):
        world.hard(task)
    found, told = reckon(world)
    # 60 of 240 are hard; of 240 that are still to come as many, a quarter more or less.
    assert found.samples == (60 + 48, 60 + 75)
    assert found.written == (108 * WRITTEN[0], 135 * WRITTEN[1])
    question = f"{TASKS} decided tasks; {2 * TASKS} are expected"
    assert "60 hard samples wait" in told and question in told
    assert "the prompts of 60 texts of the project" in told and "a prior of 30 to 150" in told
    assert "USD directly" in told and "USD in batches, at LLM_PRICE" in told
    assert "LLM_BUDGET_USD leaves 2 USD" in told
    low, high = found.usd(Price(1, 5, True))
    assert 0 < low < high
    half = found.usd(Price(1, 5, True, batch_share=0.5).in_batches())
    assert half == (pytest.approx(low / 2, rel=1e-6), pytest.approx(high / 2, rel=1e-6))


def test_a_text_takes_what_its_prompt_has_in_letters(make_world: MakeWorld) -> None:
    world = make_world(**PAPER)
    world.observe()
    world.hard(1)
    found, _ = reckon(world)
    from meta_controller.language_model import Question

    prompt = build_prompt(Question("sentiment", world.text(1), world.control.labels))
    chars = len(prompt.system) + len(prompt.sample) + len(str(prompt.schema))
    assert found.sent[0] == pytest.approx(chars / 4.5) and found.samples == (1, 1)


def test_packs_need_fewer_tokens_a_text(make_world: MakeWorld) -> None:
    sent = []
    for pack in ("1", "6"):
        world = make_world(**PAPER, LLM_PACK=pack)
        world.observe()
        for task in range(1, 31):
            world.hard(task)
        sent.append(reckon(world)[0].sent[1])
    assert sent[1] < sent[0] / 2


def test_a_run_takes_what_was_told(make_world: MakeWorld, provider: Provider) -> None:
    world = make_world(**PAPER, LLM_PRICE="1,5")
    world.observe()
    provider.decide = answering(world)
    for task in range(1, ENOUGH + 1):
        world.hard(task)
    world.review()
    for task in range(101, 141):
        world.hard(task)
    found, told = reckon(world)
    assert f"means of {ENOUGH} answers in the ledger" in told
    ledger = Ledger(world.wiring.redis, PROJECT)
    before = ledger.spend()
    world.review()
    after = ledger.spend()
    low, high = found.usd(Price(1, 5, True))
    assert found.samples[0] <= after.calls - before.calls <= found.samples[1]
    assert found.sent[0] <= after.tokens.sent - before.tokens.sent <= found.sent[1]
    assert low <= after.usd - before.usd <= high


def test_the_budget_bounds_it(make_world: MakeWorld, provider: Provider) -> None:
    world = make_world(**PAPER, LLM_PRICE="1,5", LLM_BUDGET_PROJECT_USD="0.02")
    world.observe()
    provider.decide = lambda body: says("neutral")
    for task in range(1, 11):
        world.hard(task)
    world.review()
    for task in range(101, 241):
        world.hard(task)
    found, told = reckon(world)
    assert found.samples == (90, 90), "a call costs 0.0002 USD, and 0.018 are left"
    assert "LLM_BUDGET_PROJECT_USD allows 90 more" in told
