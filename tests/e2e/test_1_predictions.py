"""Story 1: everything is pre-annotated, and hard samples carry the reviewer's verdict."""

from __future__ import annotations

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
def test_every_hard_sample_shows_the_verdict_and_says_who_gave_it(demo: Demo, name: str) -> None:
    pool = demo.wiring.pool(demo.record["projects"][name])
    verdicts = {v.task_id: v for v in pool.verdicts() if v.source == "llm"}
    assert len(verdicts) >= 5, "the committee found hardly anything hard"
    assert demo.wiring.projects.desk(demo.record["projects"][name]).waiting()["hard"] == 0
    shown = {
        int(r["task"]): r for r in rows_of(demo, name) if r["model_version"] == served(demo, name)
    }
    for task_id, verdict in verdicts.items():
        answer, why = sorted(shown[task_id]["result"], key=lambda r: r["type"])
        assert answer["value"]["choices"] == list(verdict.labels)
        assert answer["meta"]["source"] == "llm"
        assert len(answer["meta"]["votes"]) >= 2, "the committee's votes are kept"
        assert why["value"]["text"][0].startswith("Scripted reviewer (no LLM): ")


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
    assert row["id"] in {r["id"] for r in rows_of(demo, "toxicity")}, "the first one is kept"


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
