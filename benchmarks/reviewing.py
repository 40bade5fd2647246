"""The product's reviewer with a Redis of its own, for benchmarks of asking."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from redis import Redis, RedisError
from redis.client import Pipeline

from backend.embedded_redis import command, socket_path
from benchmarks.running import wait_until
from meta_controller.answers import Answers
from meta_controller.language_model import LanguageModel, Question
from meta_controller.ledger import Ledger, Spend
from meta_controller.prices import Price
from meta_controller.reviewer import Outcome, Reviewer

_STARTED_S = 20.0


@dataclass
class Desk:
    """Reviews questions, each time as a project of its own."""

    redis: Redis
    projects: int = 0

    def review(
        self, model: LanguageModel, price: Price, questions: Sequence[Question], pack: int
    ) -> tuple[list[Outcome], Spend]:
        """The outcomes, and what the ledger says of them."""
        self.projects += 1
        ledger, answers = Ledger(self.redis, self.projects), Answers(self.redis, self.projects)
        # One call at a time: a cache serves only what an earlier call has written.
        reviewer = Reviewer(model, ledger, answers, price, concurrency=1, pack=pack)
        return list(reviewer.review(questions, self._transaction)), ledger.spend()

    def _transaction(self, write: Callable[[Pipeline], None]) -> None:
        with self.redis.pipeline() as pipe:
            write(pipe)
            pipe.execute()


@contextmanager
def desk() -> Iterator[Desk]:
    """Start the embedded Redis in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="aa-bench-") as name:
        server = subprocess.Popen(command(Path(name)), stdout=subprocess.DEVNULL)
        try:
            path = str(socket_path(Path(name)))
            with Redis(unix_socket_path=path, decode_responses=True) as client:
                wait_until(lambda: _answers(client), _STARTED_S, "Redis answers")
                yield Desk(client)
        finally:
            server.terminate()
            server.wait(10)


def _answers(client: Redis) -> bool:
    try:
        return bool(client.ping())
    except RedisError:
        return False
