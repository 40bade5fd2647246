"""`GET /metrics`: what it tells of a busy project, and that dashboard and alerts ask no more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from falcon.testing import TestClient
from machine import CONFIG, Machine
from monitoring import alerts, dashboard_expressions, parse
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families
from provider import Provider, Scene, says
from redis import Redis
from world import PROJECT, MakeWorld, World

from backend import report
from backend.labeling import Labeled, note
from backend.web.app import create_app
from training.card import Card

PROMETHEUS = {"up": {"job", "instance"}}
"""What Prometheus itself adds, and to each of our metrics."""
TARGET = {"job", "instance"}
LOOKS_AT_EACH = {"hvals", "hkeys", "hscan", "sscan", "zscan", "keys", "zrangebyscore", "sort"}


class Scrape:
    """What one answer says."""

    def __init__(self, text: str) -> None:
        self.labels: dict[str, set[str]] = {}
        self.values: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                self.labels.setdefault(sample.name, set()).update(sample.labels)
                self.values[sample.name, frozenset(sample.labels.items())] = sample.value

    def __call__(self, name: str, **labels: str) -> float | None:
        return self.values.get((f"autoannotator_{name}", frozenset(labels.items())))


def scraped(world: World) -> Scrape:
    answer = TestClient(create_app(world.wiring)).get("/metrics")
    assert answer.status_code == 200
    return Scrape(answer.text)


def card(decision: str, duration_s: float, tag: str = "stage-1-x") -> Card:
    return Card(tag, "stage-0-x", 1, decision, "as told", duration_s=duration_s)  # type: ignore[arg-type]


@pytest.fixture
def busy(make_world: MakeWorld, provider: Provider) -> World:
    """A project with verdicts of both sources, a failed call, stages, an error, a job, a worker."""
    world = make_world(LLM_PRICE="1,5", LLM_BUDGET_USD="10", LLM_SHARE="1", DECISION_RULE="paper")
    world.observe()
    wiring = world.wiring
    for task in (1, 2, 3):
        world.hard(task)
    sample = world.desk.hard()[0]
    note(world.desk, [Labeled(1, {}, (sample,), (), 3), Labeled(4, {}, (), ("4:sentiment",), 3)])
    world.human(5)
    world.human(5)  # said again, it is the same answer
    scenes = iter([says("positive"), says("negative")])
    provider.decide = lambda body: next(scenes, Scene(401, code="invalid_api_key"))
    world.review()
    promotions = wiring.promotions(PROJECT)
    promotions.promote("stage-1-x", card("promoted", 60.0), wiring.redis)
    for n in (2, 3):
        promotions.refuse(card("refused", 10.0 * n, f"stage-{n}-x"), wiring.redis)
    for _ in range(3):
        wiring.journal.error("stage", "as told", PROJECT)
    estimate = {"basis": "audits", "n": 60, "accuracy": 0.9, "low": 0.8, "high": 0.95}
    report.write(wiring, PROJECT, {"control": "sentiment", "estimate": estimate})
    wiring.queues.put("shard", PROJECT, "run-1")
    wiring.queues.report("review", "one")
    return world


def test_it_tells_what_all_processes_did(busy: World) -> None:
    found, project = scraped(busy), str(PROJECT)
    expected: Mapping[tuple[str, tuple[tuple[str, str], ...]], float] = {
        ("redis_up", ()): 1,
        ("decisions_total", (("project", project),)): 2,
        ("hard_decisions_total", (("project", project),)): 1,
        ("votes_total", (("project", project),)): 6,
        ("verdicts_total", (("project", project), ("source", "human"))): 1,
        ("verdicts_total", (("project", project), ("source", "llm"))): 2,
        ("llm_answers_total", (("project", project), ("outcome", "verdict"))): 2,
        ("llm_budget_cap", (("project", ""), ("setting", "LLM_BUDGET_USD"))): 10,
        ("hard_samples", (("project", project),)): 1,
        ("stages_total", (("project", project), ("decision", "promoted"))): 1,
        ("stages_total", (("project", project), ("decision", "refused"))): 2,
        ("stage_seconds_total", (("project", project),)): 110,
        ("last_stage_duration_seconds", (("project", project),)): 30,
        ("stages_refused_in_a_row", (("project", project),)): 2,
        ("served_tag_info", (("project", project), ("tag", "stage-1-x"))): 1,
        ("errors_total", (("where", "stage"),)): 3,
        ("queue_jobs", (("queue", "push"),)): 1,
        ("workers", (("kind", "review"),)): 1,
        ("workers", (("kind", "train"),)): 0,
        (
            "accuracy_low_ratio",
            (("project", project), ("control", "sentiment"), ("basis", "audits")),
        ): 0.8,
    }
    told = {(name, labels): found(name, **dict(labels)) for name, labels in expected}
    assert told == expected
    spent = busy.wiring.ledger(PROJECT, busy.wiring.price(busy.wiring.language_model)).spend()  # type: ignore[arg-type]
    assert found("llm_spent_usd_total", project=project) == spent.usd > 0
    assert found("llm_calls_total", project=project) == spent.calls
    assert found("llm_tokens_total", project=project, kind="sent") == spent.tokens.sent > 0
    failed = sum(v for (name, _), v in found.values.items() if name.endswith("llm_failures_total"))
    assert failed == sum(spent.failures.values()) > 0
    used = found("llm_budget_used", project="", setting="LLM_BUDGET_USD")
    assert used is not None and used >= spent.usd
    assert (found("hard_sample_oldest_age_seconds", project=project) or 0) > 0
    assert (found("queue_oldest_age_seconds", queue="push") or 0) > 0


def test_dashboard_and_alerts_ask_only_for_metrics_and_labels_that_exist(busy: World) -> None:
    client = TestClient(create_app(busy.wiring))
    client.get("/nothing")
    labels = {**Scrape(client.get("/metrics").text).labels, **PROMETHEUS}
    asked = [parse(expression) for expression in (*dashboard_expressions(), *alerts())]
    for one in asked:
        for name, matched in one.metrics:
            assert name in labels, name
            assert matched <= labels[name] | TARGET, name
        assert one.grouping <= set().union(*(labels[name] for name, _ in one.metrics))
    used = {name for one in asked for name, _ in one.metrics}
    ours = {name for name in labels if name.startswith("autoannotator_")}
    unseen = {name for name in ours - used if not name.endswith(("_count", "_sum", "_build_info"))}
    assert unseen == set(), "every metric is shown somewhere"


def test_it_speaks_open_metrics_where_that_is_asked_for(busy: World) -> None:
    accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
    answer = TestClient(create_app(busy.wiring)).get("/metrics", headers=accept)
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    families = {family.name: family for family in open_metrics(answer.text)}
    assert families["autoannotator_verdicts"].type == "counter"


def test_a_scrape_costs_as_much_whatever_waits(busy: World, redis: Redis) -> None:
    def commands() -> dict[str, int]:
        return {name: row["calls"] for name, row in redis.info("commandstats").items()}

    def cost() -> dict[str, int]:
        before = commands()
        scraped(busy)
        return {n: c - before.get(n, 0) for n, c in commands().items() if c != before.get(n, 0)}

    scraped(busy)
    small = cost()
    for task in range(10, 200):
        busy.hard(task)
        busy.human(task)
    assert cost() == small
    assert {name.removeprefix("cmdstat_") for name in small} & LOOKS_AT_EACH == set()


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    with Machine(tmp_path, BASIC_AUTH_USER="u", BASIC_AUTH_PASS="p") as one:
        one.start("web")
        yield one


def test_behind_basic_auth_and_without_redis_it_still_tells_of_the_process(
    machine: Machine,
) -> None:
    auth = ("u", "p")
    assert machine.http("GET", "/metrics").status_code == 401
    machine.post("/setup", {"project": "1", "schema": CONFIG}, auth=auth)
    first = Scrape(machine.http("GET", "/metrics", auth=auth).text)
    assert first("redis_up") == 1
    assert first("http_requests_total", route="/setup", method="POST", status="2xx") == 1
    assert first("http_requests_total", route="unmatched", method="GET", status="4xx") == 1
    assert first("decisions_total", project="1") == 0
    machine.kill("redis")
    answer = machine.http("GET", "/metrics", auth=auth)
    assert answer.status_code == 200
    second = Scrape(answer.text)
    assert second("redis_up") == 0
    assert second("decisions_total", project="1") is None
    assert second("http_requests_total", route="/metrics", method="GET", status="2xx") == 1
    assert second.values["process_resident_memory_bytes", frozenset()] > 0
