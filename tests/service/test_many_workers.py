"""Eight workers at once against a provider that fails: no verdict lost, no cent too much."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

from provider import KEY, Provider, Scene, says
from redis import Redis
from redis.client import Pipeline
from spend import backend_usd
from test_reviewer import MOOD, text_of

from meta_controller.answers import Answers
from meta_controller.anthropic_model import AnthropicModel
from meta_controller.budget import Caps
from meta_controller.language_model import Question, Tokens
from meta_controller.ledger import Ledger
from meta_controller.openai_model import OpenAIModel
from meta_controller.prices import NANO, Price
from meta_controller.reviewer import Outcome, Reviewer

WORKERS = 8
SAMPLES = 500
TIMEOUT_S = 4.0  # long enough for a machine that does other things as well
PRICE = Price(1.0, 5.0, True, cached_share=0.1, stored_share=1.25)
NEVER_TOLD = ("timeout", "connection", "server error")  # of these the last only with a bill


class Failing:
    """Fails one call in five, in every way there is; else answers, mostly from its cache."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.answered: list[str] = []

    def __call__(self, body: dict[str, Any]) -> Scene:
        cached = self.dice.choice([0, 60, 60, 60])
        bill = {"sent": 100, "cached": cached, "stored": 0 if cached else 60}
        good = says(self.dice.choice(["positive", "negative", "unsure"]), **bill)
        if self.dice.random() >= 0.2:
            self.answered.append(text_of(body))
            return good
        return self.dice.choice(
            [
                Scene(429, headers={"retry-after": "0.1"}),
                Scene(500),
                Scene(answer=good.answer, delay_s=TIMEOUT_S + 1, **bill),
                Scene(answer='{"label": "posit', **bill),
                says("Positive", **bill),
                Scene(answer=good.answer, cut=True, **bill),
            ]
        )


class Worker:
    """One worker: a Redis connection, an SDK client and a reviewer of its own."""

    def __init__(self, redis: Redis, model: Any, project: int, caps: Caps) -> None:
        self.redis = redis
        self.ledger = Ledger(redis, project, caps)
        self.reviewer = Reviewer(
            model, self.ledger, Answers(redis, project), price=PRICE, concurrency=4
        )
        self.most_usd = 0.0

    def transaction(self, write: Any) -> None:
        with self.redis.pipeline() as pipe:
            self._run(write, pipe)

    def _run(self, write: Any, pipe: Pipeline) -> None:
        write(pipe)
        pipe.execute()
        self.most_usd = max(self.most_usd, backend_usd(self.redis))

    def review(self, questions: Sequence[Question]) -> list[Outcome]:
        return list(self.reviewer.review(questions, self.transaction, "run"))


@contextmanager
def workers(socket: str, provider: Provider, caps: Caps) -> Iterator[list[Worker]]:
    """Each has its project; half of them speak one wire format, half the other."""
    with ExitStack() as stack:
        made = []
        for number in range(WORKERS):
            redis = stack.enter_context(Redis(unix_socket_path=socket, decode_responses=True))
            if number % 2:
                model: Any = AnthropicModel("claude-haiku-4-5", KEY, provider.url, TIMEOUT_S)
                model._effort._accepted = True
            else:
                model = OpenAIModel("qwen3", KEY, provider.url + "/v1", TIMEOUT_S)
                model._options["format"]._accepted = True
            stack.callback(model.client.close)
            made.append(Worker(redis, model, number + 1, caps))
        yield made


def work(crew: Sequence[Worker], asked: Sequence[Sequence[Question]]) -> list[Outcome]:
    """Each worker reviews its own questions, all at the same time."""
    with ThreadPoolExecutor(WORKERS) as pool:
        found = pool.map(lambda pair: pair[0].review(pair[1]), zip(crew, asked, strict=True))
        return [outcome for one in found for outcome in one]


def shared_out(questions: Sequence[Question]) -> list[list[Question]]:
    """Which worker asks what: by the number of the text."""
    return [[q for q in questions if q.task_ids[0] % WORKERS == n] for n in range(WORKERS)]


def nano_usd(scenes: Sequence[Scene]) -> int:
    return sum(PRICE.nano_usd(scene.tokens) for scene in scenes)


def total(tokens: Sequence[Tokens]) -> Tokens:
    kinds = ("sent", "written", "cached", "stored")
    return Tokens(*(sum(getattr(one, kind) for one in tokens) for kind in kinds))


def test_eight_workers_and_five_hundred_samples(redis_socket: str, redis: Redis) -> None:
    asked = [Question("mood", f"text number {i}.", MOOD, task_ids=(i,)) for i in range(SAMPLES)]
    failing = Failing(seed=8)
    cap_usd = 0.25  # calls of at most 0.013 USD fly together, and it does not last
    with Provider() as provider:
        provider.decide = failing
        with workers(redis_socket, provider, Caps(cap_usd)) as crew:
            outcomes = work(crew, shared_out(asked))
            assert max(worker.most_usd for worker in crew) <= cap_usd
        kinds = Counter(outcome.kind for outcome in outcomes)
        assert kinds["verdict"] > 50 and kinds["budget"] > 50, "the cap came in between"
        last = {outcome.question: outcome for outcome in outcomes}
        with workers(redis_socket, provider, Caps(100.0)) as crew:
            for _ in range(5):  # what failed four times in a row is asked later again
                left = [question for question, outcome in last.items() if outcome.again]
                last |= {one.question: one for one in work(crew, shared_out(left))}
            check(redis, provider, failing, last)
            before = provider.calls
            stored = [question for question, outcome in last.items() if outcome.reply]
            assert all(one.cached for one in work(crew, shared_out(stored)))
            assert provider.calls == before, "what is stored is not asked again"


def check(
    redis: Redis,
    provider: Provider,
    failing: Failing,
    last: Mapping[Question, Outcome],
) -> None:
    """Every sample ended once, and the ledger is what the provider counted."""
    assert len(last) == SAMPLES
    assert all(bool(o.reply) != bool(o.failure) for o in last.values())
    assert not [o for o in last.values() if o.again]
    assert len(failing.answered) == len(set(failing.answered)), "a stored answer was asked again"
    ledgers = [Ledger(redis, number + 1) for number in range(WORKERS)]
    spends = [ledger.spend() for ledger in ledgers]
    entries = [entry for ledger in ledgers for entry in ledger.entries(10_000)]
    assert sum(spend.calls for spend in spends) == len(entries) == provider.calls
    told = [scene for scene in provider.billed if scene.told]
    untold = [scene for scene in provider.billed if not scene.told]
    assert total([spend.tokens for spend in spends]) == total([scene.tokens for scene in told])
    unknown = [e for e in entries if e["usd"] and e["outcome"] in NEVER_TOLD]
    assert len(unknown) == len(untold) > 10
    in_full = sum(round(entry["usd"] * NANO) for entry in unknown)
    spent = sum(round(spend.usd * NANO) for spend in spends)
    assert spent == nano_usd(told) + in_full == int(redis.hget("aa:spend", "nano_usd") or 0)
    assert in_full > nano_usd(untold), "what nobody told is charged at the most it can be"
    assert redis.hmget("aa:spend", "reserved_nano_usd", "reserved_tokens") == ["0", "0"]
    assert not any(redis.hlen(ledger.inflight_key) for ledger in ledgers)
