"""Story 9b: three people answer the same tasks, one of them carelessly; the team's tools tell."""

from __future__ import annotations

import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import httpx
import pytest
from playwright.sync_api import Page, expect
from running_demo import Demo, eventually

from backend.conflict_tab import TITLE
from backend.demo.projects import named
from backend.jobs.known import people_said
from backend.label_studio import LabelStudio
from backend.label_studio_process import login_for_token

TASKS = 48
ERRORS = {"ann": 0.06, "ben": 0.12, "carla": 0.6}
PASSWORD = "secret-of-a-test"
KEY = named("sentiment").key("task")[:TASKS]
LABELS = named("sentiment").labels


def email(person: str) -> str:
    return f"{person}@example.com"


def sign_up(url: str, person: str) -> None:
    """Make an account as people do, through the form; Label Studio's default lets anybody."""
    with httpx.Client(base_url=url, timeout=30.0) as http:
        http.get("/user/signup/")
        form = {
            "email": email(person),
            "password": PASSWORD,
            "csrfmiddlewaretoken": http.cookies["csrftoken"],
        }
        done = http.post("/user/signup/", data=form, headers={"Referer": f"{url}/user/signup/"})
        assert done.status_code == 302, f"{person} has no account: {done.status_code}"


def script() -> dict[str, list[str]]:
    """What each person answers, task by task."""
    rng = random.Random(7)
    said: dict[str, list[str]] = {person: [] for person in ERRORS}
    for row in KEY:
        for person, rate in ERRORS.items():
            others = [label for label in LABELS if label != row["label"]]
            said[person].append(row["label"] if rng.random() >= rate else rng.choice(others))
    return said


def answer(client: LabelStudio, given: tuple[int, str]) -> None:
    task, label = given
    region = {"from_name": "sentiment", "to_name": "text", "type": "choices"}
    client.create_annotation(task, [{**region, "value": {"choices": [label]}}], lead_time=2.0)


@pytest.fixture(scope="module")
def project_id(demo: Demo) -> int:
    """A connected project that three people have answered."""
    config = named("sentiment").label_config
    project = demo.label_studio.create_project("A team", config, maximum_annotations=len(ERRORS))
    number = int(project["id"])
    tasks = demo.label_studio.import_tasks(number, [{"text": row["text"]} for row in KEY])
    demo.command("connect", "--project", str(number))
    url = demo.record["label_studio_url"]
    for person, said in script().items():
        sign_up(url, person)
        with LabelStudio(url, login_for_token(url, email(person), PASSWORD)) as client:
            with ThreadPoolExecutor(4) as threads:
                list(threads.map(partial(answer, client), zip(tasks, said, strict=True)))
    everything = TASKS * len(ERRORS)
    pool = demo.wiring.pool(number)
    eventually(lambda: pool.counts()["human"] == everything, 60, "the answers")
    return number


def test_the_careless_one_is_found(demo: Demo, project_id: int) -> None:
    told = demo.command("people", "--project", str(project_id))
    assert f"{email('carla')} stands out: right in" in told
    assert f"{email('ann')}: {TASKS} answers" in told
    assert told.count("stands out") == 1


def test_what_they_say_together_beats_the_majority(demo: Demo, project_id: int) -> None:
    truth = {row["text"]: row["label"] for row in KEY}
    together = people_said(demo.wiring.pool(project_id).verdicts(), "sentiment").values()
    ours = sum(verdict.labels == (truth[verdict.text],) for verdict in together)
    majority = 0.0  # of equals one is drawn
    for row, *said in zip(KEY, *script().values(), strict=True):
        votes = Counter(said)
        most = [label for label in votes if votes[label] == max(votes.values())]
        majority += (row["label"] in most) / len(most)
    print(f"of {TASKS} tasks together {ours} right, majority {majority:.1f}")
    assert ours > majority + 1


def test_conflicts_are_one_tab_that_lists_their_tasks(demo: Demo, project_id: int) -> None:
    told = demo.command("conflicts", "--project", str(project_id))
    demo.command("conflicts", "--project", str(project_id))
    mine = [v for v in demo.label_studio.views(project_id) if v["data"]["title"] == TITLE]
    assert len(mine) == 1
    titles = [view["data"]["title"] for view in demo.label_studio.views(project_id)]
    assert titles == ["Default", TITLE], "all tasks are listed as before"
    listed = [item["value"] for item in mine[0]["data"]["filters"]["items"]]
    assert f"lists {len(listed)} tasks" in told
    assert 0 < len(listed) < TASKS
    assert shown(demo, project_id, int(mine[0]["id"])) == listed


def test_the_tab_opens_in_the_browser_and_follows(demo: Demo, project_id: int, page: Page) -> None:
    (view,) = (v for v in demo.label_studio.views(project_id) if v["data"]["title"] == TITLE)
    listed = shown(demo, project_id, int(view["id"]))
    page.goto(f"{demo.record['label_studio_url']}/projects/{project_id}/data?tab={view['id']}")
    expect(page.get_by_text(TITLE).first).to_be_visible()
    expect(page.get_by_text(f"Tasks: {len(listed)} / {TASKS}")).to_be_visible()
    settle(demo, listed[0])
    eventually(
        lambda: shown(demo, project_id, int(view["id"])) == listed[1:],
        60,
        "reconcile to list the others in the tab",
    )


def settle(demo: Demo, task: int) -> None:
    """Say what is right of a task."""
    region = {"from_name": "sentiment", "to_name": "text", "type": "choices"}
    body = {"result": [{**region, "value": {"choices": [LABELS[0]]}}], "ground_truth": True}
    demo.label_studio._row("POST", f"api/tasks/{task}/annotations/", body=body)


def shown(demo: Demo, project_id: int, view: int) -> list[int]:
    """The tasks that a tab shows."""
    params = {"project": project_id, "view": view, "page_size": 100}
    found = demo.label_studio._row("GET", "api/tasks", params=params)
    return sorted(int(task["id"]) for task in found["tasks"])
