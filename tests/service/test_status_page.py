"""The status page of a real web process: what it answers whom, and what its buttons do."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from machine import CONFIG, ROOT, Machine

from backend import pauses
from backend.label_config import parse
from backend.projects import Project
from training.card import Card
from training.model_store import CommitteeManifest

PROJECT = 7
HTML = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


def furnish(machine: Machine) -> list[str]:
    """A project with two tags; returns them, the served one first."""
    wiring = machine.wiring
    wiring.redis.flushall()
    wiring.projects.put(Project(PROJECT, CONFIG, "Reviews & <more>"))
    first = wiring.committees.ensure(PROJECT, parse(CONFIG))
    data = json.loads(json.dumps(wiring.store.committee(first).to_json()))
    second = wiring.store.save_committee(
        CommitteeManifest.from_json(data | {"stage": 1, "parent": first})
    )
    card = Card(second, first, 1, "promoted", "Promoted: for the test.", 0.5, 0.7, 20, "human")
    wiring.promotions(PROJECT).promote(second, replace(card, at=1e9), wiring.redis)
    return [second, first]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with Machine(tmp_path_factory.mktemp("page")) as one:
        one.start("web")
        yield one


@pytest.fixture
def machine(running: Machine) -> Machine:
    furnish(running)
    return running


class Browser:
    """A browser as far as forms need one: cookies, the token of the page, an Origin."""

    def __init__(self, machine: Machine, host: str = "", **more: str) -> None:
        self.machine = machine
        self.host = host or f"127.0.0.1:{machine.settings.port}"
        self.headers = {"Accept": HTML, "Host": self.host, **more}
        self.cookies = httpx.Cookies()
        self.auth: tuple[str, str] | None = None

    def ask(self, method: str, path: str, headers: dict[str, str], **more: Any) -> httpx.Response:
        jar = {"cookies": self.cookies, "auth": self.auth}
        answer = self.machine.http(method, path, headers={**self.headers, **headers}, **jar, **more)
        self.cookies.update(answer.cookies)
        return answer

    def page(self) -> str:
        answer = self.ask("GET", "/", {})
        assert answer.status_code == 200, answer.text
        return answer.text

    def token(self) -> str:
        found = re.search(r'name="token" value="(\w*)"', self.page())
        assert found
        return found[1]

    def press(
        self, action: str, origin: str | None = "", project: int = PROJECT, **fields: str
    ) -> httpx.Response:
        """Send a form; its Origin is our own unless told, None sends none."""
        headers = {} if origin is None else {"Origin": origin or f"http://{self.host}"}
        return self.ask("POST", f"/projects/{project}/{action}", headers, data=fields)


def test_browsers_get_the_page_and_all_others_what_health_tells(machine: Machine) -> None:
    health = machine.http("GET", "/health").json()
    for accept in ("*/*", "application/json", "", "application/json, text/plain, */*"):
        answer = machine.http("GET", "/", headers={"Accept": accept})
        assert answer.json().keys() == health.keys(), accept
        assert answer.json()["status"] == "UP" and answer.headers["Vary"] == "Accept"
    page = machine.http("GET", "/", headers={"Accept": HTML})
    assert page.headers["Content-Type"].startswith("text/html")
    assert "Reviews &amp; &lt;more&gt;" in page.text
    assert page.headers["X-Frame-Options"] == "DENY"
    assert page.headers["Cache-Control"] == "no-store"
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "script-src" not in policy
    cookie = page.headers["Set-Cookie"]
    assert "HttpOnly" in cookie and "SameSite=Lax" in cookie


def test_status_is_what_the_command_line_tells(machine: Machine) -> None:
    machine.wiring.journal.error("stage", "It did not train.", PROJECT)
    told = machine.command("status", "--json")
    assert told.returncode == 0, told.stderr
    answer = machine.http("GET", "/status")
    assert answer.json() == json.loads(told.stdout)
    assert answer.headers["Cache-Control"] == "no-store"
    (error,) = answer.json()["errors"]
    assert error["next_step"] == f"python -m backend stages --project {PROJECT}"


def test_train_now_sets_the_trigger_and_wakes_the_trainer(machine: Machine) -> None:
    browser, desk = Browser(machine), machine.wiring.projects.desk(PROJECT)
    answer = browser.press("train", token=browser.token())
    assert answer.status_code == 303
    assert str(answer.url.join(answer.headers["Location"]).path) == "/"
    assert desk.stage()["now"] == "1"
    assert machine.wiring.queues.lengths()["train"] == 1
    assert f"A stage of project {PROJECT} starts with 0 verdicts" in browser.page()
    assert "A stage of project" not in browser.page(), "it is told once"
    assert "A stage of project" not in Browser(machine).page(), "and to who pressed only"


def test_roll_back_serves_the_chosen_tag_and_tells_why_it_does_not(machine: Machine) -> None:
    promotions, browser = machine.wiring.promotions(PROJECT), Browser(machine)
    new, old = promotions.kept(3)
    assert browser.press("rollback", token=browser.token(), to=old).status_code == 303
    assert promotions.served() == old and promotions.history()[0].decision == "rollback"
    assert f"serves {old} again" in browser.page()
    browser.press("rollback", token=browser.token(), to="no-<b>such</b>-tag")
    assert promotions.served() == old
    page = browser.page()
    assert "Not done: Cannot roll back to" in page and "<b>such" not in page
    assert new in page


def test_pause_and_resume_review(machine: Machine) -> None:
    browser, redis = Browser(machine), machine.wiring.redis
    browser.press("pause", token=browser.token())
    assert pauses.is_paused(redis, PROJECT) and pauses.held(redis, PROJECT)
    assert "Review is paused by a person" in browser.page()
    (project,) = machine.http("GET", "/status").json()["projects"]
    assert project["held"] == pauses.held(redis, PROJECT)
    browser.press("resume", token=browser.token())
    assert not pauses.is_paused(redis, PROJECT)
    assert machine.wiring.queues.lengths()["review"] == 1
    for action, paused in (("pause", True), ("resume", False)):
        done = machine.command("review", action, "--project", str(PROJECT))
        assert done.returncode == 0, done.stderr
        assert pauses.is_paused(redis, PROJECT) is paused


def test_a_form_that_is_not_the_page_s_does_nothing(machine: Machine) -> None:
    browser, other = Browser(machine), Browser(machine)
    token, foreign = browser.token(), other.token()
    refused = [
        browser.press("train"),
        browser.press("train", token=""),
        browser.press("train", token="0" * 64),
        browser.press("train", token="\u00e4"),
        browser.press("train", token=foreign),
        browser.press("train", token=token, origin="http://evil.example"),
        browser.press("train", token=token, origin="http://127.0.0.1:1"),
        browser.press("train", token=token, origin="null"),
        browser.press("train", token=token, origin=None),
        Browser(machine).press("train", token=token),
    ]
    assert [answer.status_code for answer in refused] == [403] * len(refused)
    assert all("status page" in answer.json()["description"] for answer in refused)
    assert machine.wiring.projects.desk(PROJECT).stage() == {}
    assert browser.press("train", token=token, filler="x" * 5000).status_code == 413
    assert browser.press("explode", token=token).status_code == 404
    assert machine.http("GET", f"/projects/{PROJECT}/train").status_code == 405
    assert machine.wiring.projects.desk(PROJECT).stage() == {}
    assert browser.press("train", token=token).status_code == 303


def test_an_unknown_project_is_told_and_not_made(machine: Machine) -> None:
    browser = Browser(machine)
    assert browser.press("pause", project=4711, token=browser.token()).status_code == 303
    assert "Project 4711 is unknown" in browser.page()
    assert pauses.held(machine.wiring.redis, 4711) is None


@pytest.mark.parametrize(
    ("host", "header"),
    [
        ("rebound.example", {}),
        ("127.0.0.1.evil.example", {}),
        ("", {"X-Forwarded-For": "10.0.0.1"}),
        ("", {"Forwarded": "for=10.0.0.1"}),
    ],
)
def test_without_basic_auth_only_this_machine_by_its_own_name_may_act(
    machine: Machine, host: str, header: dict[str, str]
) -> None:
    stranger = Browser(machine, host, **header)
    page = stranger.page()
    assert "BASIC_AUTH_USER" in page and page.count("<button") == page.count("disabled aria-")
    assert 'name="token" value=""' in page and not stranger.cookies
    here = Browser(machine)
    token = here.token()
    stranger.cookies = here.cookies
    assert stranger.press("train", token=token).status_code == 403
    assert machine.wiring.projects.desk(PROJECT).stage() == {}


@pytest.mark.parametrize("name", ["localhost", "[::1]"])
def test_other_names_of_this_machine_may_act(machine: Machine, name: str) -> None:
    browser = Browser(machine, f"{name}:{machine.settings.port}")
    assert browser.press("train", token=browser.token()).status_code == 303


def test_with_basic_auth_whoever_has_it_may_act_under_any_name(tmp_path: Path) -> None:
    with Machine(tmp_path, BASIC_AUTH_USER="u", BASIC_AUTH_PASS="p") as one:
        furnish(one)
        one.start("web")
        browser = Browser(one, "labels.example")
        assert browser.ask("GET", "/", {}).status_code == 401
        assert browser.ask("GET", "/status", {}).status_code == 401
        assert browser.press("train").status_code == 401
        browser.auth = ("u", "p")
        assert browser.press("train").status_code == 403, "the browser adds it to any form"
        token = browser.token()
        assert browser.press("train", token=token, origin="http://x.example").status_code == 403
        assert browser.press("train", token=token, origin="https://labels.example").is_redirect
        assert one.wiring.projects.desk(PROJECT).stage()["now"] == "1"


def test_without_redis_the_page_says_what_to_do(tmp_path: Path) -> None:
    with Machine(tmp_path) as one:
        one.start("web")
        one.kill("redis")
        answer = one.http("GET", "/", headers={"Accept": HTML})
        assert answer.status_code == 503 and "make run" in answer.text
        assert one.http("GET", "/").json()["status"] == "UP"


def test_the_page_loads_no_trainer_no_model_code_and_no_llm_sdk(machine: Machine) -> None:
    asked = """
import sys
from falcon.testing import TestClient
import _wsgi
before = set(sys.modules)
answer = TestClient(_wsgi.app).simulate_get("/", headers={"Accept": "text/html"})
assert answer.status_code == 200 and "Reviews" in answer.text
print("MODULES", *sys.modules, "NEW", *set(sys.modules) - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", asked],
        env=machine.environ,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    loaded, new = done.stdout.partition("MODULES")[2].split("NEW")
    assert "meta_controller.ledger" in loaded.split()
    forbidden = {"anthropic", "openai", "peft", "training.stage", "training.fine_tune"}
    assert not forbidden & set(loaded.split())
    assert not [name for name in new.split() if name.split(".")[0] in ("torch", "transformers")]
