"""Two models and several askings: who is asked again, whose answer stands, who pays."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import pytest
from provider import KEY, Provider, Scene, says
from redis import Redis
from test_reviewer import MOOD, Desk, join_review_threads, questions

from benchmarks.asked import read
from meta_controller.anthropic_model import AnthropicModel
from meta_controller.draws import Draws
from meta_controller.language_model import Question, Reply, Tokens
from meta_controller.prices import Price
from meta_controller.reviewer import Outcome, Reviewer
from meta_controller.tiers import Tiers, needs_stronger

STRONG_PRICE = Price(10.0, 50.0, known=True)


@pytest.fixture
def models(provider: Provider) -> Iterator[list[AnthropicModel]]:
    with ExitStack() as stack:
        made = [AnthropicModel(name, KEY, provider.url, 2) for name in ("cheap", "strong")]
        for model in made:
            stack.callback(model.client.close)
            model._effort._refused = True
        yield made
        join_review_threads()


@pytest.fixture
def desk(redis: Redis, models: list[AnthropicModel]) -> Desk:
    return Desk(redis, models[0])


@pytest.fixture
def tiers(desk: Desk, models: list[AnthropicModel]) -> Tiers:
    strong = Reviewer(models[1], desk.ledger, desk.answers, STRONG_PRICE)
    return Tiers(desk.reviewer, strong)


def review(desk: Desk, tiers: Tiers | Draws, asked: list[Question]) -> list[Outcome]:
    return list(tiers.review(asked, desk.transaction, "run"))


def by_model(cheap: str, strong: str) -> Any:
    return lambda body: says(cheap if body["model"] == "cheap" else strong)


def test_an_unsure_model_is_followed_by_the_stronger_one(
    desk: Desk, tiers: Tiers, provider: Provider
) -> None:
    provider.decide = by_model("unsure", "negative")
    (outcome,) = review(desk, tiers, questions(1))
    assert outcome.reply and (outcome.reply.labels, outcome.reply.model) == (
        ("negative",),
        "strong",
    )
    assert outcome.askings == 2
    cheap, strong = desk.ledger.entries()
    assert (cheap["model"], strong["model"]) == ("cheap", "strong")
    assert strong["usd"] == pytest.approx(10 * cheap["usd"])
    calls = provider.calls
    assert review(desk, tiers, questions(1))[0].cached
    assert provider.calls == calls, "both answers are stored under their models"


def test_a_sure_model_is_alone(desk: Desk, tiers: Tiers, provider: Provider) -> None:
    provider.decide = by_model("positive", "negative")
    outcomes = review(desk, tiers, questions(5))
    assert {o.reply.model for o in outcomes if o.reply} == {"cheap"}
    assert provider.calls == 5


@pytest.mark.parametrize(
    ("committee", "strong"),
    [((0.05, 0.95), True), ((0.95, 0.05), False), ((0.2, 0.8), False), ((), False)],
)
def test_a_committee_that_is_sure_and_contradicted_calls_the_stronger_one(
    desk: Desk, tiers: Tiers, provider: Provider, committee: tuple[float, ...], strong: bool
) -> None:
    provider.decide = by_model("positive", "positive")
    asked = replace(questions(1)[0], committee=committee)
    (outcome,) = review(desk, tiers, [asked])
    assert outcome.reply and outcome.reply.model == ("strong" if strong else "cheap")


@pytest.mark.parametrize(("confidence", "strong"), [(0.5, True), (0.9, False), (None, False)])
def test_low_confidence_calls_the_stronger_one(confidence: float | None, strong: bool) -> None:
    reply = Reply(("positive",), "", Tokens(), 0.0, "cheap", confidence)
    assert needs_stronger(Outcome(questions(1)[0], reply, None, "verdict")) is strong


@pytest.mark.parametrize(
    ("scene", "kind", "model"),
    [(Scene(stop="refusal"), "verdict", "cheap"), (Scene(402), "quota", None)],
)
def test_where_the_stronger_one_fails(
    desk: Desk, tiers: Tiers, provider: Provider, scene: Scene, kind: str, model: str | None
) -> None:
    provider.decide = lambda body: says("positive") if body["model"] == "cheap" else scene
    asked = replace(questions(1)[0], committee=(0.01, 0.99))
    (outcome,) = review(desk, tiers, [asked])
    assert outcome.kind == kind
    assert (outcome.reply and outcome.reply.model) == model
    assert outcome.again == (model is None), "what time can heal waits for the stronger answer"


def test_several_askings_agree_or_not(desk: Desk, provider: Provider) -> None:
    told = {"text number 0.": ["positive"] * 3, "text number 1.": ["positive", "negative"] * 2}
    provider.decide = lambda body: says(told[read(body).texts[0]].pop())
    draws = Draws(desk.reviewer, 3)
    found = {o.question.task_ids[0]: o for o in review(desk, draws, questions(2))}
    assert found[0].reply and found[0].reply.confidence == 1.0
    assert found[1].reply and found[1].reply.confidence == pytest.approx(2 / 3)
    assert [found[i].question for i in (0, 1)] == questions(2)
    assert all(o.askings == 3 and not o.cached for o in found.values())
    assert provider.calls == desk.ledger.spend().calls == 6
    assert all(o.cached and not o.askings for o in review(desk, draws, questions(2)))
    assert provider.calls == 6


def test_askings_that_fail_agree_with_nobody(desk: Desk, provider: Provider) -> None:
    provider.scenes.extend([says("positive"), Scene(stop="refusal"), says("positive")])
    desk.reviewer.concurrency = 1
    (outcome,) = review(desk, Draws(desk.reviewer, 3), questions(1))
    assert outcome.reply and outcome.reply.confidence == pytest.approx(2 / 3)
    provider.decide = lambda body: Scene(stop="refusal")
    other = [Question("mood", "another", MOOD)]
    assert review(desk, Draws(desk.reviewer, 3), other)[0].kind == "refusal"


def test_several_askings_of_a_text_share_no_prompt(desk: Desk, provider: Provider) -> None:
    desk.reviewer.pack = 6
    seen: list[tuple[str, ...]] = []

    def decide(body: dict[str, Any]) -> Scene:
        seen.append(read(body).texts)
        return Scene(answer="?") if len(seen[-1]) > 1 else says("positive")

    provider.decide = decide
    outcomes = review(desk, Draws(desk.reviewer, 2), questions(4))
    assert [o.kind for o in outcomes] == ["verdict"] * 4
    assert all(len(set(texts)) == len(texts) for texts in seen)
