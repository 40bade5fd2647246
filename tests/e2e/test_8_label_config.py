"""Story 8: the label config of a project in use changes; predictions and verdicts follow."""

from __future__ import annotations

from typing import Any

import pytest
from running_demo import Demo, eventually

from backend.demo.projects import named

TASKS = 12
ANSWERS = ("toxic", "non-toxic", "non-toxic")
CONFIG = named("toxicity").label_config
RENAMED = CONFIG.replace('value="non-toxic"', 'value="harmless"')
MORE = RENAMED.replace("</Choices>", '<Choice value="spam"/></Choices>')


@pytest.fixture(scope="module")
def project_id(demo: Demo) -> int:
    """A connected project of its own, with three answers of people."""
    number = int(demo.label_studio.create_project("Changing labels", CONFIG)["id"])
    texts = [{"text": row["text"]} for row in named("toxicity").key("task")[:TASKS]]
    tasks = demo.label_studio.import_tasks(number, texts)
    demo.command("connect", "--project", str(number))
    for task, label in zip(tasks, ANSWERS, strict=False):
        answer(demo, task, label)
    eventually(lambda: demo.wiring.pool(number).counts()["human"] == 3, 30, "the answers")
    return number


def answer(demo: Demo, task: int, label: str) -> None:
    region = {"from_name": "toxicity", "to_name": "text", "type": "choices"}
    demo.label_studio.create_annotation(
        task, result=[{**region, "value": {"choices": [label]}}], lead_time=2.0
    )


def people(demo: Demo, number: int) -> dict[int, str]:
    """What people answered, by task."""
    verdicts = demo.wiring.pool(number).verdicts()
    return {v.task_id: v.labels[0] for v in verdicts if v.source == "human"}


def everywhere(demo: Demo, number: int) -> str:
    """The tag, once Redis, Label Studio and one prediction of every task agree on it."""
    tag = demo.wiring.promotions(number).served()
    rows = [row for row in demo.label_studio.predictions(number) if row["model_version"] == tag]
    whole = sorted(int(row["task"]) for row in rows) == demo.label_studio.task_ids(number)
    shown = demo.label_studio.project(number)["model_version"]
    return str(tag) if whole and shown == tag else ""


def shown(demo: Demo, number: int, tag: str) -> set[str]:
    """The labels that predictions of a tag show."""
    regions: list[dict[str, Any]] = [
        region
        for row in demo.label_studio.predictions(number)
        if row["model_version"] == tag
        for region in row["result"]
        if region["type"] == "choices"
    ]
    return {label for region in regions for label in region["value"]["choices"]}


def change(demo: Demo, number: int, config: str) -> str:
    before = demo.wiring.promotions(number).served()
    demo.label_studio.update_project(number, label_config=config)
    eventually(lambda: demo.wiring.promotions(number).served() != before, 30, "another tag")
    found: str = eventually(lambda: everywhere(demo, number), 60, "predictions everywhere")
    return found


def test_a_renamed_label_is_shown_and_kept(demo: Demo, project_id: int) -> None:
    verdicts = people(demo, project_id)
    tag = change(demo, project_id, RENAMED)
    assert "harmless" in shown(demo, project_id, tag) <= {"toxic", "harmless"}
    renamed = {"toxic": "toxic", "non-toxic": "harmless"}
    now = {task: renamed[label] for task, label in verdicts.items()}
    assert sorted(now.values()) == ["harmless", "harmless", "toxic"]
    eventually(lambda: people(demo, project_id) == now, 30, "the answers under the new name")
    assert "'non-toxic' is called 'harmless' now" in demo.command("status")
    assert "non-toxic is called harmless now" in demo.command(
        "labels", "--project", str(project_id)
    )


def test_an_added_label_can_be_answered_at_once(demo: Demo, project_id: int) -> None:
    tag = change(demo, project_id, MORE)
    assert shown(demo, project_id, tag) <= {"toxic", "harmless", "spam"}
    answer(demo, demo.label_studio.task_ids(project_id)[-1], "spam")
    eventually(lambda: "spam" in people(demo, project_id).values(), 30, "the answer")
