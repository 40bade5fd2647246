"""Batches end to end: both SDKs against a local provider, killed and refused in every place."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from provider import KEY, Provider, Scene, says
from redis import Redis
from redis.client import Pipeline
from spend import backend_usd
from test_reviewer import MOOD

from meta_controller.answers import Answers, answer_key
from meta_controller.anthropic_model import AnthropicModel
from meta_controller.batch_store import BatchStore
from meta_controller.batches import FIND_AFTER_S, GIVE_UP_S, POLL_S, Batches, Ended
from meta_controller.budget import Caps
from meta_controller.errors import Fatal
from meta_controller.language_model import Question
from meta_controller.ledger import Ledger
from meta_controller.openai_model import OpenAIModel
from meta_controller.prices import NANO, Price
from meta_controller.providers import batch_api

PRICE = Price(1.0, 5.0, True, 0.1, 1.25, batch_share=0.5)
HALF = PRICE.in_batches()


class Killed(Exception):
    """The process ends here."""


@dataclass
class Clock:
    """Time that a test moves."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


class Desk:
    """Batches with all that belongs to them; `die_at` numbers the write at which it is killed."""

    def __init__(self, redis: Redis, model: Any, caps: Caps, clock: Clock, pack: int) -> None:
        api = batch_api(model)
        assert api is not None
        self.redis, self.clock, self.model = redis, clock, model
        self.ledger = Ledger(redis, 1, caps, clock)
        self.answers, self.store = Answers(redis, 1), BatchStore(redis, 1)
        self.batches = Batches(
            model, api, self.store, self.ledger, self.answers, PRICE, pack, clock
        )
        self.writes = 0
        self.die_at = 0

    def transaction(self, write: Callable[[Pipeline], None]) -> None:
        self.writes += 1
        if self.writes == self.die_at:
            raise Killed
        with self.redis.pipeline() as pipe:
            write(pipe)
            pipe.execute()

    def submit(self, questions: list[Question]) -> int:
        return self.batches.submit(
            [(one, {"task": one.task_ids[0]}) for one in questions], self.transaction
        )

    def collect(self, after_s: float = POLL_S) -> list[Ended] | None:
        """Look at the one batch that is due after a while, and take it up."""
        self.clock.now += after_s
        (key,) = self.store.due(self.clock.now)
        batch = self.store.get(key)
        assert batch is not None
        ended = self.batches.collect(batch, self.transaction)
        if ended is not None:
            self.batches.forget(batch, self.transaction)
        return ended

    def over(self) -> bool:
        """Whether nothing is reserved or written down any more."""
        left = self.redis.hlen(self.ledger.inflight_key) + self.store.size()
        reserved = self.redis.hmget("aa:spend", "reserved_nano_usd", "reserved_tokens")
        return not left and {int(n or 0) for n in reserved} == {0}


Make = Callable[..., Desk]


@pytest.fixture(params=["anthropic", "openai"])
def make(request: pytest.FixtureRequest, redis: Redis, provider: Provider) -> Iterator[Make]:
    models: list[Any] = []
    clock = Clock()

    def build(caps: Caps = Caps(), pack: int = 1) -> Desk:  # noqa: B008 - it is frozen
        if request.param == "anthropic":
            models.append(AnthropicModel("claude-haiku-4-5", KEY, provider.url, 2.0))
        else:
            models.append(OpenAIModel("gpt-4o-mini", KEY, provider.url + "/v1", 2.0))
        return Desk(redis, models[-1], caps, clock, pack)

    provider.decide = answering
    clock.now = 1_790_000_000.0
    yield build
    for model in models:
        model.client.close()


def answering(body: dict[str, Any]) -> Scene:
    """A label for each text, alone or in a pack; odd numbers are negative."""
    asked = json.dumps(body["messages"])
    numbers = re.findall(r"text number (\d+)", asked)
    ids = re.findall(r'<sample-\w+ id=\\+"([^"\\]+)', asked)
    labels = ["negative" if int(number) % 2 else "positive" for number in numbers]
    if not ids:
        return says(labels[-1], cached=60)
    rows = [{"id": i, "label": one, "reason": "r"} for i, one in zip(ids, labels, strict=True)]
    return Scene(answer=json.dumps({"answers": rows}), sent=300, written=60, cached=60)


def questions(count: int) -> list[Question]:
    return [Question("mood", f"text number {i}.", MOOD, task_ids=(i,)) for i in range(count)]


def test_answers_come_at_half_the_price_and_are_stored(make: Make, provider: Provider) -> None:
    desk, asked = make(), questions(5)
    assert desk.submit(asked) == desk.store.size() == 5
    assert desk.collect() is None, "it is not over yet"
    assert desk.store.due(desk.clock.now) == []
    provider.batches.finish()
    ended = desk.collect() or []
    assert [one.sent.cargo["task"] for one in ended if one.answered] == [0, 1, 2, 3, 4]
    stored = [desk.answers.get(answer_key(desk.model, one)) for one in asked]
    assert [one.labels for one in stored if one] == [
        ("negative",) if i % 2 else ("positive",) for i in range(5)
    ]
    billed = sum(HALF.nano_usd(scene.tokens) for scene in provider.batches.billed)
    spend = desk.ledger.spend()
    assert round(spend.usd * NANO) == billed == 5 * 73_000
    assert (spend.calls, spend.verdicts, spend.tokens.cached) == (5, 5, 300)
    assert all(entry["run"].startswith("batch:") for entry in desk.ledger.entries())
    assert desk.over() and provider.calls == 0
    assert desk.submit(asked) == 0, "what is answered is not sent again"


def test_a_batch_of_packs_pays_the_prefix_once_for_several(make: Make, provider: Provider) -> None:
    desk = make(pack=4)
    assert desk.submit(questions(10)) == 3
    assert desk.store.size() == 10
    provider.batches.finish()
    ended = desk.collect() or []
    assert sum(one.answered for one in ended) == 10
    spend = desk.ledger.spend()
    assert (spend.calls, spend.verdicts, desk.over()) == (3, 10, True)
    for question in questions(10):
        reply = desk.answers.get(answer_key(desk.model, question))
        odd = question.task_ids[0] % 2
        assert reply and reply.labels == (("negative",) if odd else ("positive",))


def test_questions_on_their_way_are_not_sent_twice(make: Make) -> None:
    desk = make()
    assert desk.submit(questions(3)) == 3
    assert desk.submit(questions(5)) == 2


def test_no_more_is_sent_than_the_caps_allow(make: Make, provider: Provider) -> None:
    # The most that one question can cost in a batch is some 0.0068 USD.
    desk = make(Caps(0.03))
    assert desk.submit(questions(10)) == 4
    assert backend_usd(desk.redis) <= 0.03
    assert len(provider.batches.made[0].requests) == 4
    provider.batches.finish()
    assert len(desk.collect() or []) == 4
    assert make(Caps(0.001)).submit(questions(20)[10:]) == 0
    assert desk.over()


@pytest.mark.parametrize("die_at", [1, 2, 3], ids=["before", "before it is sent", "after"])
def test_a_kill_around_the_creation_pays_nothing_twice(
    make: Make, provider: Provider, die_at: int
) -> None:
    desk = make()
    desk.die_at = die_at
    with pytest.raises(Killed):
        desk.submit(questions(4))
    created = len(provider.batches.made)
    assert created == (die_at == 3)
    if die_at == 1:
        assert desk.over(), "nothing was written"
        return
    provider.batches.finish()
    after = make()  # another process
    ended = after.collect(FIND_AFTER_S)
    if created:
        assert ended is not None and all(one.answered for one in ended)
        assert after.ledger.spend().verdicts == 4
    else:
        assert ended is None
    assert after.over()
    assert len(provider.batches.made) == created, "it is found, not made again"


def test_a_creation_that_seemed_to_fail_is_found_again(make: Make, provider: Provider) -> None:
    desk = make()
    provider.batches.refuse, provider.batches.made_anyway = Scene(500), True
    assert desk.submit(questions(3)) == 3
    provider.batches.finish()
    assert len(desk.collect(FIND_AFTER_S) or []) == 3
    assert (desk.ledger.spend().verdicts, desk.over()) == (3, True)


def test_what_was_never_created_is_given_back(make: Make, provider: Provider) -> None:
    desk = make()
    provider.batches.refuse = Scene(503)
    assert desk.submit(questions(3)) == 3
    assert not desk.over()
    assert desk.collect(FIND_AFTER_S) is None
    assert (desk.over(), desk.ledger.spend().calls) == (True, 0)
    assert desk.submit(questions(3)) == 3


def test_anthropic_s_batches_of_others_are_told_apart_by_their_questions(
    redis: Redis, provider: Provider
) -> None:
    provider.decide = answering
    model = AnthropicModel("claude-haiku-4-5", KEY, provider.url, 2.0)
    desk = Desk(redis, model, Caps(), Clock(1_790_000_000.0), 1)
    desk.submit(questions(3))
    redis.flushall()  # that was another backend, with the same key
    provider.batches.refuse = Scene(500)
    desk.submit(questions(3))
    assert desk.collect(FIND_AFTER_S) is None
    assert not desk.over(), "one of the same size runs: it may be ours"
    provider.batches.finish()
    assert desk.collect() is None
    assert desk.over(), "it was not"
    model.client.close()


def test_a_provider_without_batches_says_so_and_nothing_is_reserved(
    make: Make, provider: Provider
) -> None:
    desk = make()
    provider.batches.refuse = Scene(404)
    with pytest.raises(Fatal, match="not found"):
        desk.submit(questions(3))
    assert (desk.over(), desk.ledger.spend().calls) == (True, 0)


@pytest.mark.parametrize("end", ["expired", "cancelled", "failed"])
def test_what_was_not_done_costs_nothing_and_is_asked_again(
    make: Make, provider: Provider, end: str
) -> None:
    desk = make()
    desk.submit(questions(3))
    provider.batches.finish(end)
    ended = desk.collect() or []
    assert len(ended) == 3 and not any(one.answered for one in ended)
    assert all(one.error and one.error.kind in (end, "expired") for one in ended)
    assert (desk.ledger.spend().usd, desk.over()) == (0.0, True)
    assert desk.submit(questions(3)) == 3


def test_each_question_of_a_batch_ends_by_itself(make: Make, provider: Provider) -> None:
    scenes = {
        1: Scene(500, code="api_error"),
        2: Scene(400, code="invalid_request_error"),
        3: says("Positive"),
        4: Scene(answer="no JSON"),
        5: Scene(0, code="expired"),
    }

    def decide(body: dict[str, Any]) -> Scene:
        number = int(re.findall(r"text number (\d+)", json.dumps(body))[-1])
        return scenes.get(number) or answering(body)

    provider.decide = decide
    desk = make()
    desk.submit(questions(6))
    provider.batches.finish()
    kinds = {
        one.sent.cargo["task"]: one.error.kind if one.error else "" for one in desk.collect() or []
    }
    assert kinds == {
        0: "", 1: "errored" if desk.model.provider == "anthropic" else "server error",
        2: "rejected", 3: "invalid answer", 4: "invalid answer", 5: "expired",
    }  # fmt: skip
    billed = sum(HALF.nano_usd(scene.tokens) for scene in provider.batches.billed)
    assert round(desk.ledger.spend().usd * NANO) == billed
    assert (desk.ledger.spend().calls, desk.over()) == (6, True)


def test_a_kill_while_answers_are_stored_settles_each_once(
    make: Make, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meta_controller.batches.TOGETHER", 2)
    desk = make()
    desk.submit(questions(7))
    provider.batches.finish()
    desk.writes, desk.die_at = 0, 3
    with pytest.raises(Killed):
        desk.collect()
    assert desk.ledger.spend().calls == 4
    again = make()
    assert sum(one.answered for one in again.collect(0.0) or []) == 7
    spend = again.ledger.spend()
    assert (spend.calls, spend.verdicts, again.over()) == (7, 7, True)


def test_a_batch_that_nobody_can_tell_about_is_charged_as_lost(
    make: Make, provider: Provider
) -> None:
    desk = make()
    desk.submit(questions(2))
    most = backend_usd(desk.redis)
    provider.batches.made.clear()
    with pytest.raises(Fatal, match="not found"):
        desk.collect()
    assert desk.store.due(desk.clock.now) == [], "it is not asked for at once again"
    ended = desk.collect(GIVE_UP_S + 1) or []
    assert [one.error.kind for one in ended if one.error] == ["lost", "lost"]
    assert desk.ledger.spend().usd == pytest.approx(most)
    assert desk.over()


def test_another_provider_is_not_asked_for_it(make: Make, redis: Redis, provider: Provider) -> None:
    desk = make()
    desk.submit(questions(2))
    desk.model.provider = "another"
    with pytest.raises(Fatal, match="set LLM_PROVIDER back"):
        desk.collect()
    assert not desk.over()


def test_a_page_of_html_is_no_result_and_is_asked_for_again(make: Make, provider: Provider) -> None:
    desk = make()
    desk.submit(questions(2))
    provider.batches.finish()
    provider.batches.garbled = True
    assert desk.collect() is None
    provider.batches.garbled = False
    assert sum(one.answered for one in desk.collect() or []) == 2
