"""The ledger on a real Redis: no call uncounted, none counted twice, the budget never passed."""

from __future__ import annotations

import threading

import pytest
from redis import Redis
from spend import backend_usd

from meta_controller.budget import Caps
from meta_controller.errors import BudgetExceeded
from meta_controller.language_model import NO_TOKENS, Completion, Prompt, Question, Reply, Tokens
from meta_controller.ledger import OTHERS_S, Call, Ledger, Purpose
from meta_controller.prices import Price

ASKED = Purpose("review", "mood", (4, 5))
PRICE = Price(1.0, 5.0, known=True)  # a call of (1000, 1000) tokens costs 0.006 USD
MAX, TOKENS = Tokens(1000, 1000), Tokens(100, 20, cached=60, stored=10)


class Nobody:
    """A model that is only named."""

    provider, model, base_url = "anthropic", "claude-haiku-4-5", ""

    def ask(self, question: Question) -> Reply:
        raise AssertionError("not asked here")

    def complete(self, prompt: Prompt) -> Completion:
        raise AssertionError("not asked here")


def reserve(ledger: Ledger, run: str = "run-1") -> Call:
    return ledger.reserve(ASKED, Nobody(), PRICE, MAX, run)


def settle(redis: Redis, ledger: Ledger, call: Call, outcome: str = "verdict") -> None:
    with redis.pipeline() as pipe:
        ledger.settle(pipe, call, outcome, TOKENS, 0.5)
        pipe.execute()


def test_a_settled_call_is_an_entry(redis: Redis) -> None:
    ledger = Ledger(redis, 7, clock=lambda: 1234.5)
    settle(redis, ledger, reserve(ledger))
    (entry,) = ledger.entries()
    assert entry.pop("prompt_version")
    assert entry == {
        "at": 1234.5, "work": "review", "task_ids": [4, 5], "control": "mood",
        "provider": "anthropic", "model": "claude-haiku-4-5",
        "price_known": True, "run": "run-1", "outcome": "verdict",
        "tokens_in": 100, "tokens_out": 20,
        "tokens_cached": 60, "tokens_stored": 10, "latency_s": 0.5, "usd": 0.0002,
    }  # fmt: skip
    assert redis.hlen("aa:project:7:inflight") == 0
    assert redis.hgetall("aa:spend") == {
        "nano_usd": "200000", "reserved_nano_usd": "0", "tokens": "120", "reserved_tokens": "0",
    }  # fmt: skip
    reserve(ledger)
    held = redis.hvals("aa:project:7:inflight") + redis.lrange("aa:project:7:ledger", 0, -1)
    assert len(held) == 2


def test_cached_tokens_are_charged_at_their_own_price(redis: Redis) -> None:
    ledger, price = Ledger(redis, 7), Price(1.0, 5.0, True, cached_share=0.1, stored_share=1.25)
    settle(redis, ledger, ledger.reserve(ASKED, Nobody(), price, MAX))
    (entry,) = ledger.entries()
    assert entry["usd"] == 0.0001485  # 30 + 60 / 10 + 10 * 1.25 tokens in, 20 out at five times
    assert ledger.spend().usd == entry["usd"]


def test_sums_from_before_caches_were_counted_are_still_read(redis: Redis) -> None:
    redis.hset("aa:project:7:spend", mapping={"calls": 2, "tokens_in": 50, "tokens_out": 7})
    assert Ledger(redis, 7).spend().tokens == Tokens(50, 7)


def test_the_sums_tell_outcomes_apart(redis: Redis) -> None:
    ledger = Ledger(redis, 7)
    for outcome in ("verdict", "verdict", "unsure", "timeout", "refusal", "refusal"):
        settle(redis, ledger, reserve(ledger), outcome)
    with redis.pipeline() as pipe:
        ledger.count_cached(pipe, 3)
        pipe.execute()
    spend = ledger.spend()
    assert (spend.calls, spend.verdicts, spend.unsure, spend.cached) == (6, 2, 1, 3)
    assert spend.failures == {"timeout": 1, "refusal": 2}
    assert spend.tokens == Tokens(600, 120, 360, 60)
    assert spend.tokens.cached_share == 0.6
    assert spend.usd == pytest.approx(6 * 0.0002)


def test_settling_twice_counts_once(redis: Redis) -> None:
    ledger = Ledger(redis, 7)
    call = reserve(ledger)
    settle(redis, ledger, call)
    settle(redis, ledger, call)
    assert ledger.spend().calls == len(ledger.entries()) == 1
    assert backend_usd(redis) == pytest.approx(0.0002)


def test_reservations_of_all_projects_count_against_the_budget(redis: Redis) -> None:
    here, there = Ledger(redis, 1, caps=Caps(0.0125)), Ledger(redis, 2, caps=Caps(0.0125))
    first = reserve(here)
    reserve(there)
    with pytest.raises(BudgetExceeded, match="0.0125 USD"):
        reserve(here)
    assert redis.hlen("aa:project:1:inflight") == 1
    settle(redis, here, first)  # gives back all but 0.0002 USD
    reserve(here)
    assert backend_usd(redis) == pytest.approx(0.0122)


def test_a_budget_of_nothing_allows_free_calls_only(redis: Redis) -> None:
    ledger = Ledger(redis, 1, caps=Caps(0.0))
    with pytest.raises(BudgetExceeded):
        reserve(ledger)
    settle(redis, ledger, ledger.reserve(ASKED, Nobody(), Price(known=True), MAX))
    assert (ledger.spend().calls, ledger.spend().usd) == (1, 0.0)


def test_the_budget_holds_when_many_reserve_at_once(redis: Redis) -> None:
    ledger = Ledger(redis, 1, caps=Caps(0.06))
    granted: list[Call] = []

    def greedy() -> None:
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
    assert backend_usd(redis) == pytest.approx(0.06)


def test_a_call_nobody_knows_the_price_of_is_charged_in_full(redis: Redis) -> None:
    ledger = Ledger(redis, 1)
    call = reserve(ledger)
    with redis.pipeline() as pipe:
        ledger.settle(pipe, call, "timeout", NO_TOKENS, 60.0, in_full=True)
        pipe.execute()
    assert ledger.spend().usd == pytest.approx(0.006)


def test_a_dead_runs_reservation_is_charged_once_and_a_living_ones_kept(redis: Redis) -> None:
    ledger = Ledger(redis, 1)
    killed, living = reserve(ledger, "dead"), reserve(ledger, "alive")
    assert ledger.charge_lost(lambda run: run == "alive") == 1
    assert ledger.charge_lost(lambda run: run == "alive") == 0
    settle(redis, ledger, killed)  # a zombie's settlement comes too late
    assert ledger.spend().failures == {"lost": 1}
    assert ledger.spend().usd == pytest.approx(0.006)
    assert list(redis.hgetall("aa:project:1:inflight")) == [living.id]
    assert backend_usd(redis) == pytest.approx(0.012)


def test_other_work_s_reservation_is_lost_when_no_call_can_take_so_long(redis: Redis) -> None:
    now = 1000.0
    ledger = Ledger(redis, 1, clock=lambda: now)
    ledger.reserve(Purpose("selection"), Nobody(), PRICE, MAX, "a run of its own")
    assert ledger.charge_lost(lambda run: False) == 0
    now += OTHERS_S
    assert ledger.charge_lost(lambda run: False) == 1


def test_the_newest_entries_are_returned(redis: Redis) -> None:
    ledger = Ledger(redis, 1)
    for outcome in ("a", "b", "c"):
        settle(redis, ledger, reserve(ledger), outcome)
    assert [entry["outcome"] for entry in ledger.entries(last=2)] == ["b", "c"]
    assert ledger.entries(last=0) == []


def test_an_empty_ledger_has_spent_nothing(redis: Redis) -> None:
    ledger = Ledger(redis, 1)
    assert (ledger.spend().calls, ledger.spend().usd, backend_usd(redis)) == (0, 0, 0)
