"""The logs of all processes at LOG_LEVEL=DEBUG: what each line is about, and what none may hold."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from label_studio_server import free_port
from machine import CONFIG, Machine, eventually
from provider import KEY, Provider, Scene, says

from meta_controller.ledger import Ledger

HOOK = json.loads((Path(__file__).parents[1] / "unit/data/webhook_payloads.json").read_text())
PROJECT = 1
MARK = "zanzibar"
TEXTS = [
    f"The {MARK} parcel came, fine I guess, though the queue was long.",
    f"Not what the {MARK} advert said, but it works somehow.",
    f"{MARK} again. Whatever.",
    f"I expected worse of {MARK}, and better.",
]
AUTH = ("operator", "auth-pass-4711")
SECRETS = {
    "OPENAI_API_KEY": KEY,
    "LABEL_STUDIO_API_KEY": "ls-token-4711",
    "BASIC_AUTH_PASS": AUTH[1],
    "WEBHOOK_SECRET": "hook-secret-4711",
}
PROCESSES = ("web", "review", "push", "train")


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """All processes, after they did all that they do with texts and keys, and failed at some."""
    folder = tmp_path_factory.mktemp("logs")
    with Provider() as provider, Machine(folder, **SECRETS, **_settings(provider)) as one:
        # The second time it repeats the key in its words, as real ones do.
        refusal = Scene(401, message=f"Incorrect API key provided: {KEY}")
        good = says("positive", f"it is about {MARK}")
        provider.decide = lambda body: good if provider.calls == 1 else refusal
        one.start("web", "review", "push")
        one.post("/setup", {"project": f"{PROJECT}", "schema": CONFIG}, auth=AUTH)
        _predict(one)
        _annotate(one)
        ledger = Ledger(one.wiring.redis, PROJECT)
        eventually(lambda: ledger.spend().verdicts, 120, "the LLM's verdict")
        eventually(lambda: ledger.spend().failures, 60, "the LLM's refusal")
        # Nothing answers at LABEL_STUDIO_URL.
        one.wiring.projects.update(PROJECT, push=True)
        hook = {"action": "TASKS_CREATED", "project": {"id": PROJECT}, "tasks": [{"id": 9}]}
        one.post("/webhook", hook, auth=AUTH)
        eventually(lambda: _of_jobs(one, "push"), 60, "the import to fail")
        one.start("train")
        one.post("/webhook", {"action": "START_TRAINING", "project": {"id": PROJECT}}, auth=AUTH)
        eventually(lambda: _of_jobs(one, "train"), 120, "the train worker's answer")
        yield one


def _settings(provider: Provider) -> dict[str, str]:
    return {
        "LOG_LEVEL": "DEBUG",
        "LOG_FORMAT": "json",
        "LLM_PROVIDER": "openai",
        "LLM_MODEL": "local",
        "LLM_BASE_URL": f"{provider.url}/v1",
        "LLM_SHARE": "1",
        "LLM_PACK": "1",
        "LLM_CONCURRENCY": "1",
        "LLM_PRICE": "1,5",
        "AUDIT_SHARE": "0",
        "DECISION_RULE": "paper",
        "BASIC_AUTH_USER": AUTH[0],
        "LABEL_STUDIO_URL": f"http://127.0.0.1:{free_port()}",
    }


def _predict(machine: Machine) -> None:
    tasks = [{"id": 100 + n, "data": {"text": text}} for n, text in enumerate(TEXTS)]
    body = {"project": f"{PROJECT}", "label_config": CONFIG, "tasks": tasks}
    answer = machine.post("/predict", body, auth=AUTH, headers={"X-Request-ID": "predict-1"})
    assert answer.status_code == 200, answer.text


def _annotate(machine: Machine) -> None:
    hook = json.loads(json.dumps(HOOK["ANNOTATION_CREATED"]))
    hook["project"]["id"] = hook["annotation"]["project"] = PROJECT
    hook["project"]["label_config"] = CONFIG
    hook["task"]["data"] = {"text": TEXTS[0]}
    headers = {"X-Webhook-Secret": SECRETS["WEBHOOK_SECRET"]}
    assert machine.post("/webhook", hook, headers=headers).status_code == 200


def _lines(machine: Machine, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in machine.log(name).splitlines()]


def _of_jobs(machine: Machine, name: str) -> list[dict[str, Any]]:
    """What the jobs of a worker wrote about themselves."""
    return [line for line in _lines(machine, name) if line["logger"] == "backend.jobs"]


@pytest.mark.parametrize("name", PROCESSES)
def test_no_log_holds_task_text_keys_or_headers(machine: Machine, name: str) -> None:
    log = machine.log(name)
    assert log
    basic = base64.b64encode(":".join(AUTH).encode()).decode()
    for secret in (MARK, basic, *SECRETS.values()):
        assert secret not in log, [line for line in log.splitlines() if secret in line][:3]


@pytest.mark.parametrize("name", PROCESSES)
def test_every_line_is_an_object_with_its_time_level_logger_and_message(
    machine: Machine, name: str
) -> None:
    lines = _lines(machine, name)
    assert lines
    for line in lines:
        assert {"time", "level", "logger", "message"} <= set(line)
        assert line["time"].endswith("Z")
        assert "\x1b" not in line["message"]


def test_lines_of_the_web_process_name_the_request(machine: Machine) -> None:
    lines = _lines(machine, "web")
    (first, *_) = (one for one in lines if one.get("route") == "/predict")
    assert first["request_id"] == "predict-1"
    assert first["method"] == "POST"
    assert first["status"] == 200
    assert first["ms"] > 0
    assert all("request_id" in one for one in lines if one["logger"].startswith("backend"))
    assert not any("/health" in one["message"] for one in lines)
    assert any(one["logger"] == "gunicorn.error" for one in lines)


@pytest.mark.parametrize("name", ["review", "push", "train"])
def test_lines_of_a_worker_name_the_job(machine: Machine, name: str) -> None:
    lines = _of_jobs(machine, name)
    assert name in {line["job"] for line in lines}
    assert all(line["project"] == PROJECT and line["job_id"] for line in lines)
    ids = {line["job_id"] for line in lines}
    assert ids & {
        one.get("job_id") for one in _lines(machine, name) if one["logger"] == "rq.worker"
    }
