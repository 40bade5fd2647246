"""Answer the demo's tasks as an annotator would, so that a stage runs, and compare accuracies."""

from __future__ import annotations

import time
from collections.abc import Callable

import httpx

from backend.demo.errors import DemoError
from backend.demo.projects import DemoProject, named
from backend.demo.record import reach_demo, read_record
from backend.label_studio import LabelStudio
from backend.settings import Settings
from backend.wiring import Wiring

Say = Callable[[str], None]

_STAGE_S = 1200.0
_LOAD_S = 120.0


def annotate(settings: Settings, count: int, name: str, say: Say) -> None:
    """Answer `count` tasks from the answer key, wait for the stage, and compare accuracies.

    Raises:
        DemoError: The demo does not run, has no such project, or has nothing left to answer.
    """
    demo, record = named(name), read_record(settings)
    project_id = int(record["projects"][demo.name])
    wiring = Wiring(reach_demo(settings))
    promotions = wiring.promotions(project_id)
    before = _accuracy(record["backend_url"], wiring, project_id, demo)
    stages, texts = len(promotions.history()), len(demo.key("held_out"))
    say(f"Committee {promotions.served()}: accuracy {before:.3f} on {texts} held-out texts.")
    done = _submit(wiring.label_studio, project_id, demo, count)
    say(f"{done} answers submitted to project {project_id}; a stage starts.")
    backend = wiring.projects.get(project_id)
    if backend is None or backend.backend_id is None:
        raise DemoError(f"Project {project_id} is not connected; start the demo again: make demo")
    wiring.label_studio.start_training(backend.backend_id)
    _wait_for_stage(wiring, project_id, stages, say)
    after = _accuracy(record["backend_url"], wiring, project_id, demo)
    say(promotions.history()[0].reason)
    say(
        f"Committee {promotions.served()}: accuracy {after:.3f} on the held-out texts, "
        f"{before:.3f} before."
    )


def _submit(label_studio: LabelStudio, project_id: int, demo: DemoProject, count: int) -> int:
    answers = {row["text"]: row["label"] for row in demo.key("task")}
    tasks = [t for t in label_studio.tasks(project_id) if not t.get("total_annotations")]
    chosen = [task for task in tasks if task["data"].get("text") in answers][:count]
    if not chosen:
        raise DemoError(
            f"Every task of the {demo.name} project is answered; choose another with --project."
        )
    for task in chosen:
        label = answers[task["data"]["text"]]
        region = {
            "from_name": demo.control,
            "to_name": "text",
            "type": "choices",
            "value": {"choices": [label]},
        }
        label_studio.create_annotation(int(task["id"]), [region], lead_time=4.0)
    return len(chosen)


def _wait_for_stage(wiring: Wiring, project_id: int, stages: int, say: Say) -> None:
    """Wait until a stage that saw the answers ended: promoted and shown, or refused."""
    desk, promotions = wiring.projects.desk(project_id), wiring.promotions(project_id)
    shown = ""
    deadline = time.monotonic() + _STAGE_S
    while time.monotonic() < deadline:
        stage = desk.stage()
        idle = stage.get("now") != "1" and not stage.get("running") and not desk.candidate()
        if idle and len(promotions.history()) > stages:
            return
        progress = stage.get("progress", "").split(" loss")[0]
        if progress and progress.split("%")[0][:-1] != shown:
            shown = progress.split("%")[0][:-1]
            say(f"  stage: {progress}")
        time.sleep(0.3)
    raise DemoError("No stage ended in time; python -m backend status tells more.")


def _accuracy(backend_url: str, wiring: Wiring, project_id: int, demo: DemoProject) -> float:
    """Share of the held-out key that the served committee labels right, asked over HTTP.

    Until it is loaded the web process answers by the one before; such answers are not counted.
    """
    rows = demo.key("held_out")
    body = {
        "project": str(project_id),
        "label_config": demo.label_config,
        "tasks": [{"data": {"text": row["text"]}} for row in rows],
    }
    tag, deadline = wiring.promotions(project_id).served(), time.monotonic() + _LOAD_S
    while True:
        answer = httpx.post(
            f"{backend_url}/predict", json=body, timeout=120, auth=_auth(wiring.settings)
        )
        answer.raise_for_status()
        predictions = answer.json()["results"]
        if all(one["model_version"] == tag for one in predictions):
            break
        if time.monotonic() > deadline:
            raise DemoError(f"{tag} is not loaded after {_LOAD_S:.0f} s; see .data/logs/web.log.")
        time.sleep(0.5)
    right = 0
    for row, prediction in zip(rows, predictions, strict=True):
        regions = [r for r in prediction["result"] if r["from_name"] == demo.control]
        right += bool(regions) and regions[0]["value"]["choices"] == [row["label"]]
    return right / len(rows)


def _auth(settings: Settings) -> tuple[str, str] | None:
    user = settings.basic_auth_user
    return (user, settings.basic_auth_pass) if user else None
