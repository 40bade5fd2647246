"""Story 5: every process is killed once; it comes back, nothing is lost, nothing is asked again."""

from __future__ import annotations

import json
import os
import signal

import httpx
import pytest
from running_demo import Demo, eventually
from test_1_predictions import counts

from backend.supervisor import session_pids

PROGRAMS = ("redis", "web", "review", "push", "train", "label-studio")


def pids(demo: Demo) -> dict[str, int]:
    record = json.loads((demo.data_dir / "processes.json").read_text())
    return {name: identity[0] for name, identity in record["programs"].items()}


def healthy(demo: Demo) -> bool:
    try:
        answers = [
            httpx.get(f"{demo.record[name]}/health", timeout=5).status_code
            for name in ("backend_url", "label_studio_url")
        ]
        workers = demo.wiring.queues.workers()
    except Exception:
        return False
    return answers == [200, 200] and all(workers.values())


def calls(demo: Demo) -> list[int]:
    status = json.loads(demo.command("status", "--json"))
    return [project["spend"]["calls"] for project in status["projects"]]


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_killed_process_comes_back_and_nothing_is_lost(demo: Demo, name: str) -> None:
    asked = calls(demo)
    pool = demo.wiring.pool(demo.record["projects"]["sentiment"])
    verdicts, tag = pool.counts(), counts(demo, "sentiment")
    old = pids(demo)[name]
    for pid in session_pids(old):
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: pids(demo)[name] != old, 15, "the supervisor to start it again")
    eventually(lambda: healthy(demo), 120, "everything to answer again")
    pool = demo.wiring.pool(demo.record["projects"]["sentiment"])
    assert pool.counts() == verdicts
    assert counts(demo, "sentiment") == tag
    assert calls(demo) == asked


def test_work_that_a_killed_worker_left_is_done_by_the_next(demo: Demo) -> None:
    project_id = demo.record["projects"]["toxicity"]
    texts = [f"Room {number} is free from noon." for number in range(40)]
    ids = demo.label_studio.import_tasks(project_id, [{"text": text} for text in texts])
    os.kill(pids(demo)["push"], signal.SIGKILL)
    eventually(lambda: all(counts(demo, "toxicity")[i] >= 1 for i in ids), 120, "predictions")
    eventually(lambda: set(counts(demo, "toxicity").values()) == {1}, 90, "no duplicates")


def test_a_second_start_duplicates_nothing(demo: Demo) -> None:
    from running_demo import start_demo, stop_demo

    before = counts(demo, "sentiment")
    projects = {one["id"] for one in demo.label_studio.projects()}
    stop_demo(demo)
    assert not (demo.data_dir / "processes.json").exists()
    demo.process = start_demo(demo.data_dir, demo.environ).process
    assert {one["id"] for one in demo.label_studio.projects()} == projects
    assert counts(demo, "sentiment") == before
