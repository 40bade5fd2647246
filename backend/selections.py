"""Selections of specialists in Redis: the candidates that are measured, their votes, the tables.

A run is a sample of texts with candidates. Votes are kept by sample and candidate, so that a
selection that is made again, or whose worker was killed, measures nothing twice. Knows nothing of
models, queues or the Hub; what a worker writes goes through the pipeline of its lease.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import redis
from redis.client import Pipeline

from backend.errors import BackendError
from meta_controller.candidates import Candidate
from meta_controller.label_maps import OwnVotes

ATTEMPTS = 3
_KEPT_S = 24 * 3600  # votes on a sample are forgotten a day after the last write


class SelectError(BackendError):
    """No committee could be chosen or served; the message says what to do."""


@dataclass(frozen=True)
class Run:
    """Candidates by their keys, to be measured on the texts of one control."""

    id: str
    texts: tuple[str, ...] = field(repr=False)
    candidates: Mapping[str, Candidate]


def key_of(candidate: Candidate) -> str:
    """A candidate's name in Redis and in job parts: 16 hex digits."""
    loaded = json.dumps([candidate.source, candidate.checkpoint])
    return hashlib.sha256(loaded.encode()).hexdigest()[:16]


class Selections:
    """The selections of one project (a client with decode_responses=True)."""

    def __init__(self, client: redis.Redis, project_id: int) -> None:
        self._redis = client
        self._prefix = f"aa:project:{project_id}:select"

    @property
    def _run(self) -> str:
        return f"{self._prefix}:run"

    @property
    def _tables(self) -> str:
        return f"{self._prefix}:tables"

    def _votes(self, run_id: str) -> str:
        return f"{self._prefix}:{run_id}:votes"

    def _failures(self, run_id: str) -> str:
        return f"{self._prefix}:{run_id}:failures"

    def _attempts(self, run_id: str) -> str:
        return f"{self._prefix}:{run_id}:attempts"

    def begin(self, texts: Sequence[str], candidates: Sequence[Candidate], via: Pipeline) -> Run:
        """Ask for measurements; what is known of them on the same texts stays known."""
        digest = hashlib.sha256(json.dumps(list(texts)).encode()).hexdigest()[:16]
        run = Run(digest, tuple(texts), {key_of(one): one for one in candidates})
        rows = {key: one.to_json() for key, one in run.candidates.items()}
        via.set(self._run, json.dumps([run.id, run.texts, rows]), ex=_KEPT_S)
        via.delete(self._failures(run.id), self._attempts(run.id))
        return run

    def run(self) -> Run | None:
        """The newest run; None when there is none, or it is long over."""
        raw = self._redis.get(self._run)
        if not raw:
            return None
        run_id, texts, rows = json.loads(raw)
        found = {key: Candidate.from_json(row) for key, row in rows.items()}
        return Run(run_id, tuple(texts), found)

    def open(self, run: Run) -> set[str]:
        """The candidates that are not measured yet and did not fail."""
        known = {*self._redis.hkeys(self._votes(run.id)), *self.failures(run)}
        return set(run.candidates) - {str(key) for key in known}

    def attempt(self, run: Run, key: str) -> int:
        """Count that a worker begins with a candidate; the first is 1. A killed one counts, too."""
        return int(self._redis.hincrby(self._attempts(run.id), key, 1))

    def measured(self, run: Run, key: str, own: OwnVotes, via: Pipeline) -> None:
        """Keep what a candidate answered, in half precision."""
        votes = base64.b64encode(own.votes.astype(np.float16).tobytes()).decode()
        row = {"labels": own.labels, "votes": votes, "independent": own.independent}
        via.hset(self._votes(run.id), key, json.dumps(row))
        via.expire(self._votes(run.id), _KEPT_S)

    def failed(self, run: Run, key: str, why: str, via: Pipeline) -> None:
        """A candidate cannot be measured."""
        via.hset(self._failures(run.id), key, why)
        via.expire(self._failures(run.id), _KEPT_S)
        via.expire(self._attempts(run.id), _KEPT_S)

    def votes(self, run: Run) -> dict[str, OwnVotes]:
        """What the run's candidates answered, by key."""
        raws = self._redis.hgetall(self._votes(run.id))
        return {str(key): _own(str(raw)) for key, raw in raws.items() if key in run.candidates}

    def failures(self, run: Run) -> dict[str, str]:
        """Why candidates could not be measured, by key."""
        raws = self._redis.hgetall(self._failures(run.id))
        return {str(key): str(why) for key, why in raws.items()}

    def keep(
        self, tag: str, table: Mapping[str, Any], others: Collection[str], via: Pipeline
    ) -> None:
        """Keep the table of a chosen committee beside its tag, and those of `others`."""
        old = {str(one) for one in self._redis.hkeys(self._tables)} - {tag, *others}
        if old:
            via.hdel(self._tables, *old)
        via.hset(self._tables, tag, json.dumps(table))

    def table(self, tag: str) -> dict[str, Any] | None:
        """The table with which a tag's committee was chosen; None when it was not chosen so."""
        raw = self._redis.hget(self._tables, tag)
        return json.loads(raw) if raw else None


def _own(raw: str) -> OwnVotes:
    row = json.loads(raw)
    votes = np.frombuffer(base64.b64decode(row["votes"]), dtype=np.float16).astype(np.float64)
    labels = tuple(row["labels"])
    votes = votes.reshape(-1, len(labels))
    return OwnVotes(labels, votes / votes.sum(axis=1, keepdims=True), row["independent"])
