"""One structured question: real SDK clients, a failing local provider, a real ledger."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from provider import KEY, Provider, Scene
from redis import Redis
from redis.client import Pipeline

from meta_controller.anthropic_model import AnthropicModel
from meta_controller.budget import Caps
from meta_controller.consult import ATTEMPTS, consult
from meta_controller.errors import BudgetExceeded, Fatal, LanguageModelError, NoVerdict, Retryable
from meta_controller.language_model import Completion, Prompt
from meta_controller.ledger import Ledger
from meta_controller.prices import Price

PRICE = Price(1.0, 5.0, known=True)
ASKED = Prompt("You choose models.", "Which?", {"type": "object"}, max_output_tokens=500)


@pytest.fixture
def model(provider: Provider) -> Iterator[AnthropicModel]:
    made = AnthropicModel("claude-haiku-4-5", KEY, provider.url, timeout_s=0.4)
    made._effort._refused = True
    yield made
    made.client.close()


@pytest.fixture
def ask(redis: Redis, model: AnthropicModel) -> Callable[..., Completion]:
    def transaction(write: Callable[[Pipeline], None]) -> None:
        with redis.pipeline() as pipe:
            write(pipe)
            pipe.execute()

    def ask(budget_usd: float | None = None) -> Completion:
        ledger = Ledger(redis, 1, Caps(budget_usd))
        return consult(
            model, ASKED, ledger, PRICE, "selection", transaction, sleep=lambda seconds: None
        )

    return ask


def test_an_answer_is_paid_for_and_says_what_for(
    ask: Callable[..., Completion], provider: Provider, redis: Redis
) -> None:
    provider.scenes.append(Scene(answer='{"ids": ["a/b"]}'))
    assert ask().text == '{"ids": ["a/b"]}'
    (entry,) = Ledger(redis, 1).entries()
    assert (entry["work"], entry["outcome"], entry["usd"]) == ("selection", "answered", 0.0002)
    assert provider.requests[0]["max_tokens"] == 500
    spend = Ledger(redis, 1).spend()
    assert (spend.calls, spend.answered, spend.verdicts, spend.failures) == (1, 1, 0, {})


def test_what_time_can_heal_is_asked_again_and_each_attempt_counts(
    ask: Callable[..., Completion], provider: Provider, redis: Redis
) -> None:
    provider.scenes.extend([Scene(529), Scene(delay_s=1.0), Scene(answer="{}")])
    assert ask().text == "{}"
    spend = Ledger(redis, 1).spend()
    assert spend.calls == provider.calls == 3
    assert spend.failures == {"overloaded": 1, "timeout": 1}
    assert redis.hget("aa:spend", "reserved_nano_usd") == "0"


@pytest.mark.parametrize(
    ("scenes", "error", "calls"),
    [
        ([Scene(500)] * ATTEMPTS, Retryable, ATTEMPTS),
        ([Scene(401)], Fatal, 1),
        ([Scene(answer="no", stop="refusal")], NoVerdict, 1),
    ],
)
def test_failures_end_it_with_nothing_held_back(
    ask: Callable[..., Completion],
    provider: Provider,
    redis: Redis,
    scenes: list[Scene],
    error: type[LanguageModelError],
    calls: int,
) -> None:
    provider.scenes.extend(scenes)
    with pytest.raises(error):
        ask()
    assert provider.calls == Ledger(redis, 1).spend().calls == calls
    assert redis.hlen("aa:project:1:inflight") == 0


def test_a_budget_without_room_asks_nobody(
    ask: Callable[..., Completion], provider: Provider
) -> None:
    with pytest.raises(BudgetExceeded, match="LLM_BUDGET_USD"):
        ask(budget_usd=0.001)
    assert provider.calls == 0
