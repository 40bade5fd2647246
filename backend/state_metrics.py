"""Metrics of the whole backend, read from Redis at each scrape.

Every process counts there, so they include the workers, whom nobody scrapes, and survive restarts.
A scrape reads sums, lengths, reports and promotion cards, and never looks at tasks, samples or
verdicts one by one. Labels are project ids, tags, names of controls and words of ours: no text.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from itertools import takewhile
from typing import TYPE_CHECKING

import redis
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from backend import project_settings, report
from backend.wiring import Wiring
from training.card import Card

if TYPE_CHECKING:
    from meta_controller.budget import Caps

_PROJECT = ("project",)
_ESTIMATE = ("project", "control", "basis")
_COUNTERS = {
    "decisions": ("Decisions of committees about tasks, repeated ones again.", _PROJECT),
    "hard_decisions": ("Decisions that made a hard sample.", _PROJECT),
    "votes": ("Votes of specialists in these decisions.", _PROJECT),
    "verdicts": ("Verdicts given, changed ones again.", ("project", "source")),
    "llm_calls": ("Calls to the LLM that ended.", _PROJECT),
    "llm_answers": ("Questions that the LLM answered.", ("project", "outcome")),
    "llm_failures": ("Questions to the LLM that failed.", ("project", "kind")),
    "llm_tokens": (
        "Tokens sent (cached and stored ones among them), written.",
        ("project", "kind"),
    ),
    "llm_spent_usd": ("USD that the LLM took, by list price.", _PROJECT),
    "stages": ("Promotion cards, by decision.", ("project", "decision")),
    "stage_seconds": ("Seconds that stages took in all.", _PROJECT),
    "errors": ("Errors noted in the journal, by part of the backend.", ("where",)),
}
_GAUGES = {
    "served_tag_info": ("The tag that is served.", ("project", "tag")),
    "hard_samples": ("Hard samples without a verdict.", _PROJECT),
    "hard_sample_oldest_age_seconds": ("For how long the oldest of them waits.", _PROJECT),
    "work_waiting": ("Tasks to predict or to patch, samples to review.", ("project", "work")),
    "pool_waiting": ("Verdicts in the pool that wait for the next stage.", _PROJECT),
    "pool_set_aside": ("Verdicts whose labels are none of the project's now.", _PROJECT),
    "last_stage_duration_seconds": ("What the last stage took.", _PROJECT),
    "stages_refused_in_a_row": ("Stages refused since the last other card.", _PROJECT),
    "accuracy_ratio": ("Estimated accuracy of accepted labels.", _ESTIMATE),
    "accuracy_low_ratio": ("Lower end of its interval (95 %).", _ESTIMATE),
    "accuracy_high_ratio": ("Upper end of its interval (95 %).", _ESTIMATE),
    "llm_budget_cap": ("Caps that are set, USD or tokens by setting.", ("project", "setting")),
    "llm_budget_used": ("What is spent or reserved of them.", ("project", "setting")),
    "queue_jobs": ("Jobs that wait for a worker.", ("queue",)),
    "queue_oldest_age_seconds": ("For how long the first of them waits.", ("queue",)),
    "workers": ("Workers alive.", ("kind",)),
}
_STAGE = ("promoted", "refused")

Row = tuple[str, tuple[object, ...], float]
"""A metric's name, the values of its labels, and its value."""


class StateCollector(Collector):
    """Reads all of it at once; without Redis it tells that, and nothing else."""

    def __init__(self, wiring: Wiring) -> None:
        self._wiring = wiring

    def collect(self) -> Iterator[Metric]:
        """All metrics of all projects."""
        try:
            rows = list(self._rows())
        except redis.RedisError:
            rows = None
        up = "Whether Redis answers; without it there are no figures of projects and workers."
        yield GaugeMetricFamily("autoannotator_redis_up", up, rows is not None)
        yield from _families(rows or ())

    def _rows(self) -> Iterator[Row]:
        wiring, queues = self._wiring, self._wiring.queues
        for queue, n in queues.lengths().items():
            yield "queue_jobs", (queue,), n
        for queue, age_s in queues.oldest_s().items():
            yield "queue_oldest_age_seconds", (queue,), age_s
        for kind, n in queues.workers().items():
            yield "workers", (kind,), n
        for where, n in wiring.journal.totals().items():
            yield "errors", (where,), n
        caps = self._caps()
        yield from self._budget("", replace(caps, project_usd=None))
        for project_id in wiring.projects.ids():
            of = project_settings.applied(
                wiring.redis,
                project_id,
                replace(wiring.settings, llm_budget_project_usd=caps.project_usd),
            )
            yield from self._budget(
                project_id, replace(of.llm_caps, usd=None, day_usd=None, tokens=None)
            )
            yield from self._work(project_id)
            yield from self._learning(project_id)
            yield from self._llm(project_id)

    def _work(self, project_id: int) -> Iterator[Row]:
        desk, one = self._wiring.projects.desk(project_id), (project_id,)
        waiting, decided, since = desk.waiting(), desk.decided(), desk.oldest_hard()
        yield "decisions", one, decided.get("all", 0)
        yield "hard_decisions", one, decided.get("hard", 0)
        yield "votes", one, decided.get("votes", 0)
        yield "hard_samples", one, waiting["hard"]
        yield "hard_sample_oldest_age_seconds", one, max(0.0, time.time() - since) if since else 0
        for work in ("predict", "patch", "review"):
            yield "work_waiting", (project_id, work), waiting[f"to_{work}"]

    def _learning(self, project_id: int) -> Iterator[Row]:
        wiring, one = self._wiring, (project_id,)
        pool, promotions = wiring.pool(project_id), wiring.promotions(project_id)
        for source, n in {"human": 0, "llm": 0, **pool.added()}.items():
            yield "verdicts", (project_id, source), n
        yield "pool_waiting", one, pool.waiting()
        yield "pool_set_aside", one, pool.size_aside()
        if tag := promotions.served():
            yield "served_tag_info", (project_id, tag), 1
        for name, labels, value in _of_cards(promotions.history()):
            yield name, (project_id, *labels), value
        for found in report.read(wiring, project_id):
            estimate = found["estimate"]
            labels = (project_id, found["control"], estimate["basis"])
            if estimate["accuracy"] is not None:
                yield "accuracy_ratio", labels, estimate["accuracy"]
                yield "accuracy_low_ratio", labels, estimate["low"]
                yield "accuracy_high_ratio", labels, estimate["high"]

    def _llm(self, project_id: int) -> Iterator[Row]:
        from meta_controller.ledger import Ledger

        spend, one = Ledger(self._wiring.redis, project_id).spend(), (project_id,)
        yield "llm_calls", one, spend.calls
        yield "llm_spent_usd", one, spend.usd
        yield "llm_answers", (project_id, "verdict"), spend.verdicts
        yield "llm_answers", (project_id, "unsure"), spend.unsure
        yield "llm_answers", (project_id, "answered"), spend.answered
        for kind, n in spend.failures.items():
            yield "llm_failures", (project_id, kind), n
        for kind, n in asdict(spend.tokens).items():
            yield "llm_tokens", (project_id, kind), n

    def _caps(self) -> Caps:
        """The caps of the review workers, whose environment is not this process's."""
        from meta_controller.budget import Caps

        told = self._wiring.queues.told("review").get("llm_caps")
        return Caps(**json.loads(told)) if told else self._wiring.settings.llm_caps

    def _budget(self, project: int | str, caps: Caps) -> Iterator[Row]:
        """The caps on one project, or on all of them together (an empty label)."""
        from meta_controller.budget import Budget

        for bound in Budget(self._wiring.redis, int(project or 0), caps).bounds():
            yield "llm_budget_cap", (project, bound.setting), bound.cap
            yield "llm_budget_used", (project, bound.setting), bound.used


def _of_cards(cards: Sequence[Card]) -> Iterator[Row]:
    """What a history (newest first) says; a rollback's card repeats an older one's duration."""
    for decision, n in Counter(card.decision for card in cards).items():
        yield "stages", (decision,), n
    took = [card.duration_s for card in cards if card.decision in _STAGE]
    yield "stage_seconds", (), sum(took)
    if took:
        yield "last_stage_duration_seconds", (), took[0]
    refused = takewhile(lambda card: card.decision == "refused", cards)
    yield "stages_refused_in_a_row", (), len(list(refused))


def _families(rows: Sequence[Row]) -> list[Metric]:
    found = {
        name: kind(f"autoannotator_{name}", text, labels=labels)
        for kind, table in ((CounterMetricFamily, _COUNTERS), (GaugeMetricFamily, _GAUGES))
        for name, (text, labels) in table.items()
    }
    for name, values, value in rows:
        found[name].add_metric([str(one) for one in values], value)
    return list(found.values())
