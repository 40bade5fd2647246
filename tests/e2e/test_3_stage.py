"""Story 3: answers train the committee; a stage is shown everywhere, and taken back.

The labeling queue follows the scores of the tag that is shown, before, after, and after a rollback.
"""

from __future__ import annotations

import re

import httpx
from running_demo import Demo, eventually
from test_1_predictions import counts, rows_of, served

from backend.demo.projects import PROJECTS
from backend.label_studio import UNCERTAINTY

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


def queue_is_settled(demo: Demo) -> bool:
    """Whether the head of the served tag's queue is known, and every score is written back."""
    desk = demo.wiring.projects.desk(demo.record["projects"]["sentiment"])
    return bool(desk.places(served(demo, "sentiment"))) and not desk.waiting()["to_patch"]


def open_scores(demo: Demo) -> dict[int, float]:
    """The scores of the served tag, of tasks that nobody answered or skipped."""
    tag, project_id = served(demo, "sentiment"), demo.record["projects"]["sentiment"]
    done = {int(task["id"]) for task in demo.label_studio.tasks(project_id) if task["annotations"]}
    rows = [row for row in rows_of(demo, "sentiment") if row["model_version"] == tag]
    return {row["task"]: row["score"] for row in rows if row["task"] not in done}


def served_next(demo: Demo) -> tuple[float, float] | None:
    """The score of the task that Label Studio serves next, and the lowest of all open tasks.

    None when scores changed meanwhile. The task is answered, so that the queue goes on.
    """
    eventually(lambda: queue_is_settled(demo), 90, "the queue to be in order")
    scores = open_scores(demo)
    task = demo.label_studio.next_task(demo.record["projects"]["sentiment"])
    assert task
    same = scores == open_scores(demo)
    answers = {row["text"]: row["label"] for row in PROJECTS[0].key("task")}
    region = {
        "from_name": "sentiment",
        "to_name": "text",
        "type": "choices",
        "value": {"choices": [answers.get(task["data"]["text"], "neutral")]},
    }
    demo.label_studio.create_annotation(int(task["id"]), [region], lead_time=4.0)
    return (scores[task["id"]], min(scores.values())) if same else None


def three_served(demo: Demo) -> list[tuple[float, float]]:
    return [eventually(lambda: served_next(demo), 120) for _ in range(3)]


def test_with_active_learning_the_lowest_score_is_served_first(demo: Demo) -> None:
    project_id = demo.record["projects"]["sentiment"]
    printed = demo.command("connect", "--project", str(project_id), "--active-learning")
    assert "uncertainty sampling" in printed
    assert demo.label_studio.project(project_id)["sampling"] == UNCERTAINTY
    served_next(demo)  # the task that the browser of story 2 left open comes first
    found = three_served(demo)
    assert all(score == lowest for score, lowest in found), found


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


def test_the_queue_follows_the_scores_of_the_promoted_tag(demo: Demo) -> None:
    found = three_served(demo)
    assert all(score == lowest for score, lowest in found), found
    project = demo.label_studio.project(demo.record["projects"]["sentiment"])
    assert project["sampling"] == UNCERTAINTY
    assert project["model_version"] == served(demo, "sentiment")


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
    score, lowest = eventually(lambda: served_next(demo), 120)
    assert score == lowest, "the queue follows the tag that is shown again"
    eventually(lambda: set(counts(demo, "sentiment").values()) == {1}, 90, "one prediction a task")
    demo.command("rollback", "--project", project_id, "--to", new)
    assert served(demo, "sentiment") == new
