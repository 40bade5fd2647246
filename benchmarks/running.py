"""A backend of one's own, run as `python -m backend run` runs it, and what is sent to it.

Web process, workers and embedded Redis are the product's, with its settings; only what a benchmark
names differs. It knows Label Studio's requests, and measures nothing.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from backend.label_config import Control, parse
from backend.programs import child_environment
from backend.settings import Settings
from backend.wiring import Wiring
from benchmarks.texts import Sample, Texts, Unusable, chosen

PROJECT = 1
CONTROL = "sentiment"
CONFIG = (
    f'<View><Text name="text" value="$text"/><Choices name="{CONTROL}" toName="text">'
    '<Choice value="positive"/><Choice value="neutral"/><Choice value="negative"/></Choices></View>'
)
SETUP = {"project": f"{PROJECT}.1", "schema": CONFIG}
if TYPE_CHECKING:
    from specialists.committee import Committee
    from specialists.transformer import Specialist

PREPARED = 256  # texts, as many as the product's workers take
_ROOT = Path(__file__).parent.parent
_ids = itertools.count(1)


class NotRunning(Exception):
    """The backend does not do what a benchmark needs; the message says what."""


class Backend:
    """A running backend: its web process by HTTP, its state through the product's own parts."""

    def __init__(self, client: httpx.Client, wiring: Wiring) -> None:
        self.client = client
        self.wiring = wiring

    @property
    def control(self) -> Control:
        """The project's only control."""
        return parse(CONFIG)[0]

    def setup(self) -> str:
        """Enroll the project; returns its tag."""
        answer = self.client.post("/setup", json=SETUP).raise_for_status()
        return str(answer.json()["model_version"])

    def predict(self, samples: Sequence[Sample]) -> list[dict[str, Any]]:
        """Predictions of new tasks."""
        answer = self.client.post("/predict", json=predict_body(samples)).raise_for_status()
        results: list[dict[str, Any]] = answer.json()["results"]
        if len(results) != len(samples):
            raise NotRunning(f"{len(samples)} tasks got {len(results)} predictions.")
        return results


def predict_body(samples: Sequence[Sample]) -> dict[str, Any]:
    """What Label Studio sends for tasks that it never sent before."""
    tasks = [{"id": next(_ids), "data": {"text": one.text}} for one in samples]
    return {"project": SETUP["project"], "label_config": CONFIG, "tasks": tasks}


def hook_body(sample: Sample) -> dict[str, Any]:
    """What Label Studio sends when somebody submits the first answer to a task."""
    number = next(_ids)
    result = {
        "from_name": CONTROL,
        "to_name": "text",
        "type": "choices",
        "value": {"choices": [sample.label]},
    }
    annotation = {
        "id": number,
        "task": number,
        "completed_by": 1,
        "result": [result],
        "updated_at": "2026-01-01T00:00:00Z",
    }
    return {
        "action": "ANNOTATION_CREATED",
        "annotation": annotation,
        "task": {"id": number, "data": {"text": sample.text}},
        "project": {"id": PROJECT, "label_config": CONFIG},
    }


def report(
    options: argparse.Namespace, measure: Callable[[Path, Texts], Mapping[str, object]]
) -> int:
    """Measure in a folder of its own, with models prepared on the texts, and print one JSON line.

    Returns the exit status: 2 when the CSV cannot serve, 1 when the backend does not.
    """
    try:
        texts = chosen(options)
        with tempfile.TemporaryDirectory(prefix="aa-bench-") as name:
            become_local(Path(name))
            runtime = prepare(Path(name), texts.take(PREPARED))
            print(f"runtime: {runtime}", flush=True)
            figures = measure(Path(name), texts)
    except Unusable as error:
        print(error, file=sys.stderr)
        return 2
    except (NotRunning, httpx.HTTPError) as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps({"data": texts.name, "runtime": runtime, **figures}))
    return 0


@contextmanager
def backend(folder: Path, **settings: str) -> Iterator[Backend]:
    """Run a backend whose state lies in `folder`; `settings` are those that differ.

    Raises NotRunning when it does not start.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    given = {"DATA_DIR": str(folder), "PORT": str(port), **settings}
    ours = Settings.from_env(given)
    # Settings of the shell that starts a benchmark are no part of it.
    known = {name.upper() for name in Settings.__dataclass_fields__}
    environ = {name: value for name, value in os.environ.items() if name not in known}
    process = subprocess.Popen(
        [sys.executable, "-m", "backend", "run"],
        env={**environ, "PYTHONPATH": str(_ROOT), **given},
        cwd=folder,  # a .env file beside us may hold keys
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        if "runs at" not in process.stdout.readline():
            raise NotRunning(f"The backend did not start; see {folder}/logs.")
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120) as client:
            yield Backend(client, Wiring(ours))
    finally:
        process.terminate()
        process.wait(60)


def prepare(folder: Path, samples: Sequence[Sample]) -> str:
    """Find the fastest form of the committee's models, as the worker of a connected project does.

    It does so once a machine, by texts of the project; the backend with this folder serves what was
    found. Returns the runtimes. Loads torch into this process.
    """
    wiring = Wiring(Settings.from_env({"DATA_DIR": str(folder)}))
    tag = wiring.committees.first_tag(PROJECT, parse(CONFIG))
    wiring.committees.prepare(tag, CONTROL, [one.text for one in samples])
    return runtimes(wiring.committees.committee(tag, CONTROL))


def runtimes(committee: Committee) -> str:
    """What runs the members: each runtime once."""
    return ", ".join(sorted({runtime_of(one) for one in committee.specialists}))


def runtime_of(specialist: Specialist) -> str:
    """What runs a specialist; empty for one that is no classifier of the Hub's kind."""
    return str(getattr(getattr(specialist, "runtime", None), "name", ""))


def wait_until(done: Callable[[], bool], timeout_s: float, what: str) -> None:
    """Look every 50 ms; raises NotRunning when it takes longer than that."""
    deadline = time.monotonic() + timeout_s
    while not done():
        if time.monotonic() > deadline:
            raise NotRunning(f"After {timeout_s:.0f} s it is not so that {what}.")
        time.sleep(0.05)


def become_local(folder: Path) -> None:
    """Give this process the product's environment, before torch is imported.

    A SIGTERM ends it in order from now on: nothing that it started stays behind.
    """
    settings = Settings.from_env({"DATA_DIR": str(folder)})
    os.environ.update(child_environment(settings, {}))
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
