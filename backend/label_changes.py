"""Changes of label configs: what a project's labels were called, and what is still to be done.

Whoever sees another label config than is served (a request, a hook, reconcile) lets `adopt` serve
its labels at once; the pool is settled afterwards by the labels job, woken by what waits here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import redis
from redis.client import Pipeline

from backend.errors import LabelConfigError
from backend.label_config import parse
from training.label_change import Change
from training.label_names import LabelNames

if TYPE_CHECKING:
    from backend.wiring import Wiring


class LabelChanges:
    """What is remembered of one project's label changes, in Redis."""

    def __init__(self, client: redis.Redis, project_id: int) -> None:
        self._redis = client
        self.names_key = f"aa:project:{project_id}:label_names"
        self._waiting = f"aa:project:{project_id}:label_changes"

    def names(self) -> LabelNames:
        """The names that labels and controls had before."""
        raw = self._redis.get(self.names_key)
        return LabelNames.from_json(str(raw) if raw else None)

    def record(self, names: LabelNames, changes: Iterable[Change], via: Pipeline) -> None:
        """Keep new names, and changes for the labels job."""
        via.set(self.names_key, names.to_json())
        via.rpush(self._waiting, *(json.dumps(asdict(change)) for change in changes))

    def wait(self) -> bool:
        """Whether there are changes after which the pool was not settled yet."""
        return bool(self._redis.exists(self._waiting))

    def waiting(self) -> list[Change]:
        """The changes after which the pool was not settled yet, oldest first."""
        rows: Any = self._redis.lrange(self._waiting, 0, -1)
        return [_change(json.loads(row)) for row in rows]

    def done(self, count: int, via: Pipeline) -> None:
        """The pool was settled after the first `count` of them."""
        via.ltrim(self._waiting, count, -1)


def serve_labels(wiring: Wiring, project_id: int, label_config: str) -> str:
    """Remember a project's label config and serve its labels; returns the tag.

    Raises LabelConfigError, with nothing changed, when nothing in it classifies text.
    """
    controls = parse(label_config)
    # First the record: workers serve its labels, and would go back to those of before.
    wiring.projects.update(project_id, label_config=label_config)
    return wiring.committees.ensure(project_id, controls)


def adopt(wiring: Wiring, project_id: int, label_config: str) -> bool:
    """The same for a config that somebody else brought; whether it can be used.

    One that cannot changes nothing but the journal: the last that could stays.
    """
    try:
        serve_labels(wiring, project_id, label_config)
    except LabelConfigError as error:
        told = f"The label config cannot be used, the one before stays: {error}"
        wiring.journal.error("labels", told, project_id)
        return False
    return True


def _change(row: dict[str, Any]) -> Change:
    lists = {name: tuple(row[name]) for name in ("by_place", "added", "removed")}
    return Change(**{**row, **lists})
