"""The web process as Label Studio meets it: gunicorn and a real Redis, as processes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from machine import CONFIG, Machine, eventually

HOOKS = json.loads((Path(__file__).parents[1] / "unit/data/webhook_payloads.json").read_text())
PRAISE = "I love this, it is wonderful and I am so happy with it!"


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with Machine(tmp_path_factory.mktemp("web")) as one:
        one.start("web")
        yield one


def predict(machine: Machine, tasks: list[Any], project: str = "1.1795") -> list[dict[str, Any]]:
    body = {"project": project, "label_config": CONFIG, "tasks": tasks}
    # Escaped by json.dumps: half a surrogate pair is legal JSON, and cannot be encoded as UTF-8.
    answer = machine.http("POST", "/predict", content=json.dumps(body))
    assert answer.status_code == 200, answer.text
    results: list[dict[str, Any]] = answer.json()["results"]
    return results


def choice(prediction: dict[str, Any]) -> str | None:
    regions = prediction["result"]
    return regions[0]["value"]["choices"][0] if regions else None


def test_setup_and_every_prediction_name_the_same_tag(machine: Machine) -> None:
    setup = machine.post("/setup", {"project": "1.1795", "schema": CONFIG}).json()
    (one,) = predict(machine, [{"id": 1, "data": {"text": PRAISE}}])
    assert one["model_version"] == setup["model_version"]
    assert choice(one) == "positive"
    assert 0 < one["score"] <= 1
    meta = one["result"][0]["meta"]
    assert {vote["member"] for vote in meta["votes"]} == {"reviews", "tweets", "finance"}
    assert setup["model_version"] in machine.http("GET", "/versions").json()["versions"]


@pytest.mark.parametrize(
    "text",
    [
        "x " * 500_000,
        "   \n\t ",
        "<p>Great <b>thing</b></p>",
        "😀" * 400,
        42,
        3.5,
        None,
        True,
        ["a", "b"],
        {"a": 1},
        "\x00\ud83d broken",
        "",
    ],
    ids=lambda text: f"{type(text).__name__} {str(text)[:8]!a}",
)
def test_strange_texts_get_a_prediction_or_an_abstention(machine: Machine, text: Any) -> None:
    tasks = [{"id": 7, "data": {"text": text}}, {"id": 8, "data": {"text": PRAISE}}]
    strange, plain = predict(machine, tasks)
    assert choice(plain) == "positive"
    assert choice(strange) in (None, "positive", "neutral", "negative")
    assert isinstance(strange["score"], float)


def test_one_result_a_task_in_order_whatever_the_tasks_are(machine: Machine) -> None:
    good = {"id": 3, "data": {"text": PRAISE}}
    tasks = [good, {"id": 4}, {"id": 5, "data": {}}, "no task", {"data": {"text": PRAISE}}, good]
    answers = [choice(one) for one in predict(machine, tasks)]
    assert answers == ["positive", None, None, None, "positive", "positive"]
    assert predict(machine, []) == []


def test_what_people_answered_does_not_leak_into_a_prediction(machine: Machine) -> None:
    region = {
        "from_name": "sentiment",
        "to_name": "text",
        "type": "choices",
        "value": {"choices": ["negative"]},
    }
    told = {
        "id": 9,
        "data": {"text": PRAISE},
        "annotations": [{"result": [region]}],
        "predictions": [{"result": [region], "model_version": "x"}],
    }
    plain = {"id": 9, "data": {"text": PRAISE}}
    assert predict(machine, [told]) == predict(machine, [plain])


def test_two_requests_for_a_task_at_once_get_the_same_answer(machine: Machine) -> None:
    tasks = [{"id": 11, "data": {"text": "Fine I guess, though the queue was long."}}]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: predict(machine, tasks), range(8)))
    assert all(one == answers[0] for one in answers)


@pytest.mark.parametrize(
    ("path", "body", "named"),
    [
        ("/predict", b"{nope", "JSON"),
        ("/predict", b"[1, 2]", "object"),
        ("/predict", {"project": "1", "label_config": CONFIG}, "tasks"),
        ("/predict", {"project": "1", "label_config": CONFIG, "tasks": {"id": 1}}, "tasks"),
        ("/predict", {"project": "1", "label_config": CONFIG, "tasks": [{"id": 1}]}, "data"),
        ("/predict", {"label_config": CONFIG, "tasks": []}, "project"),
        ("/predict", {"project": "x", "label_config": CONFIG, "tasks": []}, "project"),
        ("/predict", {"project": "1", "tasks": []}, "label_config"),
        ("/predict", {"project": "1", "label_config": "not xml", "tasks": []}, "XML"),
        (
            "/predict",
            {"project": "1", "label_config": "<View/>", "tasks": []},
            "No control over text",
        ),
        ("/setup", {"project": "1", "schema": "<View/>"}, "No control"),
        ("/setup", {"project": "99"}, "schema"),
        ("/setup", {}, "project"),
        ("/webhook", b"", "JSON"),
        ("/job_status", {}, "job"),
    ],
)
def test_bad_requests_say_which_field_and_what_is_expected(
    machine: Machine, path: str, body: Any, named: str
) -> None:
    sent = {"content": body} if isinstance(body, bytes) else {"json": body}
    answer = machine.http("POST", path, **sent)
    assert answer.status_code == 400, answer.text
    error = answer.json()
    assert set(error) == {"title", "description", "next_step"}
    assert named in error["title"] + error["description"], error
    assert error["next_step"]
    assert machine.http("GET", "/health").json()["status"] == "UP"


def test_webhooks_of_unknown_projects_and_events_are_counted_and_ignored(machine: Machine) -> None:
    before = machine.wiring.journal.counters()
    for body in ({"action": "ANNOTATION_CREATED", "project": {"id": 4711}}, {"action": "X"}, {}):
        assert machine.post("/webhook", body).status_code == 200
    after = machine.wiring.journal.counters()
    assert sum(after.values()) == sum(before.values()) + 3
    machine.post("/setup", {"project": "1", "schema": CONFIG})
    assert machine.post("/webhook", {"action": "NEW", "project": {"id": 1}}).status_code == 200


def test_recorded_hooks_put_peoples_answers_and_nothing_else_into_the_pool(
    machine: Machine,
) -> None:
    project = HOOKS["ANNOTATION_CREATED"]["project"]
    machine.post("/setup", {"project": str(project["id"]), "schema": project["label_config"]})
    pool = machine.wiring.pool(project["id"])

    def send(name: str) -> set[int | None]:
        answer = machine.post("/webhook", HOOKS[name])
        assert answer.status_code == 200, answer.text
        return {verdict.annotation_id for verdict in pool.verdicts()}

    assert send("ANNOTATION_CREATED") == {2}
    assert send("ANNOTATION_CREATED_from_pred") == {1, 2}
    assert pool.waiting() == 2
    assert send("SKIP") == {1, 2}, "a skip carries the pre-annotation and is no answer"
    assert send("ANNOTATIONS_CREATED") == {1, 2}, "copied predictions are a machine's labels"
    assert send("UNSKIP") == {1, 2, 3}
    assert send("ANNOTATION_UPDATED") == {1, 2, 3}
    assert send("GT") == {1, 2, 3}
    assert send("ANNOTATIONS_DELETED") == {1, 3}
    for name in ("TASKS_CREATED", "TASKS_DELETED", "PROJECT_UPDATED", "DM_DELETE"):
        assert send(name) == {1, 3}
    assert machine.wiring.projects.desk(project["id"]).stage().get("now") != "1"
    send("START_TRAINING")
    assert machine.wiring.projects.desk(project["id"]).stage()["now"] == "1"


def test_a_body_over_the_limit_is_refused_with_the_setting_that_bounds_it(tmp_path: Path) -> None:
    with Machine(tmp_path, MAX_BODY_MB="1") as one:
        one.start("web")
        body = {"project": "1", "tasks": [{"data": {"text": "x" * 1_100_000}}]}
        answer = one.post("/predict", body)
        assert answer.status_code == 413
        assert "MAX_BODY_MB" in answer.json()["description"]


def test_basic_auth_guards_everything_but_health(tmp_path: Path) -> None:
    secrets = {"BASIC_AUTH_USER": "u", "BASIC_AUTH_PASS": "p", "WEBHOOK_SECRET": "s3"}
    with Machine(tmp_path, **secrets) as one:
        one.start("web")
        setup = {"project": "1", "schema": CONFIG}
        hook = {"action": "X", "project": {"id": 1}}
        refused = one.post("/setup", setup)
        assert refused.status_code == 401
        assert "connect" in refused.json()["description"]
        assert one.post("/setup", setup, auth=("u", "wrong")).status_code == 401
        assert one.post("/setup", setup, auth=("u", "p")).status_code == 200
        assert one.post("/webhook", hook).status_code == 401
        assert one.post("/webhook", hook, auth=("u", "p")).status_code == 200
        assert one.post("/webhook", hook, headers={"X-Webhook-Secret": "s3"}).status_code == 200
        assert one.post("/setup", setup, headers={"X-Webhook-Secret": "s3"}).status_code == 401


def test_without_redis_predictions_go_on_and_webhooks_get_503(tmp_path: Path) -> None:
    with Machine(tmp_path) as one:
        one.start("web")
        before = predict(one, [{"id": 1, "data": {"text": PRAISE}}])
        one.kill("redis")
        assert predict(one, [{"id": 1, "data": {"text": PRAISE}}]) == before
        assert one.post("/setup", {"project": "1.1795", "schema": CONFIG}).json() == {
            "model_version": before[0]["model_version"]
        }
        other = predict(one, [{"id": 1, "data": {"text": PRAISE}}], project="2")
        assert choice(other[0]) == "positive", "a project never seen gets the first committee"
        answer = one.post("/webhook", HOOKS["ANNOTATION_CREATED"])
        assert answer.status_code == 503
        assert answer.headers["Retry-After"]
        one.start("redis")
        eventually(
            lambda: one.post("/webhook", {"action": "X", "project": {"id": 1}}).status_code == 200,
            10,
            "webhooks to be taken again",
        )
