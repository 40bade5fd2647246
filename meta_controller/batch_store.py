"""What lies in Redis of the batches that a provider works on: which questions, and no answers.

Knows no provider and asks nobody.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from redis import Redis
from redis.client import Pipeline

RUN = "batch:"
"""So the run of a batch's reservations begins: they outlive the process that made them."""


@dataclass(frozen=True)
class Sent:
    """One question of a batch, as it was sent: where its answer goes, and the asker's own note."""

    answer_key: str
    control: str
    text: str = field(repr=False)
    cargo: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True)
class Batch:
    """What is known of a batch; `id` is the provider's, empty until it is known.

    `due` (Unix seconds) is when to look at it next. `sent` has the questions of each prompt, in
    its order, by custom id, which is the id of the reserved call; `labels` the JSON of each
    control's labels.
    """

    key: str
    provider: str
    model: str
    at: float
    due: float
    sent: Mapping[str, Sequence[Sent]]
    labels: Mapping[str, Any]
    id: str = ""

    @property
    def run(self) -> str:
        """The run under which its calls are reserved."""
        return RUN + self.key

    @property
    def questions(self) -> list[Sent]:
        """All its questions."""
        return [one for prompt in self.sent.values() for one in prompt]


class BatchStore:
    """The batches of a project; expects a client with `decode_responses=True`.

    What the scheduler asks for every second is kept apart from the questions.
    """

    def __init__(self, redis: Redis, project_id: int) -> None:
        self._redis = redis
        self._project_id = project_id

    @property
    def key(self) -> str:
        """Hash: our key of a batch -> its JSON."""
        return f"aa:project:{self._project_id}:batches"

    @property
    def due_key(self) -> str:
        """Sorted set: our key of a batch by when it is due."""
        return f"aa:project:{self._project_id}:batches_due"

    @property
    def size_key(self) -> str:
        """Hash: our key of a batch -> how many questions it has."""
        return f"aa:project:{self._project_id}:batches_size"

    def get(self, key: str) -> Batch | None:
        """A batch by our key."""
        row = self._redis.hget(self.key, key)
        return _read(json.loads(row)) if isinstance(row, str) else None

    def due(self, now: float) -> list[str]:
        """Our keys of those to look at."""
        return [str(key) for key in self._redis.zrangebyscore(self.due_key, "-inf", now)]

    def size(self) -> int:
        """How many questions are on their way."""
        return sum(int(size) for size in self._redis.hvals(self.size_key))

    def questions(self) -> list[Sent]:
        """Those questions."""
        batches = [_read(json.loads(row)) for row in self._redis.hvals(self.key)]
        return [one for batch in batches for one in batch.questions]

    def put(self, pipe: Pipeline, batch: Batch) -> None:
        """Write a batch down."""
        pipe.hset(self.key, batch.key, json.dumps(asdict(batch)))
        pipe.zadd(self.due_key, {batch.key: batch.due})
        pipe.hset(self.size_key, batch.key, len(batch.questions))

    def drop(self, pipe: Pipeline, batch: Batch) -> None:
        """Forget a batch that is over."""
        pipe.hdel(self.key, batch.key)
        pipe.zrem(self.due_key, batch.key)
        pipe.hdel(self.size_key, batch.key)


def _read(row: dict[str, Any]) -> Batch:
    sent = {i: [Sent(**one) for one in prompt] for i, prompt in row["sent"].items()}
    return Batch(**{**row, "sent": sent})
