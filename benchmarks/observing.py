"""What it costs to be watched: ids, log lines and metrics of requests, and a scrape.

    python -m benchmarks.observing [--runs 300]

The app of the web process is called as gunicorn calls it, with a real Redis and the embedded
sentiment committee, once as it is and once without `Observer`, in turns. Log lines go to /dev/null.

webhook_ms, predict_ms      medians with it; a prediction is of one short text that is new
webhook_ratio, ...          median of the ratios of neighbouring calls, with it to without it
observer_us                 what it takes of its own: a path that is none, the difference
scrape_10_ms, scrape_10_kb  GET /metrics with 10 projects that have 20 stages each

The last line is JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

from falcon.testing import create_environ

from backend import embedded_redis, logs, report
from backend.settings import Settings
from backend.web.app import create_app
from backend.wiring import Wiring
from benchmarks.running import CONFIG, CONTROL, PROJECT, hook_body, wait_until
from benchmarks.texts import Sample
from training.card import Card

PROJECTS = 10
STAGES = 20
_ids = itertools.count(1)

App = Callable[..., Any]


class Unobserved:
    """In the place of `Observer`: nothing."""

    def __init__(self, registry: object) -> None:
        pass

    def process_request(self, req: object, resp: object) -> None:
        """Do nothing."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--runs", type=int, default=300, help="calls of each kind")
    runs = parser.parse_args(arguments).runs
    with tempfile.TemporaryDirectory(prefix="aa-bench-") as folder, open(os.devnull, "w") as null:
        with contextlib.redirect_stderr(null):
            logs.configure("INFO", "json")
        settings = Settings(data_dir=Path(folder), llm_provider="none", stage_size=100_000)
        with _redis(settings):
            figures = measure(Wiring(settings), runs)
    for name, value in figures.items():
        print(f"{name:20} {value:10.3f}")
    print(json.dumps(figures))
    return 0


def measure(wiring: Wiring, runs: int) -> dict[str, float]:
    """All figures."""
    _fill(wiring)
    with patch("backend.web.app.Observer", Unobserved):
        plain = create_app(wiring)
    app = create_app(wiring)
    call(app, "POST", "/predict", _predict())  # loads the committee
    webhook = compare(app, plain, runs, lambda: ("POST", "/webhook", _hook()))
    predict = compare(app, plain, runs, lambda: ("POST", "/predict", _predict()))
    least = compare(app, plain, runs, lambda: ("GET", "/nothing", None))
    scrapes = [call(app, "GET", "/metrics") for _ in range(min(runs, 50))]
    return {
        "webhook_ms": webhook[0] * 1e3,
        "webhook_ratio": webhook[1],
        "predict_ms": predict[0] * 1e3,
        "predict_ratio": predict[1],
        "observer_us": least[2] * 1e6,
        "scrape_10_ms": statistics.median(took_s for took_s, _ in scrapes) * 1e3,
        "scrape_10_kb": len(scrapes[-1][1]) / 1e3,
    }


def compare(
    app: App, plain: App, runs: int, request: Callable[[], tuple[str, str, Any]]
) -> tuple[float, float, float]:
    """Median seconds with it, median ratio and median difference of neighbouring calls."""
    pairs = []
    for n in range(runs):
        order = (app, plain) if n % 2 else (plain, app)
        took = {one: call(one, *request())[0] for one in order}
        pairs.append((took[app], took[plain]))
    return (
        statistics.median(one for one, _ in pairs),
        statistics.median(one / other for one, other in pairs),
        statistics.median(one - other for one, other in pairs),
    )


def call(app: App, method: str, path: str, body: Any = None) -> tuple[float, bytes]:
    """Seconds and answer of one request, made ready before the clock starts."""
    raw = json.dumps(body) if body is not None else ""
    environ = create_environ(path, method=method, body=raw)
    started = time.perf_counter()
    answer = b"".join(app(environ, lambda status, headers, error=None: None))
    return time.perf_counter() - started, answer


def _hook() -> dict[str, Any]:
    return hook_body(Sample(f"Text number {next(_ids)}, fine I guess.", "neutral"))


def _predict() -> dict[str, Any]:
    number = next(_ids)
    task = {"id": number, "data": {"text": f"Text number {number}, fine I guess."}}
    return {"project": f"{PROJECT}", "label_config": CONFIG, "tasks": [task]}


def _fill(wiring: Wiring) -> None:
    """Projects that have been in use."""
    app = create_app(wiring)
    for project in range(1, PROJECTS + 1):
        call(app, "POST", "/setup", {"project": f"{project}", "schema": CONFIG})
        for stage in range(1, STAGES + 1):
            tag = f"stage-{stage}-{project}"
            card = Card(tag, None, stage, "promoted", "as measured", 0.8, 0.82, 60, duration_s=60.0)
            wiring.promotions(project).refuse(card, wiring.redis)
        estimate = {"basis": "audits", "accuracy": 0.9, "low": 0.8, "high": 0.95}
        report.write(wiring, project, {"control": CONTROL, "estimate": estimate})


@contextlib.contextmanager
def _redis(settings: Settings) -> Iterator[None]:
    quiet = subprocess.DEVNULL
    command = embedded_redis.command(settings.data_dir)
    server = subprocess.Popen(command, stdout=quiet, stderr=quiet)
    try:
        wait_until(embedded_redis.socket_path(settings.data_dir).exists, 10, "Redis runs")
        yield
    finally:
        server.terminate()
        server.wait(10)


if __name__ == "__main__":
    raise SystemExit(main())
