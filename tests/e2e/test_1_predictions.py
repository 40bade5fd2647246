"""Story 1: everything is pre-annotated, and what the reviewer was asked carries its verdict."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from playwright.sync_api import Page
from running_demo import Demo, eventually

NAMES = ("sentiment", "toxicity")


def rows_of(demo: Demo, name: str) -> list[dict[str, Any]]:
    return [dict(row) for row in demo.label_studio.predictions(demo.record["projects"][name])]


def served(demo: Demo, name: str) -> str:
    tag = demo.wiring.promotions(demo.record["projects"][name]).served()
    assert tag
    return tag


def counts(demo: Demo, name: str) -> Counter[int]:
    tag = served(demo, name)
    return Counter(int(r["task"]) for r in rows_of(demo, name) if r["model_version"] == tag)


@pytest.mark.parametrize("name", NAMES)
def test_every_task_has_exactly_one_prediction_of_the_projects_tag(demo: Demo, name: str) -> None:
    project_id = demo.record["projects"][name]
    tasks = demo.label_studio.task_ids(project_id)
    assert len(tasks) >= 80
    assert demo.label_studio.project(project_id)["model_version"] == served(demo, name)
    assert counts(demo, name) == Counter(tasks)


@pytest.mark.parametrize("name", NAMES)
def test_every_answer_of_the_reviewer_is_shown_and_says_who_gave_it(demo: Demo, name: str) -> None:
    pool = demo.wiring.pool(demo.record["projects"][name])
    verdicts = {v.task_id: v for v in pool.verdicts() if v.source == "llm"}
    assert 5 <= len(verdicts) <= 50, "as many as LLM_SHARE allows, where it is worth a call"
    shown = {
        int(r["task"]): r for r in rows_of(demo, name) if r["model_version"] == served(demo, name)
    }
    for task_id, verdict in verdicts.items():
        answer, why = sorted(shown[task_id]["result"], key=lambda r: r["type"])
        assert answer["value"]["choices"] == list(verdict.labels)
        assert answer["meta"]["source"] == "llm"
        assert len(answer["meta"]["votes"]) >= 2, "the committee's votes are kept"
        said = why["value"]["text"][0]
        assert "Scripted reviewer (no LLM): " in said
        assert said.startswith("The committee overrode") == (verdict.labels != verdict.answer)


@pytest.mark.parametrize("name", NAMES)
def test_what_the_reviewer_was_not_asked_says_how_the_committee_decided(
    demo: Demo, name: str
) -> None:
    pool = demo.wiring.pool(demo.record["projects"][name])
    asked = {v.task_id for v in pool.verdicts()}
    rows = [
        r
        for r in rows_of(demo, name)
        if r["model_version"] == served(demo, name) and int(r["task"]) not in asked
    ]
    assert rows
    for row in rows:
        answer, why = sorted(row["result"], key=lambda r: r["type"])
        assert answer["meta"]["source"] == "committee"
        assert why["value"]["text"][0].startswith("Committee")


def test_status_tells_calls_spend_accuracy_and_who_overrode_whom(demo: Demo) -> None:
    found = json.loads(demo.command("status", "--json"))["projects"]
    for project in found:
        verdicts = demo.wiring.pool(project["id"]).counts()["llm"]
        assert project["spend"]["calls"] >= verdicts
        assert project["asking"]["tasks"] == 100
        (report,) = project["report"]
        estimate = report["estimate"]
        assert 0 < estimate["low"] < estimate["accuracy"] < estimate["high"] <= 1
        assert estimate["basis"] == "committee"
    overrode = [task for p in found for task in p["report"][0]["llm_overrode"]]
    overridden = [task for p in found for task in p["report"][0]["llm_overridden"]]
    assert overrode and overridden
    for project in found:
        report = project["report"][0]
        examples = set(report["llm_overrode"] + report["llm_overridden"])
        verdicts = {v.task_id: v for v in demo.wiring.pool(project["id"]).verdicts()}
        assert examples <= verdicts.keys()
        for task_id in report["llm_overridden"]:
            assert verdicts[task_id].labels != verdicts[task_id].answer
    printed = demo.command("status")
    assert "LLM-only would take 100 questions" in printed
    assert "of them right" in printed and "no person has checked" in printed
    assert "the LLM overrode a unanimous committee" in printed
    assert "the committee overrode the LLM" in printed


def test_every_write_is_listed_with_its_reason(demo: Demo) -> None:
    told = demo.command("writes", "--project", str(demo.record["projects"]["sentiment"]))
    assert "PATCH api/predictions/" in told and "verdicts" in told
    found = json.loads(
        demo.command("writes", "--project", str(demo.record["projects"]["toxicity"]), "--json")
    )
    assert found and all(one["reason"] for one in found)


def test_opening_tasks_and_retrieving_predictions_twice_adds_none(demo: Demo) -> None:
    project_id = demo.record["projects"]["sentiment"]
    before = rows_of(demo, "sentiment")
    for _ in range(5):
        assert demo.label_studio.next_task(project_id)
    for _ in range(2):
        demo.label_studio.retrieve_predictions(project_id)
    assert sorted(r["id"] for r in rows_of(demo, "sentiment")) == sorted(r["id"] for r in before)


def test_an_extra_prediction_of_a_race_is_removed(demo: Demo) -> None:
    project_id = demo.record["projects"]["toxicity"]
    row = next(
        r for r in rows_of(demo, "toxicity") if r["model_version"] == served(demo, "toxicity")
    )
    copy = {k: row[k] for k in ("task", "result", "score", "model_version")}
    assert demo.label_studio.import_predictions(project_id, [copy]) == 1
    eventually(lambda: max(counts(demo, "toxicity").values()) == 1, 90, "reconcile to delete it")
    left = {r["id"] for r in rows_of(demo, "toxicity")}
    assert row["id"] not in left, "the newest was decided with what is known now"


def test_new_tasks_are_predicted_on_import(demo: Demo) -> None:
    project_id = demo.record["projects"]["toxicity"]
    texts = ["The bus leaves at nine from platform two.", "You are a waste of everyone's time."]
    ids = demo.label_studio.import_tasks(project_id, [{"text": text} for text in texts])
    eventually(lambda: all(counts(demo, "toxicity")[one] == 1 for one in ids), 60, "predictions")


def test_the_labeling_page_shows_the_verdict_of_a_hard_sample(demo: Demo, page: Page) -> None:
    project_id = demo.record["projects"]["sentiment"]
    verdict = next(v for v in demo.wiring.pool(project_id).verdicts() if v.source == "llm")
    url = f"{demo.record['label_studio_url']}/projects/{project_id}/data?task={verdict.task_id}"
    page.goto(url)
    page.get_by_text("Scripted reviewer (no LLM)").first.wait_for()
    chosen = page.locator("label:has(input:checked)", has_text=verdict.labels[0])
    chosen.first.wait_for()
    page.screenshot(path=str(demo.data_dir / "verdict.png"))
