"""Story 2: a person answers in the browser, and the answer reaches the pool."""

from __future__ import annotations

from playwright.sync_api import Page
from running_demo import Demo, eventually

from specialists.types import Verdict


def people(demo: Demo) -> list[Verdict]:
    pool = demo.wiring.pool(demo.record["projects"]["sentiment"])
    return [verdict for verdict in pool.verdicts() if verdict.source == "human"]


def test_an_annotation_submitted_in_the_browser_reaches_the_pool(demo: Demo, page: Page) -> None:
    project_id = demo.record["projects"]["sentiment"]
    waiting = demo.wiring.pool(project_id).waiting()
    page.goto(f"{demo.record['label_studio_url']}/projects/{project_id}/data?labeling=1")
    page.locator("label:has(input:checked)").first.wait_for()
    page.screenshot(path=str(demo.data_dir / "labeling.png"))
    page.get_by_test_id("bottombar-submit-button").click()
    found = eventually(lambda: people(demo), 30, "the answer in the pool")
    assert len(found) == 1
    assert found[0].labels[0] in ("positive", "neutral", "negative")
    assert demo.wiring.pool(project_id).waiting() >= waiting


def test_a_skipped_task_is_no_answer(demo: Demo, page: Page) -> None:
    project_id = demo.record["projects"]["sentiment"]
    before = len(people(demo))
    page.goto(f"{demo.record['label_studio_url']}/projects/{project_id}/data?labeling=1")
    page.locator("label:has(input:checked)").first.wait_for()
    page.get_by_test_id("bottombar-skip-button").click()
    eventually(
        lambda: any(
            annotation["was_cancelled"]
            for task in demo.label_studio.tasks(project_id)
            for annotation in task["annotations"]
        ),
        30,
        "the skip in Label Studio",
    )
    assert len(people(demo)) == before
