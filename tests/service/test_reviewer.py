"""The reviewer end to end: real SDK clients, a failing local provider, a real Redis."""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from provider import KEY, Provider, Scene, says
from redis import Redis
from redis.client import Pipeline
from spend import backend_usd

from meta_controller import reviewer as reviewer_module
from meta_controller.answers import Answers
from meta_controller.anthropic_model import AnthropicModel
from meta_controller.budget import Caps
from meta_controller.language_model import LanguageModel, Question, Reply, Tokens
from meta_controller.ledger import Ledger, Purpose
from meta_controller.openai_model import OpenAIModel
from meta_controller.prices import Price, price_of
from meta_controller.prompt import build_prompt
from meta_controller.reviewer import Outcome, Reviewer
from meta_controller.scripted import PREFIX, ScriptedModel
from specialists.types import Label, LabelSet

MOOD = LabelSet((Label("positive"), Label("negative")))
PRICE = Price(1.0, 5.0, known=True)
CALL_USD = 0.0002  # 100 tokens in, 20 out


class LeaseLost(Exception):
    """What the backend's lease raises."""


class Clock:
    """Time that passes by sleeping only."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.slept_s: list[float] = []

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        self.now_s += seconds


class Desk:
    """A reviewer with all that belongs to it."""

    def __init__(self, redis: Redis, model: LanguageModel, budget_usd: float | None = None) -> None:
        self.redis = redis
        self.clock = Clock()
        self.ledger = Ledger(redis, 1, Caps(budget_usd))
        self.answers = Answers(redis, 1)
        self.reviewer = self.make(model)

    def make(self, model: LanguageModel, **options: Any) -> Reviewer:
        paced = {"clock": self.clock, "sleep": self.clock.sleep}
        return Reviewer(model, self.ledger, self.answers, PRICE, **{**paced, **options})

    def transaction(self, write: Callable[[Pipeline], None]) -> None:
        with self.redis.pipeline() as pipe:
            write(pipe)
            pipe.execute()

    def review(self, asked: list[Question]) -> list[Outcome]:
        return list(self.reviewer.review(asked, self.transaction, "run-1"))

    @property
    def in_flight(self) -> int:
        return self.redis.hlen(self.ledger.inflight_key)


@pytest.fixture
def model(provider: Provider) -> Iterator[AnthropicModel]:
    made = AnthropicModel("claude-haiku-4-5", KEY, provider.url, timeout_s=0.4)
    made._effort._refused = True  # so that 400 is about the sample
    yield made
    join_review_threads()
    made.client.close()


def join_review_threads() -> None:
    """Wait for calls that their run gave up: their sockets close with them."""
    for thread in threading.enumerate():
        if thread.name.startswith("review"):
            thread.join(2)
            assert not thread.is_alive()


@pytest.fixture
def desk(redis: Redis, model: AnthropicModel) -> Desk:
    return Desk(redis, model)


def questions(count: int) -> list[Question]:
    return [Question("mood", f"text number {i}.", MOOD, task_ids=(i,)) for i in range(count)]


def text_of(body: dict[str, Any]) -> str:
    return str(body["messages"][-1]["content"]).split("\n")[2]


def test_every_question_ends_and_no_answered_one_is_asked_twice(
    desk: Desk, provider: Provider, redis: Redis
) -> None:
    dice = random.Random(20)
    failing = [
        Scene(429, headers={"retry-after": "2"}),
        Scene(500),
        Scene(529),
        Scene(delay_s=1.0),
        Scene(hang_up=True),
        Scene(answer="no JSON"),
        says("Positive"),
        Scene(stop="refusal"),
        Scene(stop="max_tokens"),
        Scene(400),
    ]
    answered: list[str] = []

    def decide(body: dict[str, Any]) -> Scene:
        if dice.random() < 0.2:
            return dice.choice(failing)
        answered.append(text_of(body))
        return says(dice.choice(["positive", "negative", "unsure"]))

    provider.decide = decide
    asked = questions(40)
    outcomes = desk.review(asked)

    assert sorted(o.question.task_ids for o in outcomes) == [q.task_ids for q in asked]
    assert all(bool(o.reply) != bool(o.failure) for o in outcomes)
    kinds = Counter(o.kind for o in outcomes)
    assert kinds["verdict"] > 15 and kinds["unsure"] > 3
    assert len(set(answered)) == len(answered), "an answered question was asked again"
    spend = desk.ledger.spend()
    assert spend.calls == provider.calls == len(desk.ledger.entries(1000)) > 40
    assert spend.verdicts == kinds["verdict"] and spend.unsure == kinds["unsure"]
    assert sum(spend.failures.values()) == provider.calls - len(answered) > 3
    assert desk.in_flight == 0
    assert redis.hget("aa:spend", "reserved_nano_usd") == "0"

    before, provider.decide = provider.calls, lambda body: says("positive")
    again = desk.review([o.question for o in outcomes if o.reply])
    assert provider.calls == before, "stored answers need no call"
    assert all(o.cached for o in again)
    assert desk.ledger.spend().cached == len(again)


def test_calls_fly_together_but_never_more_than_allowed(desk: Desk, provider: Provider) -> None:
    provider.decide = lambda body: Scene(answer=says("positive").answer, delay_s=0.05)
    desk.review(questions(40))
    assert 4 < provider.most_at_once <= 16


def test_equal_texts_are_asked_once_and_answered_each(desk: Desk, provider: Provider) -> None:
    provider.scenes.append(says("negative"))
    texts = ("so  bad", "so bad", " so bad\n")
    asked = [Question("mood", text, MOOD, task_ids=(i,)) for i, text in enumerate(texts)]
    outcomes = desk.review(asked)
    assert [o.question for o in outcomes] == asked
    assert [o.cached for o in outcomes] == [False, True, True]
    assert {o.reply.labels for o in outcomes if o.reply} == {("negative",)}
    (entry,) = desk.ledger.entries()
    assert entry["task_ids"] == [0, 1, 2]
    assert desk.ledger.spend().cached == 2


@pytest.mark.parametrize(
    "other",
    [
        Question("mood", "a", MOOD, guideline="Irony is negative."),
        Question("tone", "a", MOOD),
        Question("mood", "a", LabelSet((Label("positive"), Label("other")))),
        Question("mood", "A", MOOD),
    ],
)
def test_whatever_shapes_an_answer_is_part_of_its_key(
    desk: Desk, provider: Provider, other: Question
) -> None:
    provider.decide = lambda body: says("positive")
    assert not desk.review([Question("mood", "a", MOOD)])[0].cached
    assert not desk.review([other])[0].cached
    assert desk.review([other])[0].cached


def test_failures_are_not_stored(desk: Desk, provider: Provider) -> None:
    provider.scenes.extend([Scene(stop="refusal"), says("positive")])
    asked = questions(1)
    assert desk.review(asked)[0].kind == "refusal"
    assert desk.review(asked)[0].kind == "verdict"


def test_retry_after_is_honoured_and_capped(desk: Desk, provider: Provider) -> None:
    provider.scenes.append(Scene(429, headers={"retry-after": "7"}))
    provider.scenes.append(Scene(429, headers={"retry-after": "3600"}))
    provider.scenes.append(says("positive"))
    (outcome,) = desk.review(questions(1))
    assert outcome.kind == "verdict"
    assert desk.clock.slept_s == [7.0, 60.0]
    assert [e["outcome"] for e in desk.ledger.entries()] == ["rate limit", "rate limit", "verdict"]


@pytest.mark.parametrize("skew_s", [-7200, 7200], ids=["behind", "ahead"])
def test_a_provider_whose_clock_is_wrong_stalls_nothing(
    desk: Desk, provider: Provider, skew_s: float
) -> None:
    theirs_s = time.time() + skew_s
    dates = {"date": theirs_s, "retry-after": theirs_s + 5}
    headers = {name: formatdate(at, usegmt=True) for name, at in dates.items()}
    provider.scenes.extend([Scene(429, headers=headers), says("positive")])
    (outcome,) = desk.review(questions(1))
    assert outcome.kind == "verdict"
    assert desk.clock.slept_s == [5.0]


def test_retry_after_holds_back_the_other_questions_too(desk: Desk, provider: Provider) -> None:
    provider.scenes.append(Scene(429, headers={"retry-after": "9"}))
    provider.decide = lambda body: (
        provider.scenes.popleft() if provider.scenes else says("positive")
    )
    desk.reviewer.concurrency = 1
    outcomes = desk.review(questions(5))
    assert [o.kind for o in outcomes] == ["verdict"] * 5
    assert provider.calls == 6
    assert desk.clock.slept_s == [9.0]


def test_backoff_grows_with_full_jitter_and_ends(desk: Desk, provider: Provider) -> None:
    provider.decide = lambda body: Scene(500)
    (outcome,) = desk.review(questions(1))
    assert outcome.kind == "server error" and "HTTP 500" in str(outcome.failure)
    assert provider.calls == desk.reviewer.attempts == 4
    assert len(desk.clock.slept_s) == 3
    for attempt, slept_s in enumerate(desk.clock.slept_s, start=1):
        assert 0 <= slept_s <= reviewer_module.BACKOFF_S * 2**attempt


def test_a_fatal_error_stops_the_run(desk: Desk, provider: Provider) -> None:
    provider.decide = lambda body: Scene(402)
    desk.reviewer.concurrency = 2
    outcomes = desk.review(questions(30))
    assert len(outcomes) == 30
    assert {o.kind for o in outcomes} == {"quota"}
    assert provider.calls <= 3


def test_one_rejected_sample_is_skipped_but_a_row_of_them_stops(
    desk: Desk, provider: Provider
) -> None:
    bad = "text number 3."
    provider.decide = lambda body: Scene(400) if text_of(body) == bad else says("positive")
    assert Counter(o.kind for o in desk.review(questions(6))) == {"verdict": 5, "rejected": 1}
    before, provider.decide = provider.calls, lambda body: Scene(400)
    desk.reviewer.concurrency = 1
    outcomes = desk.review(questions(106)[6:])
    assert {o.kind for o in outcomes} == {"rejected"}
    assert provider.calls - before == reviewer_module.REJECTIONS_IN_A_ROW


def test_the_budget_is_never_passed_with_many_in_flight(
    redis: Redis, provider: Provider, model: AnthropicModel
) -> None:
    provider.decide = lambda body: Scene(answer=says("positive").answer, delay_s=0.01)
    asked, price, call_usd = questions(150), Price(1.0, 0.0, known=True), 0.0001
    most = price.nano_usd(build_prompt(asked[-1]).most_tokens) / 1e9
    budget_usd = 3 * most + 20 * call_usd  # three may fly together at first, one at the end
    desk = Desk(redis, model, budget_usd)
    desk.reviewer.price = price
    seen: list[float] = []

    def watched(write: Callable[[Pipeline], None]) -> None:
        desk.transaction(write)
        seen.append(backend_usd(desk.redis))

    outcomes = list(desk.reviewer.review(asked, watched))
    assert max(seen) <= budget_usd
    kinds = Counter(o.kind for o in outcomes)
    assert kinds["verdict"] + kinds["budget"] == 150
    assert kinds["verdict"] == provider.calls > 20, "freed reservations are used again"
    assert kinds["budget"] > 0
    assert "LLM_BUDGET_USD" in next(str(o.failure) for o in outcomes if o.kind == "budget")
    assert provider.most_at_once <= 4
    left_usd = budget_usd - desk.ledger.spend().usd
    assert 0 <= left_usd < most, "it stopped only when no call fitted"


def test_a_killed_runs_call_is_charged_at_its_reservation(desk: Desk, provider: Provider) -> None:
    asked = questions(1)
    desk.ledger.reserve(Purpose("review"), desk.reviewer.model, PRICE, Tokens(1000, 1000), "killed")
    assert desk.ledger.charge_lost(lambda run: run != "killed") == 1
    provider.decide = lambda body: says("positive")
    assert desk.review(asked)[0].kind == "verdict", "it is asked again: nothing was stored"
    spend = desk.ledger.spend()
    assert spend.failures == {"lost": 1}
    assert spend.usd == pytest.approx(0.006 + CALL_USD)


def test_a_lost_lease_stops_at_once_with_nothing_else_written(
    desk: Desk, provider: Provider, redis: Redis
) -> None:
    provider.decide = lambda body: says("positive")
    desk.reviewer.concurrency = 4
    writes = 0

    def fenced(write: Callable[[Pipeline], None]) -> None:
        nonlocal writes
        writes += 1
        if writes > 6:  # 4 reservations, 1 settlement, 1 more
            raise LeaseLost
        desk.transaction(write)

    with pytest.raises(LeaseLost):
        list(desk.reviewer.review(questions(20), fenced, "run-1"))
    assert writes == 7
    stored, calls = redis.hlen(desk.answers.key), desk.ledger.spend().calls
    assert stored == calls <= 2
    # Six writes were made: `calls` settlements, and reservations of which `calls` are settled.
    assert desk.ledger.charge_lost(lambda run: False) == 6 - 2 * calls


def test_closing_early_finishes_and_stores_what_flies(
    desk: Desk, provider: Provider, redis: Redis
) -> None:
    provider.decide = lambda body: Scene(answer=says("positive").answer, delay_s=0.05)
    desk.reviewer.concurrency = 5
    with closing(desk.reviewer.review(questions(30), desk.transaction)) as outcomes:
        next(outcomes)
    assert 5 <= provider.calls < 12
    assert redis.hlen(desk.answers.key) == desk.ledger.spend().calls == provider.calls
    assert desk.in_flight == 0
    join_review_threads()


def test_an_answer_is_stored_before_anybody_hears_of_it(desk: Desk, provider: Provider) -> None:
    provider.decide = lambda body: says("positive")
    for number, _ in enumerate(desk.reviewer.review(questions(5), desk.transaction), start=1):
        assert desk.redis.hlen(desk.answers.key) >= number
        assert desk.ledger.spend().calls >= number


def test_a_bug_while_asking_is_a_stated_failure(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        provider, model, base_url = "anthropic", "claude-haiku-4-5", ""

        def ask(self, question: Question) -> Reply:
            raise KeyError(question.text)

    outcomes = list(desk.make(Broken()).review(questions(2), desk.transaction))
    assert [o.kind for o in outcomes] == ["internal error"] * 2
    assert all("KeyError" in str(o.failure) for o in outcomes)
    assert "text number" not in caplog.text + str(outcomes[0].failure)
    assert desk.in_flight == 0


def test_a_server_without_json_schema_costs_one_extra_call(desk: Desk, provider: Provider) -> None:
    def decide(body: dict[str, Any]) -> Scene:
        strict = body["response_format"]["type"] == "json_schema"
        return Scene(400) if strict else says("positive")

    provider.decide = decide
    server = OpenAIModel("qwen3", KEY, provider.url + "/v1", timeout_s=0.4)
    outcomes = list(desk.make(server, concurrency=1).review(questions(5), desk.transaction))
    assert [o.kind for o in outcomes] == ["verdict"] * 5
    assert provider.calls == 6
    server.client.close()


def test_the_scripted_reviewer_goes_the_whole_way_and_costs_nothing(
    redis: Redis, tmp_path: Path
) -> None:
    script = tmp_path / "script.jsonl"
    script.write_text('{"text": "text number 1.", "label": "negative", "reason": "r"}\n')
    desk = Desk(redis, ScriptedModel(script), budget_usd=0.0)
    desk.reviewer.price = price_of("scripted", "scripted")
    assert sorted(o.kind for o in desk.review(questions(3))) == ["unsure", "unsure", "verdict"]
    assert (desk.ledger.spend().calls, desk.ledger.spend().usd) == (3, 0.0)
    assert all(str(o.reply.reason).startswith(PREFIX) for o in desk.review(questions(3)) if o.reply)
    assert all(entry["price_known"] for entry in desk.ledger.entries())


def test_no_questions_no_outcomes(desk: Desk, provider: Provider) -> None:
    assert desk.review([]) == []
    assert provider.calls == 0


def test_nothing_that_redis_keeps_holds_a_text(desk: Desk, provider: Provider) -> None:
    provider.decide = lambda body: says("positive", "as it says")
    desk.review(questions(3))
    kept = [desk.redis.hgetall(k) for k in desk.redis.keys() if desk.redis.type(k) == "hash"]
    assert "text number" not in json.dumps([kept, desk.ledger.entries()])
