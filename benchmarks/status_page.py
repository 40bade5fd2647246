"""How long the status page takes, with three large projects in a real Redis.

    python -m benchmarks.status_page [--tasks 20000] [--stages 20]

Each project has TASKS verdicts of the LLM and as many hard samples of 200 characters, a hundredth
of them left to people, and STAGES promoted stages. `cpu_ms` is what one page costs this process,
`wall_ms` what its reader waits, Redis included. Evidence is not stored, so its tasks are not
counted.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from falcon import testing

from backend import embedded_redis
from backend.projects import HardSample, Project
from backend.settings import Settings
from backend.web.app import create_app
from backend.wiring import Wiring
from specialists.types import Verdict
from training.card import Card

PROJECTS, REPEATS = 3, 20
CONFIG = (
    '<View><Text name="text" value="$text"/><Choices name="sentiment" toName="text">'
    '<Choice value="positive"/><Choice value="negative"/></Choices></View>'
)


def fill(wiring: Wiring, project_id: int, tasks: int, stages: int) -> None:
    """Write a project as a long-lived one would look."""
    wiring.projects.put(Project(project_id, CONFIG, f"Project {project_id}", tasks=2 * tasks))
    desk, pool = wiring.projects.desk(project_id), wiring.pool(project_id)
    for start in range(0, tasks, 1000):
        with wiring.redis.pipeline() as pipe:
            for task in range(start, start + 1000):
                one = Verdict(task, "sentiment", "x" * 200, ("positive",), "llm", "m", at=1.0)
                pool.add(one, pipe)
                hard = HardSample(tasks + task, "sentiment", "x" * 200, ("positive",), 0.4, "", "t")
                desk.add_hard([hard], pipe)
                if task % 100 == 0:
                    desk.leave_to_people(hard, "The LLM is unsure", pipe)
            pipe.execute()
    parent = None
    for stage in range(stages):
        tag = f"stage-{stage}-{project_id:08x}"
        card = Card(
            tag, parent, stage, "promoted", "Promoted.", 0.7, 0.8, 100, "human",
            labels={"positive": (50, 40, 41), "negative": (50, 30, 39)}, at=1e9 + stage,
            hard_share=0.3, llm_usd=0.1 * stage, llm_calls=stage,
        )  # fmt: skip
        wiring.promotions(project_id).promote(tag, card, wiring.redis)
        parent = tag


def main() -> None:
    """Fill a Redis, ask for the page again and again, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=20_000)
    parser.add_argument("--stages", type=int, default=20)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="aa-page-") as folder:
        settings = Settings(data_dir=Path(folder), llm_provider="scripted")
        command = embedded_redis.command(settings.data_dir)
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
            try:
                print(json.dumps(measure(Wiring(settings), given.tasks, given.stages)))
            finally:
                server.terminate()


def measure(wiring: Wiring, tasks: int, stages: int) -> dict[str, float]:
    """Medians over REPEATS pages."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            embedded_redis.check(wiring.redis, wiring.settings)
            break
        except embedded_redis.RedisMissing:
            time.sleep(0.1)
    for project_id in range(1, PROJECTS + 1):
        fill(wiring, project_id, tasks, stages)
    client, wall, cpu = testing.TestClient(create_app(wiring)), [], []
    for _ in range(REPEATS):
        before = time.perf_counter(), time.process_time()
        answer = client.simulate_get("/", headers={"Accept": "text/html"})
        wall.append(time.perf_counter() - before[0])
        cpu.append(time.process_time() - before[1])
        assert answer.status_code == 200, answer.text
    return {
        "projects": PROJECTS,
        "tasks": tasks,
        "stages": stages,
        "page_kb": round(len(answer.text) / 1000, 1),
        "wall_ms": round(1000 * statistics.median(wall), 1),
        "cpu_ms": round(1000 * statistics.median(cpu), 1),
    }


if __name__ == "__main__":
    main()
