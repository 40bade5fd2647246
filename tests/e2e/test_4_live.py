"""Story 4: a project whose backend was connected by hand in Label Studio (live mode)."""

from __future__ import annotations

import re
from collections import Counter

from running_demo import Demo, eventually

from backend.demo.projects import PROJECTS
from backend.jobs.refit import refit_key

TEXTS = [
    "Loved every minute of it, would go again tomorrow.",
    "The parcel arrived on Tuesday.",
    "Worst service I have had in years.",
    "Well, that went about as brilliantly as expected. Sigh.",
    "Shares unchanged after the report.",
    "Not bad at all, actually.",
]


def test_opens_and_retrieves_add_no_duplicates_and_keep_verdicts(demo: Demo) -> None:
    label_studio = demo.label_studio
    project_id = int(label_studio.create_project("By hand", PROJECTS[0].label_config)["id"])
    label_studio.create_backend(url=demo.record["backend_url"], project=project_id, title="Mine")
    ids = label_studio.import_tasks(project_id, [{"text": text} for text in TEXTS])
    for _ in range(2):
        label_studio.retrieve_predictions(project_id)
        for _ in range(3):
            label_studio.next_task(project_id)
    rows = label_studio.predictions(project_id)
    assert Counter(int(r["task"]) for r in rows) == Counter(ids)
    assert label_studio.project(project_id)["model_version"] == "Mine", "still live"

    row = rows[0]
    demo.wiring.redis.hset("aa:e2e", "row", str(row["id"]))
    from specialists.types import Verdict

    verdict = Verdict(
        task_id=int(row["task"]),
        control="sentiment",
        text=TEXTS[ids.index(int(row["task"]))],
        labels=("neutral",),
        source="llm",
        author="somebody",
        at=1.0,
        reason="Seen by hand.",
    )
    demo.wiring.pool(project_id).add(verdict)
    demo.wiring.projects.desk(project_id).want_patches([verdict.task_id])

    def shown() -> bool:
        result = label_studio.task_predictions(verdict.task_id)
        return [r["result"][0]["value"].get("choices") for r in result] == [["neutral"]]

    eventually(shown, 60, "the verdict in Label Studio")
    label_studio.retrieve_predictions(project_id)
    label_studio.next_task(project_id)
    assert shown()
    assert Counter(int(r["task"]) for r in label_studio.predictions(project_id)) == Counter(ids)


def test_an_empty_project_is_live_until_its_first_import_and_then_static(demo: Demo) -> None:
    label_studio = demo.label_studio
    project_id = int(label_studio.create_project("Empty", PROJECTS[0].label_config)["id"])
    printed = demo.command("connect", "--project", str(project_id))
    assert "empty" in printed
    tag = demo.wiring.promotions(project_id).served()
    assert label_studio.project(project_id)["model_version"] == tag
    assert [one["title"] for one in label_studio.backends(project_id)] == [tag]
    ids = label_studio.import_tasks(project_id, [{"text": text} for text in TEXTS])

    def switched() -> bool:
        (backend,) = label_studio.backends(project_id)
        shown = label_studio.project(project_id)["model_version"]
        return (backend["title"], shown) == ("AutoAnnotator", tag)

    eventually(switched, 60, "the switch to push mode")
    rows = [r for r in label_studio.predictions(project_id) if r["model_version"] == tag]
    assert Counter(int(r["task"]) for r in rows) == Counter(ids)
    again = demo.command("connect", "--project", str(project_id))
    assert "connected already" in again
    assert len(label_studio.backends(project_id)) == len(label_studio.webhooks(project_id)) == 1


def test_tasks_without_text_do_not_keep_the_others_waiting(demo: Demo) -> None:
    label_studio = demo.label_studio
    project_id = int(label_studio.create_project("Blank", PROJECTS[0].label_config)["id"])
    datas = [{"text": "   "}, {"text": "A truly lovely evening, thank you."}]
    blank, plain = label_studio.import_tasks(project_id, datas)
    demo.command("connect", "--project", str(project_id))
    tasks = [int(r["task"]) for r in label_studio.predictions(project_id)]
    assert plain in tasks
    assert demo.wiring.projects.desk(project_id).waiting()["to_predict"] == 0
    assert len(tasks) == len(set(tasks)) and set(tasks) <= {blank, plain}


def test_a_project_that_changes_its_rule_is_decided_again(demo: Demo) -> None:
    label_studio = demo.label_studio
    project_id = int(label_studio.create_project("By rule", PROJECTS[0].label_config)["id"])
    ids = label_studio.import_tasks(project_id, [{"text": text} for text in TEXTS])
    assert "rule value" in demo.command("connect", "--project", str(project_id))
    said = demo.command("connect", "--project", str(project_id), "--rule", "paper")
    assert "rule paper" in said and "decided again" in said

    key = refit_key(project_id)
    eventually(lambda: demo.wiring.redis.hget(key, "rule") == "paper", 60, "new decisions")
    again = [f"{text} Yes." for text in TEXTS]
    more = label_studio.import_tasks(project_id, [{"text": text} for text in again])

    def all_predicted() -> bool:
        rows = label_studio.predictions(project_id)
        return Counter(int(r["task"]) for r in rows) == Counter([*ids, *more])

    eventually(all_predicted, 60, "one prediction a task")
    reasons = {
        region["meta"]["reason"]
        for row in label_studio.predictions(project_id)
        for region in row["result"]
        if int(row["task"]) in more and region["type"] == "choices"
    }
    assert reasons and all(re.match(r"\d of \d (agree|say)", one) for one in reasons), reasons
