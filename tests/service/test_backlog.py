"""What goes to the batch API and what does not, by the review job and the scheduler."""

from __future__ import annotations

import pytest
from provider import Provider, Scene, says
from world import PROJECT, TASKS, MakeWorld, World, answering

from backend import status
from backend.jobs.backlog import LEAST, off_key, people_key
from backend.scheduler import Scheduler
from meta_controller.batch_store import BatchStore
from meta_controller.ledger import Ledger

WAITING = 150


def push_world(make_world: MakeWorld, provider: Provider, **more: str) -> World:
    """A project in push mode in which every hard sample is worth a call."""
    more = {
        "DECISION_RULE": "paper",
        "LLM_SHARE": "1",
        "LLM_MODEL": "gpt-4o-mini",
        "LLM_PRICE": "1,5",
        **more,
    }
    world = make_world(**more)
    world.observe()
    provider.decide = answering(world)
    world.wiring.projects.update(PROJECT, push=True)
    # A quarter of what is left may be asked in one round: more tasks, larger rounds.
    world.wiring.projects.update(PROJECT, tasks=4 * TASKS)
    for task in range(1, WAITING + 1):
        world.hard(task, gain=0.3)
    return world


def fall_due(world: World) -> None:
    store = BatchStore(world.wiring.redis, PROJECT)
    for key in world.wiring.redis.zrange(store.due_key, 0, -1):
        world.wiring.redis.zadd(store.due_key, {str(key): 1.0})


def test_a_backlog_waits_for_its_batch_and_ends_as_verdicts(
    make_world: MakeWorld, provider: Provider
) -> None:
    world = push_world(make_world, provider)
    world.review()
    (batch,) = provider.batches.made
    assert (provider.calls, len(batch.requests)) == (0, WAITING)
    assert world.verdicts() == {}
    assert ("review", PROJECT) not in Scheduler(world.wiring).tick()
    world.hard(WAITING + 1, gain=0.3)
    world.review()
    assert provider.calls == 0, "while a batch is on its way nothing else is asked"
    provider.batches.finish()
    fall_due(world)
    assert ("review", PROJECT) in Scheduler(world.wiring).tick()
    world.review()
    found = world.verdicts()
    assert len(found) == WAITING + 1
    assert all(verdict.labels == (world.right(task),) for task, verdict in found.items())
    assert provider.calls == 1, "the one that came later is asked directly"
    assert world.desk.waiting()["hard"] == 0
    ledger = Ledger(world.wiring.redis, PROJECT)
    assert ledger.spend().usd == pytest.approx((WAITING / 2 + 1) * 0.0002)
    assert ledger.spend().verdicts == WAITING + 1


def test_batches_hold_packs_where_calls_would(make_world: MakeWorld, provider: Provider) -> None:
    world = push_world(make_world, provider, LLM_PACK="6")
    world.review()
    (batch,) = provider.batches.made
    assert len(batch.requests) == WAITING / 6


@pytest.mark.parametrize(
    ("why", "more"),
    [
        ("people", {}),
        ("live", {}),
        ("few", {}),
        ("never", {"LLM_BATCH": "never"}),
        ("no cheaper", {"LLM_MODEL": "qwen3"}),
        ("drawn", {"LLM_SAMPLES": "2"}),
    ],
)
def test_somebody_waiting_is_answered_directly(
    make_world: MakeWorld, provider: Provider, why: str, more: dict[str, str]
) -> None:
    world = push_world(make_world, provider, **more)
    if why == "people":
        world.wiring.redis.set(people_key(PROJECT), 1)
    if why == "live":
        world.wiring.projects.update(PROJECT, push=False)
    if why == "few":
        for task in range(LEAST, WAITING + 1):
            world.desk.settle_hard([f"{task}:sentiment"])
    waiting = world.desk.waiting()["to_review"]
    world.review()
    assert provider.batches.made == []
    assert len(world.verdicts()) == waiting == (LEAST - 1 if why == "few" else WAITING)


def test_a_server_without_batches_is_noted_once_and_asked_directly(
    make_world: MakeWorld, provider: Provider
) -> None:
    world = push_world(make_world, provider)
    provider.batches.refuse = Scene(404)
    world.review()
    assert len(world.verdicts()) == provider.calls == WAITING
    (error,) = world.wiring.journal.errors()
    assert "asked directly for a day" in error["message"]
    assert world.wiring.redis.ttl(off_key(PROJECT)) > 86_000


def test_an_expired_batch_s_samples_are_asked_directly(
    make_world: MakeWorld, provider: Provider
) -> None:
    world = push_world(make_world, provider)
    world.review()
    provider.batches.finish("expired")
    fall_due(world)
    world.review()
    assert len(world.verdicts()) == provider.calls == WAITING
    assert len(provider.batches.made) == 1, "batches rest for a day"
    spend = Ledger(world.wiring.redis, PROJECT).spend()
    assert spend.failures == {"expired": WAITING}
    assert spend.usd == pytest.approx(WAITING * 0.0002)


def test_what_a_batch_cannot_settle_is_left_to_people_or_asked_again(
    make_world: MakeWorld, provider: Provider
) -> None:
    world = push_world(make_world, provider)
    world.review()
    right = answering(world)
    left = iter([Scene(stop="content_filter"), Scene(500), Scene(400), says("unsure")])
    provider.decide = lambda body: next(left, None) or right(body)
    provider.batches.finish()
    fall_due(world)
    world.review()
    assert len(world.verdicts()) == WAITING - 2
    errors = sorted(sample.error for sample in world.desk.hard())
    assert len(errors) == 2 and "refusal" in errors[1] and errors[0] == "The LLM is unsure"
    assert provider.calls == 2, "what failed and what was rejected is asked directly"


def test_what_people_answered_meanwhile_is_theirs(
    make_world: MakeWorld, provider: Provider
) -> None:
    world = push_world(make_world, provider)
    world.review()
    world.human(1)
    world.desk.settle_hard(["1:sentiment"])
    provider.batches.finish()
    fall_due(world)
    world.review()
    assert 1 not in world.verdicts()
    assert len(world.verdicts()) == WAITING - 1


def test_a_batch_counts_as_asked_in_the_allowance(
    make_world: MakeWorld, provider: Provider
) -> None:
    world = push_world(make_world, provider)
    world.review()
    (project,) = status.collect(world.wiring)["projects"]
    assert project["asking"]["spent"] == WAITING
    assert f"{WAITING} questions are with the provider's batch API" in status.render(
        status.collect(world.wiring)
    )
