"""How bulk prediction (`prelabel`) scales: tasks per second with 1 and with 2 push workers.

    python -m benchmarks.bulk [--tasks 10000]

Starts a Label Studio, a Redis and push workers of one core each in a temporary folder, and runs
`python -m backend prelabel` on a project of short tasks, first with one worker, then with two on
another project. Imports are held back until all is predicted (the benchmark holds their lease), for
Label Studio would take a core of the workers; then they run alone. A figure of the predicting phase
is the time that the busiest worker spent predicting: reading tasks and importing are left out and
told apart. `all_s` is everything, from the start of the command to its end.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import redis

from backend import embedded_redis
from backend.jobs.shard import import_lease
from backend.label_config import parse
from backend.label_studio_process import LabelStudioProcess, environment, login_for_token
from backend.programs import child_environment
from backend.settings import Settings
from backend.shards import SHARD_TASKS, Progress, Shards
from backend.wiring import Wiring
from benchmarks.running import CONFIG

LABEL_STUDIO = Path(__file__).parent.parent / ".venv-label-studio" / "bin" / "label-studio"
WORDS = (
    "the a our this their service waiter soup room delivery parcel screen battery update meeting "
    "was is stays came arrived looks feels works broke late early cold friendly slow wonderful "
    "awful fine again today yesterday and but because never always thanks sorry please"
).split()
_EMAIL = "admin@example.com"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Bulk prediction with 1 and 2 workers.")
    parser.add_argument("--tasks", type=int, default=10_000, help="tasks a project (default 10000)")
    parser.add_argument("--label-studio", type=Path, default=LABEL_STUDIO, metavar="PROGRAM")
    options = parser.parse_args()
    if not options.label_studio.exists():
        raise SystemExit(f"No Label Studio at {options.label_studio}: make setup-label-studio.")
    if options.tasks < 2 * SHARD_TASKS:
        raise SystemExit(f"--tasks {options.tasks} is too few; give {2 * SHARD_TASKS} or more.")
    with tempfile.TemporaryDirectory(prefix="aa-bulk-") as folder, ExitStack() as stack:
        bench = stack.enter_context(bench_in(Path(folder), options.label_studio))
        found: dict[str, dict[str, float]] = {}
        for workers in (1, 2):
            worker = stack.enter_context(bench.started("worker", "push"))
            pin(worker, workers - 1)
            bench.run(2 * SHARD_TASKS, workers)  # models are prepared and warm after it
            found[str(workers)] = bench.run(options.tasks, workers)
            print(f"{workers} workers: {json.dumps(found[str(workers)])}", file=sys.stderr)
    print(json.dumps(summary(options.tasks, found)))


def summary(tasks: int, found: dict[str, dict[str, float]]) -> dict[str, float]:
    """The figures that are told, from the spans of both runs."""
    one, two = (tasks / found[workers]["predict_s"] for workers in ("1", "2"))
    return {
        "tasks": tasks,
        "tasks_per_s_1": round(one, 1),
        "tasks_per_s_2": round(two, 1),
        "scaling_efficiency": round(two / (2 * one), 3),
        "label_studio_import_s": round(found["1"]["import_s"], 1),
        "label_studio_lookup_s": round(found["1"]["lookup_s"], 1),
        "label_studio_list_s": round(found["1"]["list_s"], 1),
        "all_s_1": round(found["1"]["all_s"], 1),
        "all_s_2": round(found["2"]["all_s"], 1),
    }


class Bench:
    """A Label Studio, a Redis, and what is started against them."""

    def __init__(self, folder: Path, environ: dict[str, str]) -> None:
        self.folder = folder
        self.environ = environ
        self.wiring = Wiring(Settings.from_env(environ))

    @contextmanager
    def started(self, *argv: str) -> Iterator[subprocess.Popen[bytes]]:
        """One command of the backend as a process, ended at the end."""
        with (self.folder / f"{argv[0]}.log").open("ab") as log:
            command = [sys.executable, "-m", "backend", *argv]
            process = subprocess.Popen(command, env=self.environ, stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.terminate()
            process.wait(60)

    def run(self, tasks: int, workers: int) -> dict[str, float]:
        """Predict a new project; seconds by phase."""
        wiring, client = self.wiring, self.wiring.label_studio
        project = int(client.create_project("Bulk", CONFIG)["id"])
        client.import_tasks(project, [{"text": text} for text in texts(tasks, project)])
        wiring.projects.update(project, label_config=CONFIG, push=True)
        wiring.committees.ensure(project, parse(CONFIG))
        wait_for(lambda: wiring.queues.workers()["push"] == workers, "push workers")
        began = time.perf_counter()
        with self.started("prelabel", "--project", str(project)) as command:
            with wiring.lease(import_lease(project)):
                wait_for(lambda: self.progress(project, command).ready, "a shard")
                wait_for(lambda: not self.progress(project, command).todo, "predictions")
            if command.wait(3600):
                raise SystemExit(f"prelabel failed:\n{(self.folder / 'prelabel.log').read_text()}")
        return {**self.spans(project), "all_s": time.perf_counter() - began}

    def progress(self, project: int, command: subprocess.Popen[bytes]) -> Progress:
        """Where the run of a project stands, while its command lives."""
        if command.poll() is not None:
            raise SystemExit(f"prelabel ended:\n{(self.folder / 'prelabel.log').read_text()}")
        shards = Shards.current(self.wiring.redis, project)
        return shards.progress() if shards else Progress(frozenset(), frozenset(), {}, {}, "")

    def spans(self, project: int) -> dict[str, float]:
        """What the workers told of a run that is done."""
        shards = Shards.current(self.wiring.redis, project)
        assert shards
        busy: defaultdict[str, float] = defaultdict(float)
        reports = shards.progress().done.values()
        for one in reports:
            busy[one.worker] += one.predict_s
        if sum(one.tasks for one in reports) != shards.run.tasks:
            raise SystemExit("Not every task was predicted; see the worker's log.")
        imports = shards.imports()
        return {
            "workers": len(busy),
            "predict_s": max(busy.values()),
            "list_s": sum(one.list_s for one in reports),
            "lookup_s": sum(one["lookup_s"] for one in imports),
            "import_s": sum(one["import_s"] for one in imports),
        }


@contextmanager
def bench_in(folder: Path, label_studio: Path) -> Iterator[Bench]:
    """Start Label Studio and Redis in a folder."""
    password = secrets.token_urlsafe(16)
    env = environment(os.environ, _EMAIL, password)
    with ExitStack() as stack:
        process = LabelStudioProcess(label_studio, folder / "label-studio", free_port(), env)
        stack.enter_context(process).ready()
        data_dir = folder / "d"  # a unix socket's path must stay short
        data_dir.mkdir()
        # Settings of the shell that starts a benchmark are no part of it.
        known = {name.upper() for name in Settings.__dataclass_fields__}
        given = {
            "DATA_DIR": str(data_dir),
            "LABEL_STUDIO_URL": process.url,
            "LABEL_STUDIO_API_KEY": login_for_token(process.url, _EMAIL, password),
            "LLM_PROVIDER": "none",
            "OMP_NUM_THREADS": "1",
        }
        settings = Settings.from_env(given)
        kept = {name: value for name, value in os.environ.items() if name not in known}
        server = subprocess.Popen(embedded_redis.command(data_dir), stdout=subprocess.DEVNULL)
        stack.callback(server.wait, 30)
        stack.callback(server.terminate)
        bench = Bench(folder, child_environment(settings, {**kept, **given}))
        wait_for(lambda: answers(bench.wiring), "Redis", 30)
        yield bench


def pin(worker: subprocess.Popen[bytes], number: int) -> None:
    """Give a worker one core: it would run as many forward passes at once as it sees cores."""
    usable = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(worker.pid, {usable[number % len(usable)]})


def texts(count: int, seed: int) -> list[str]:
    """Short texts of 5 to 25 words, no two alike."""
    draw = random.Random(seed)
    return [f"{' '.join(draw.choices(WORDS, k=draw.randint(4, 24)))} {i}" for i in range(count)]


def free_port() -> int:
    """A port that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(wiring: Wiring) -> bool:
    """Whether Redis answers."""
    try:
        return bool(wiring.redis.ping())
    except redis.RedisError:
        return False


def wait_for(check: Callable[[], object], what: str, timeout_s: float = 3600) -> None:
    """Wait until a check gives something true."""
    deadline = time.monotonic() + timeout_s
    while not check():
        if time.monotonic() > deadline:
            raise SystemExit(f"Not within {timeout_s:.0f} s: {what}")
        time.sleep(0.3)


if __name__ == "__main__":
    main()
