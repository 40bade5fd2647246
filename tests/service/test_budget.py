"""The caps on a real Redis: each binds, none is passed, and a call counts on its own day."""

from __future__ import annotations

import threading

import pytest
from provider import Provider
from redis import Redis
from test_ledger import ASKED, MAX, Nobody, reserve, settle
from world import PROJECT, MakeWorld, answering

from backend import status
from backend.pauses import paused_key
from meta_controller.budget import DAY_S, Caps
from meta_controller.errors import BudgetExceeded
from meta_controller.language_model import NO_TOKENS, Tokens
from meta_controller.ledger import Call, Ledger
from meta_controller.prices import Price

NOON = 20_000 * DAY_S + 43_200.0  # 2024-10-04, UTC


class Clock:
    """A time that a test sets."""

    now = NOON

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_the_day_s_cap_binds_all_projects_until_midnight(redis: Redis, clock: Clock) -> None:
    caps = Caps(day_usd=0.0125)  # two calls of at most 0.006 USD
    here, there = Ledger(redis, 1, caps, clock), Ledger(redis, 2, caps, clock)
    reserve(here)
    reserve(there)
    with pytest.raises(BudgetExceeded) as refused:
        reserve(here)
    assert "raise LLM_BUDGET_DAY_USD, or wait until 2024-10-05 00:00 UTC" in str(refused.value)
    clock.now += 43_200
    assert reserve(here).nano_usd == 6_000_000


def test_a_call_is_settled_on_the_day_on_which_it_was_reserved(redis: Redis, clock: Clock) -> None:
    ledger = Ledger(redis, 1, Caps(day_usd=0.0125), clock)
    late = reserve(ledger)
    clock.now += DAY_S
    settle(redis, ledger, late)
    yesterday, today = ledger.budget.day_key(NOON), ledger.budget.day_key(clock.now)
    assert redis.hgetall(yesterday) == {"nano_usd": "200000", "reserved_nano_usd": "0"}
    assert not redis.exists(today)
    assert redis.ttl(yesterday) > 30 * DAY_S, "a batch may end days later"


def test_a_lost_call_is_charged_to_its_own_day(redis: Redis, clock: Clock) -> None:
    ledger = Ledger(redis, 1, clock=clock)
    reserve(ledger, "dead")
    clock.now += DAY_S
    ledger.charge_lost(lambda run: False)
    assert redis.hget(ledger.budget.day_key(NOON), "nano_usd") == "6000000"


def test_a_project_s_cap_leaves_the_others_theirs(redis: Redis) -> None:
    caps = Caps(project_usd=0.007)
    reserve(Ledger(redis, 1, caps))
    with pytest.raises(BudgetExceeded, match="raise LLM_BUDGET_PROJECT_USD\\.$"):
        reserve(Ledger(redis, 1, caps))
    reserve(Ledger(redis, 2, caps))


def test_tokens_bind_where_no_price_is_known(redis: Redis) -> None:
    ledger = Ledger(redis, 1, Caps(tokens=4100))
    calls = [ledger.reserve(ASKED, Nobody(), Price(), MAX) for _ in range(2)]
    with pytest.raises(BudgetExceeded, match="at most 2000 tokens.*raise LLM_BUDGET_TOKENS"):
        ledger.reserve(ASKED, Nobody(), Price(), MAX)
    for call in calls:
        settle(redis, ledger, call)  # 120 tokens of 2,000
    ledger.reserve(ASKED, Nobody(), Price(), MAX)
    (bound,) = ledger.budget.bounds()
    assert (bound.used, bound.left, ledger.spend().usd) == (2240, 1860, 0.0)


def test_a_call_that_nobody_can_account_for_counts_all_its_tokens(redis: Redis) -> None:
    ledger = Ledger(redis, 1, Caps(tokens=10_000))
    call = reserve(ledger)
    with redis.pipeline() as pipe:
        ledger.settle(pipe, call, "timeout", NO_TOKENS, 60.0, in_full=True)
        pipe.execute()
    assert ledger.budget.bounds()[0].used == 2000
    assert ledger.spend().tokens == NO_TOKENS, "what it took is not made up"


def test_each_cap_tells_how_far_it_is_used(redis: Redis, clock: Clock) -> None:
    ledger = Ledger(redis, 1, Caps(1.0, 0.5, 0.25, 9000), clock)
    settle(redis, ledger, reserve(ledger))
    reserve(ledger)
    told = {one.setting: (one.unit, one.cap, round(one.used, 9)) for one in ledger.budget.bounds()}
    assert told == {
        "LLM_BUDGET_USD": ("USD", 1.0, 0.0062),
        "LLM_BUDGET_DAY_USD": ("USD", 0.5, 0.0062),
        "LLM_BUDGET_PROJECT_USD": ("USD", 0.25, 0.0062),
        "LLM_BUDGET_TOKENS": ("tokens", 9000, 2120),
    }


def test_what_was_never_sent_is_given_back_without_an_entry(redis: Redis) -> None:
    ledger = Ledger(redis, 1, Caps(0.007, 0.007, 0.007, 2000))
    call = reserve(ledger)
    for _ in range(2):
        with redis.pipeline() as pipe:
            ledger.release(pipe, call)
            pipe.execute()
    assert [one.used for one in ledger.budget.bounds()] == [0, 0, 0, 0]
    assert (ledger.entries(), ledger.spend().calls) == ([], 0)


def test_a_reservation_is_read_back_as_the_call_that_it_is(redis: Redis) -> None:
    ledger, price = Ledger(redis, 1), Price(1, 5, True, 0.1, 1.25, 0.5)
    call = ledger.reserve(ASKED, Nobody(), price, Tokens(7, 8, stored=7), "mine")
    reserve(ledger, "other")
    (found,) = ledger.held("mine")
    assert (found.id, found.price, found.nano_usd) == (call.id, price, call.nano_usd)
    assert ledger.holds([call, found]) == [call, found]


def test_reservations_from_before_days_and_tokens_counted_are_settled(redis: Redis) -> None:
    ledger = Ledger(redis, 1)
    old = '{"at": 1.0, "work": "review", "run": "dead", "nano_usd": 5000}'
    redis.hset(ledger.inflight_key, "old", old)
    redis.hset("aa:spend", mapping={"nano_usd": 1000, "reserved_nano_usd": 5000})
    assert ledger.charge_lost(lambda run: False) == 1
    assert redis.hmget("aa:spend", "nano_usd", "reserved_nano_usd") == ["6000", "0"]
    assert not redis.hexists(ledger.budget.day_key(1.0), "reserved_nano_usd")


@pytest.mark.parametrize(
    "caps",
    [Caps(0.06), Caps(day_usd=0.06), Caps(project_usd=0.06), Caps(tokens=20_000)],
    ids=["all", "day", "project", "tokens"],
)
def test_no_cap_is_passed_when_many_reserve_at_once(
    redis: Redis, redis_socket: str, caps: Caps
) -> None:
    granted: list[Call] = []

    def greedy() -> None:
        with Redis(unix_socket_path=redis_socket, decode_responses=True) as own:
            ledger = Ledger(own, 1, caps)
            try:
                while True:
                    granted.append(reserve(ledger))
            except BudgetExceeded:
                return

    threads = [threading.Thread(target=greedy) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(granted) == 10
    (bound,) = Ledger(redis, 1, caps).budget.bounds()
    assert bound.left == pytest.approx(0)


@pytest.mark.parametrize(
    ("cap", "told"),
    [
        ("LLM_BUDGET_DAY_USD", "wait until"),
        ("LLM_BUDGET_PROJECT_USD", "raise LLM_BUDGET_PROJECT_USD."),
        ("LLM_BUDGET_TOKENS", "tokens leaves no room"),
    ],
)
def test_at_a_cap_samples_stay_hard_and_status_says_which(
    make_world: MakeWorld, provider: Provider, cap: str, told: str
) -> None:
    # A call takes 120 tokens and is reserved at some 5,000 tokens or 0.012 USD.
    room = "9000" if cap == "LLM_BUDGET_TOKENS" else "0.02"
    world = make_world(DECISION_RULE="paper", LLM_SHARE="1", LLM_PRICE="1,5", **{cap: room})
    world.observe()
    provider.decide = answering(world)
    for task in range(1, 81):
        world.hard(task, gain=0.3)
    world.review()
    verdicts = len(world.verdicts())
    assert 0 < verdicts == provider.calls < 80
    assert world.desk.waiting()["hard"] == 80 - verdicts == world.desk.waiting()["to_review"]
    assert told in str(world.wiring.redis.get(paused_key(PROJECT)))
    lines = status.render(status.collect(world.wiring))
    assert f"asking pauses for some minutes: The LLM budget of {room}" in lines
    assert told in lines and f"  {cap}: " in lines
