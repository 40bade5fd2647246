"""What is told of each request: its id, its line, its place in counters and histograms."""

from __future__ import annotations

import logging
from typing import Any

import falcon
import pytest
from falcon.testing import TestClient
from prometheus_client import CollectorRegistry

from backend import logs
from backend.web import problems
from backend.web.observer import Observer


class Tasks:
    """A route that works, one with a path of its own, and one that fails."""

    def __init__(self) -> None:
        self.about: Any = None

    def on_get(self, req: falcon.Request, resp: falcon.Response, number: int = 0) -> None:
        self.about = logs.about()

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        raise KeyError("a bug")


class App:
    """Both together."""

    def __init__(self) -> None:
        self.registry, self.tasks = CollectorRegistry(), Tasks()
        app: falcon.App[Any, Any] = falcon.App(middleware=[Observer(self.registry)])
        for route in ("/tasks", "/tasks/{number}", "/health"):
            app.add_route(route, self.tasks)
        problems.handle(app)
        self.client = TestClient(app)

    def counted(self, **labels: str) -> float | None:
        return self.registry.get_sample_value("autoannotator_http_requests_total", labels)


@pytest.fixture
def app() -> App:
    return App()


@pytest.mark.parametrize("given", ["a", "A-1", "0" * 64])
def test_a_sane_id_is_taken_over(app: App, given: str) -> None:
    answer = app.client.get("/tasks", headers={"X-Request-ID": given})
    assert answer.headers["x-request-id"] == given
    assert app.tasks.about == {"request_id": given}


@pytest.mark.parametrize("given", ["", "0" * 65, "a b", "a\u00e9", "a_b", "a;b=1", "<i>"])
def test_any_other_id_is_replaced_by_a_new_one(app: App, given: str) -> None:
    answers = [app.client.get("/tasks", headers={"X-Request-ID": given}) for _ in range(2)]
    made = {answer.headers["x-request-id"] for answer in answers}
    assert len(made) == 2
    assert all(len(one) == 32 and one != given for one in made)


def test_an_error_has_the_id_too_and_after_it_lines_are_about_nothing(app: App) -> None:
    answer = app.client.post("/tasks", headers={"X-Request-ID": "failed-1"})
    assert answer.status_code == 500
    assert answer.headers["x-request-id"] == "failed-1"
    assert logs.about() == {}


def test_routes_are_templates_and_unknown_methods_and_paths_are_one_each(app: App) -> None:
    for path in ("/tasks/1", "/tasks/2", "/secret-1", "/secret-2"):
        app.client.get(path)
    app.client.post("/tasks")
    app.client.simulate_request("TRACE", "/tasks")
    assert app.counted(route="/tasks/{number}", method="GET", status="2xx") == 2
    assert app.counted(route="unmatched", method="GET", status="4xx") == 2
    assert app.counted(route="/tasks", method="POST", status="5xx") == 1
    seen = {s.labels.get("method") for m in app.registry.collect() for s in m.samples}
    assert seen == {None, "GET", "POST", "other"}
    count = app.registry.get_sample_value
    name = "autoannotator_http_request_duration_seconds"
    assert count(f"{name}_count", {"route": "/tasks/{number}"}) == 2
    for bound in ("1.0", "100.0"):  # what Label Studio gives a hook, and a prediction
        assert count(f"{name}_bucket", {"route": "unmatched", "le": bound}) == 2


def test_a_request_is_a_line_with_its_fields_but_not_a_look_at_the_health(
    app: App, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="backend.web.observer"):
        app.client.get("/health")
        app.client.get("/tasks/7?key=secret")
    (record,) = caplog.records
    fields = vars(record)["fields"]
    assert fields.pop("ms") >= 0
    assert fields == {"method": "GET", "route": "/tasks/{number}", "status": 200}
    assert "secret" not in record.getMessage()
