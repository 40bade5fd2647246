"""From tasks to predictions: texts out, the committee's decisions, regions in, hard samples noted.

Used by the web process for `/predict` and by the push worker for whole projects, so that both give
the same answer. Annotations that come along with a task are never read.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import redis

from backend import predictions
from backend.committees import Committees
from backend.label_config import Control, text_of
from backend.projects import Desk, HardSample
from specialists.types import Decision, Verdict
from training.pool import Place, Pool

_NO_TEXT = Decision(labels=(), confidence=0.0, hard=False, reason="no usable text")


@dataclass(frozen=True)
class Labeled:
    """One task's prediction, and which of its samples need a review or do not any more."""

    task_id: int | None
    prediction: dict[str, Any] = field(repr=False)
    hard: tuple[HardSample, ...] = ()
    settled: tuple[str, ...] = ()


class Labeler:
    """Labels tasks with a project's committee and the verdicts that are known."""

    def __init__(self, committees: Committees, pool: Callable[[int], Pool]) -> None:
        self._committees = committees
        self._pool = pool
        self._flights = SingleFlight()

    def label(
        self,
        project_id: int,
        controls: Sequence[Control],
        tag: str,
        tasks: Sequence[Mapping[str, Any]],
    ) -> list[Labeled]:
        """Exactly one result a task, in order; a task without usable text gets an empty one.

        Raises:
            CheckpointDamaged: The tag's committee cannot be loaded.
        """
        verdicts = self._verdicts(project_id, controls, tasks)
        decisions = {
            control.name: self._decide(tag, control, [_text(control, task) for task in tasks])
            for control in controls
        }
        return [
            _labeled(task, controls, tag, {c: rows[i] for c, rows in decisions.items()}, verdicts)
            for i, task in enumerate(tasks)
        ]

    def _decide(self, tag: str, control: Control, texts: list[str | None]) -> list[Decision]:
        wanted = list(dict.fromkeys(text for text in texts if text))
        if not wanted:
            return [_NO_TEXT] * len(texts)
        committee = self._committees.committee(tag, control.name)
        answers = self._flights.run((tag, control.name), wanted, committee.decide)
        return [answers[text] if text else _NO_TEXT for text in texts]

    def _verdicts(
        self, project_id: int, controls: Sequence[Control], tasks: Sequence[Mapping[str, Any]]
    ) -> dict[Place, Verdict]:
        """The LLM's verdicts on these tasks; none while Redis is gone: votes are better than a 500.

        People's answers are left out on purpose: they must not leak into a prediction that the
        next annotator of the same task sees.
        """
        places = [(t["id"], c.name) for t in tasks if is_id(t.get("id")) for c in controls]
        try:
            return self._pool(project_id).llm_verdicts(places)
        except redis.RedisError:
            return {}


def note(desk: Desk, labeled: Sequence[Labeled]) -> None:
    """Put the hard samples of labeled tasks up for review and take the settled ones off."""
    desk.settle_hard(member for one in labeled for member in one.settled)
    desk.add_hard(sample for one in labeled for sample in one.hard)


def is_id(value: object) -> bool:
    """Whether a task id is one that Label Studio gives."""
    return isinstance(value, int) and not isinstance(value, bool)


def _text(control: Control, task: Mapping[str, Any]) -> str | None:
    data = task.get("data")
    return text_of(control, data) if isinstance(data, Mapping) else None


def _labeled(
    task: Mapping[str, Any],
    controls: Sequence[Control],
    tag: str,
    decisions: Mapping[str, Decision],
    verdicts: Mapping[Place, Verdict],
) -> Labeled:
    task_id = task["id"] if is_id(task.get("id")) else None
    parts, hard, settled = [], [], []
    for control in controls:
        decision = decisions[control.name]
        text = _text(control, task)
        verdict = verdicts.get((task_id, control.name)) if task_id is not None else None
        if verdict and verdict.text != text:  # the task's text was edited since
            verdict = None
        parts.append(predictions.Part(control, decision, verdict))
        if task_id is None or text is None:
            continue
        sample = HardSample(
            task_id, control.name, text, decision.labels, decision.confidence, decision.reason, tag
        )
        annotated = bool(task.get("total_annotations"))
        if decision.hard and verdict is None and not annotated:
            hard.append(sample)
        else:
            settled.append(sample.member)
    return Labeled(task_id, predictions.prediction(tag, parts), tuple(hard), tuple(settled))


class SingleFlight:
    """Requests for the same text at the same time share one computation."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._flying: dict[tuple[object, str], Future[Decision]] = {}

    def run(
        self, key: object, texts: Sequence[str], decide: Callable[[list[str]], list[Decision]]
    ) -> dict[str, Decision]:
        """Every text's decision; each is computed once however many ask at the same time."""
        with self._lock:
            mine = [text for text in texts if (key, text) not in self._flying]
            for text in mine:
                self._flying[key, text] = Future()
            futures = {text: self._flying[key, text] for text in texts}
        if mine:
            self._compute(key, mine, futures, decide)
        return {text: future.result() for text, future in futures.items()}

    def _compute(
        self,
        key: object,
        texts: list[str],
        futures: Mapping[str, Future[Decision]],
        decide: Callable[[list[str]], list[Decision]],
    ) -> None:
        try:
            for text, decision in zip(texts, decide(texts), strict=True):
                futures[text].set_result(decision)
        except BaseException as error:
            for text in texts:
                if not futures[text].done():
                    futures[text].set_exception(error)
            raise
        finally:
            with self._lock:
                for text in texts:
                    del self._flying[key, text]
