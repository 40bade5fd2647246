"""What lies in Redis of the batches that a provider works on: which questions, and no answers.

Knows no provider and asks nobody.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from redis import Redis
from redis.client import Pipeline

RUN = "batch:"
"""So the run of a batch's reservations begins: they outlive the process that made them."""


@dataclass(frozen=True)
class Sent:
    """One question of a batch: the key of its answer, its control, and the asker's own note."""

    answer_key: str
    control: str
    cargo: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True)
class Batch:
    """What is known of a batch; `id` is the provider's, empty until it is known.

    `due` (Unix seconds) is when to look at it next; `sent` is by custom id, which is the id of the
    reserved call; `labels` is the JSON of each control's labels.
    """

    key: str
    provider: str
    model: str
    at: float
    due: float
    sent: Mapping[str, Sent]
    labels: Mapping[str, Any]
    id: str = ""

    @property
    def run(self) -> str:
        """The run under which its calls are reserved."""
        return RUN + self.key


class BatchStore:
    """The batches of a project; expects a client with `decode_responses=True`."""

    def __init__(self, redis: Redis, project_id: int) -> None:
        self._redis = redis
        self._project_id = project_id

    @property
    def key(self) -> str:
        """Hash: our key of a batch -> its JSON."""
        return f"aa:project:{self._project_id}:batches"

    def all(self) -> list[Batch]:
        """Every batch that is not over."""
        return [_read(json.loads(row)) for row in self._redis.hvals(self.key)]

    def get(self, key: str) -> Batch | None:
        """A batch by our key."""
        row = self._redis.hget(self.key, key)
        return _read(json.loads(row)) if isinstance(row, str) else None

    def due(self, now: float) -> list[Batch]:
        """Those to look at."""
        return [batch for batch in self.all() if batch.due <= now]

    def asked(self) -> set[str]:
        """The keys of the answers that are waited for."""
        return {sent.answer_key for batch in self.all() for sent in batch.sent.values()}

    def put(self, pipe: Pipeline, batch: Batch) -> None:
        """Write a batch down."""
        pipe.hset(self.key, batch.key, json.dumps(asdict(batch)))

    def drop(self, pipe: Pipeline, batch: Batch) -> None:
        """Forget a batch that is over."""
        pipe.hdel(self.key, batch.key)


def _read(row: dict[str, Any]) -> Batch:
    return Batch(**{**row, "sent": {i: Sent(**one) for i, one in row["sent"].items()}})
