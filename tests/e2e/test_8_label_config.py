"""Story 8: the label config of a project in use changes; predictions and verdicts follow."""

from __future__ import annotations

from typing import Any

import pytest
from running_demo import Demo, eventually

from backend.demo.projects import named
from backend.errors import LabelStudioError

TASKS = 12
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
    for task in tasks[:3]:
        answer(demo, task, "toxic")
    eventually(lambda: demo.wiring.pool(number).counts()["human"] == 3, 30, "the answers")
    return number


def answer(demo: Demo, task: int, label: str) -> None:
    region = {"from_name": "toxicity", "to_name": "text", "type": "choices"}
    demo.label_studio.create_annotation(
        task, result=[{**region, "value": {"choices": [label]}}], lead_time=2.0
    )


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


def test_label_studio_keeps_labels_that_people_used(demo: Demo, project_id: int) -> None:
    before = everywhere(demo, project_id)
    without = CONFIG.replace('<Choice value="toxic"/>', "")
    with pytest.raises(LabelStudioError, match="still exist in annotations"):
        demo.label_studio.update_project(project_id, label_config=without)
    assert everywhere(demo, project_id) == before != ""


def test_a_renamed_label_is_shown_and_kept(demo: Demo, project_id: int) -> None:
    verdicts = {v.task_id: v.labels for v in demo.wiring.pool(project_id).verdicts()}
    tag = change(demo, project_id, RENAMED)
    assert "harmless" in shown(demo, project_id, tag) <= {"toxic", "harmless"}
    now = {v.task_id: v.labels for v in demo.wiring.pool(project_id).verdicts()}
    for task, labels in verdicts.items():
        assert now[task] == tuple("harmless" if x == "non-toxic" else x for x in labels)
    assert demo.wiring.pool(project_id).counts()["human"] == 3
    assert "'non-toxic' is called 'harmless' now" in demo.command("status")
    assert "non-toxic is called harmless now" in demo.command(
        "labels", "--project", str(project_id)
    )


def test_an_added_label_can_be_answered_at_once(demo: Demo, project_id: int) -> None:
    tag = change(demo, project_id, MORE)
    assert shown(demo, project_id, tag) <= {"toxic", "harmless", "spam"}
    answer(demo, demo.label_studio.task_ids(project_id)[-1], "spam")

    def said() -> bool:
        people = [v for v in demo.wiring.pool(project_id).verdicts() if v.source == "human"]
        return ("spam",) in [v.labels for v in people]

    eventually(said, 30, "the answer")
