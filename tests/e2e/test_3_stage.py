"""Story 3: answers train the committee; a stage is shown everywhere, and taken back."""

from __future__ import annotations

import re

import httpx
from running_demo import Demo, eventually
from test_1_predictions import counts, rows_of, served

from backend.demo.projects import PROJECTS

NOISE = 0.1
"""The gate promises that no fewer of its held-out verdicts are right. What that does to the demo's
other 60 texts depends on which verdicts were there when the stage began; one standard error is .06.
"""


def tags_everywhere(demo: Demo) -> set[str]:
    """The tag as Redis, Label Studio's project and our /setup tell it."""
    project_id = demo.record["projects"]["sentiment"]
    body = {"project": f"{project_id}.1", "schema": PROJECTS[0].label_config}
    setup = httpx.post(f"{demo.record['backend_url']}/setup", json=body).json()["model_version"]
    shown = demo.label_studio.project(project_id)["model_version"]
    return {served(demo, "sentiment"), shown, setup}


def test_a_stage_runs_and_its_tag_is_served_everywhere(demo: Demo) -> None:
    before = served(demo, "sentiment")
    printed = demo.command("demo", "--annotate", "50", timeout_s=900)
    held = re.search(r"Promoted: (\d+) of (\d+) held-out human verdicts .*, (\d+) \(", printed)
    assert held and int(held[1]) >= int(held[3]), printed
    accuracies = re.findall(r"accuracy (\d\.\d+)", printed)
    first, last = float(accuracies[0]), float(accuracies[-1])
    assert last > first - NOISE, printed
    (tag,) = eventually(lambda: len(tags_everywhere(demo)) == 1 and tags_everywhere(demo), 30)
    assert tag != before, printed
    tasks = demo.label_studio.task_ids(demo.record["projects"]["sentiment"])
    eventually(lambda: counts(demo, "sentiment").keys() == set(tasks), 90, "all tasks predicted")
    assert set(counts(demo, "sentiment").values()) == {1}


def test_verdicts_stay_visible_after_the_promotion(demo: Demo) -> None:
    project_id = demo.record["projects"]["sentiment"]
    tasks = demo.label_studio.tasks(project_id)
    open_tasks = {int(task["id"]) for task in tasks if not task["total_annotations"]}
    found = demo.wiring.pool(project_id).verdicts()
    verdicts = [v for v in found if v.source == "llm" and v.task_id in open_tasks]
    assert verdicts

    def all_shown() -> bool:
        tag = served(demo, "sentiment")
        shown = {r["task"]: r for r in rows_of(demo, "sentiment") if r["model_version"] == tag}
        answers = {
            task: [x for x in row["result"] if x["type"] == "choices"][0]
            for task, row in shown.items()
        }
        return all(
            answers[v.task_id]["value"]["choices"] == list(v.labels)
            and answers[v.task_id]["meta"]["source"] == "llm"
            for v in verdicts
        )

    eventually(all_shown, 60, "verdicts under the new tag")


def test_rollback_serves_the_old_tag_everywhere_and_forward_again(demo: Demo) -> None:
    project_id = str(demo.record["projects"]["sentiment"])
    new = served(demo, "sentiment")
    demo.command("rollback", "--project", project_id)
    (old,) = eventually(lambda: len(tags_everywhere(demo)) == 1 and tags_everywhere(demo), 30)
    assert old != new
    eventually(lambda: set(counts(demo, "sentiment").values()) == {1}, 90, "one prediction a task")
    demo.command("rollback", "--project", project_id, "--to", new)
    assert served(demo, "sentiment") == new
