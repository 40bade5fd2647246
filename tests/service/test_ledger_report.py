"""What `python -m backend ledger` says of a real ledger."""

from __future__ import annotations

import csv
import io

import pytest
from provider import Provider, says
from world import PROJECT, TASKS, MakeWorld, World

from backend import ledger_report
from meta_controller.batch_store import RUN
from meta_controller.language_model import Tokens
from meta_controller.ledger import Ledger, Purpose
from meta_controller.prices import cheapest_batch, price_of


class Model:
    """A model that is only named."""

    provider, base_url = "anthropic", ""

    def __init__(self, model: str) -> None:
        self.model = model


def pay(world: World, model: str, tokens: Tokens, run: str = "", outcome: str = "verdict") -> None:
    """One call about two texts, as the reviewer would make it."""
    ledger, price = Ledger(world.wiring.redis, PROJECT), price_of("anthropic", model)
    if run:
        price = price.in_batches()
    purpose = Purpose("review", "sentiment", (1, 2))
    call = ledger.reserve(purpose, Model(model), price, Tokens(9000, 900), run)  # type: ignore[arg-type]
    with world.wiring.redis.pipeline() as pipe:
        ledger.settle(pipe, call, outcome, tokens, 0.1)
        ledger.count_more(pipe, {"verdict": 1} if outcome == "verdict" else {})
        pipe.execute()


@pytest.fixture
def paid(make_world: MakeWorld) -> World:
    world = make_world()
    for _ in range(3):
        pay(world, "claude-haiku-4-5", Tokens(1000, 100, cached=800))
    pay(world, "claude-haiku-4-5", Tokens(1000, 100, stored=800), run=f"{RUN}x")
    pay(world, "my-own", Tokens(400, 40), outcome="refusal")
    return world


def test_spend_is_told_by_project_and_model(paid: World) -> None:
    (account,) = ledger_report.collect(paid.wiring)
    known, unknown = account.rows
    assert (known.calls, known.in_batches, known.questions) == (4, 1, 8)
    assert (known.tokens_sent, known.tokens_cached, known.tokens_stored) == (4000, 2400, 800)
    # 200 + 80 tokens at 1 USD and 100 at 5, three times; half of 200 + 1000 and 100.
    assert known.usd == pytest.approx((3 * 780 + (200 + 1000 + 500) / 2) / 1e6)
    assert (unknown.model, unknown.price_known, unknown.usd) == ("my-own", False, 0.0)
    assert account.spend.usd == pytest.approx(known.usd)
    told = ledger_report.render([account])
    assert "8 verdicts" in told and "60.0% read from the provider's cache" in told
    assert "my-own: price unknown" in told and "1 refusal" in told


def test_what_asking_about_everything_would_cost(paid: World) -> None:
    (account,) = ledger_report.collect(paid.wiring)
    assert account.tasks == TASKS
    assert account.usd_everything == pytest.approx(TASKS * account.spend.usd / 8)
    mean = Tokens(550, 55)
    name, price = cheapest_batch(mean)
    assert (name, account.cheapest) == ("gpt-5-nano", "gpt-5-nano")
    assert account.usd_cheapest == pytest.approx(TASKS * price.nano_usd(mean) / 1e9)
    assert f"asking about all {TASKS} tasks" in ledger_report.render([account])


def test_the_csv_has_a_line_for_each_project_and_model(paid: World) -> None:
    out = io.StringIO()
    ledger_report.write_csv(ledger_report.collect(paid.wiring, PROJECT), out)
    rows = list(csv.DictReader(io.StringIO(out.getvalue())))
    assert [(row["project"], row["model"], row["calls"]) for row in rows] == [
        (str(PROJECT), "claude-haiku-4-5", "4"),
        (str(PROJECT), "my-own", "1"),
    ]
    assert rows[0]["tokens_cached"] == "2400" and float(rows[0]["usd"]) > 0


def test_entries_from_before_caches_were_counted_are_read(make_world: MakeWorld) -> None:
    world = make_world()
    ledger = Ledger(world.wiring.redis, PROJECT)
    world.wiring.redis.rpush(
        ledger.ledger_key,
        '{"provider": "openai", "model": "m", "price_known": true, "run": "", "task_ids": [1],'
        ' "tokens_in": 5, "tokens_out": 6, "usd": 0.5}',
    )
    (account,) = ledger_report.collect(world.wiring, PROJECT)
    assert (account.rows[0].tokens_sent, account.rows[0].tokens_cached) == (5, 0)


def test_nothing_asked_is_nothing_told(make_world: MakeWorld) -> None:
    assert ledger_report.render(ledger_report.collect(make_world().wiring)) == (
        "The LLM was never asked."
    )


def test_a_review_is_found_in_it(make_world: MakeWorld, provider: Provider) -> None:
    world = make_world(DECISION_RULE="paper", LLM_SHARE="1", LLM_PRICE="1,5")
    world.observe()
    provider.decide = lambda body: says("neutral", cached=70)
    for task in range(1, 6):
        world.hard(task, gain=0.3)
    world.review()
    (account,) = ledger_report.collect(world.wiring)
    assert (account.rows[0].calls, account.rows[0].tokens_cached) == (5, 350)
    assert account.spend.usd == pytest.approx(5 * 0.0002)  # of this model no cached price is known
