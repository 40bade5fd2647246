"""How fast the web process answers Label Studio: /health, /setup, /webhook and /predict.

    python -m benchmarks.http [--requests 300] [--tasks 250]

Starts the backend (embedded Redis, all workers) in a temporary folder, sends requests one after the
other, and prints milliseconds. Label Studio gives a webhook 1,000 ms and /setup 3,000 ms.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx

CONFIG = (
    '<View><Text name="text" value="$text"/><Choices name="sentiment" toName="text">'
    '<Choice value="positive"/><Choice value="neutral"/><Choice value="negative"/></Choices></View>'
)
PROJECT = {"id": 1, "label_config": CONFIG}
WORDS = "the service was slow but our waiter stayed friendly and the soup tasted wonderful".split()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Latency of the web process.")
    parser.add_argument("--requests", type=int, default=300, help="requests of each kind")
    parser.add_argument("--tasks", type=int, default=250, help="tasks in one /predict")
    options = parser.parse_args()
    with backend() as client:
        result = measure(client, options.requests, options.tasks)
    for name, value in result.items():
        print(f"{name:<24}{value:>10.2f}")
    print(json.dumps(result))


def measure(client: httpx.Client, requests: int, tasks: int) -> dict[str, float]:
    """All figures, in milliseconds or seconds as their names say."""
    setup = {"project": "1.1", "schema": CONFIG}
    client.post("/setup", json=setup).raise_for_status()
    _predict(client, 1)  # loads the committee
    health = timed(requests, lambda i: client.get("/health"))
    setups = timed(requests, lambda i: client.post("/setup", json=setup))
    hooks = timed(requests, lambda i: client.post("/webhook", json=_hook(i)))
    bulk = timed(3, lambda i: _predict(client, tasks, seed=i))
    return {
        "health_p50_ms": statistics.median(health),
        "setup_p50_ms": statistics.median(setups),
        "setup_p99_ms": p99(setups),
        "webhook_p50_ms": statistics.median(hooks),
        "webhook_p99_ms": p99(hooks),
        f"predict_{tasks}_s": statistics.median(bulk) / 1000,
    }


def timed(count: int, send: Callable[[int], httpx.Response]) -> list[float]:
    """Milliseconds of `count` requests, each of which must succeed."""
    took = []
    for i in range(count):
        started = time.perf_counter()
        send(i).raise_for_status()
        took.append((time.perf_counter() - started) * 1000)
    return took


def p99(values: list[float]) -> float:
    """The 99th percentile."""
    return sorted(values)[min(len(values) - 1, int(len(values) * 0.99))]


def _predict(client: httpx.Client, tasks: int, seed: int = 0) -> httpx.Response:
    """One /predict of `tasks` texts of 4 to 40 words, no two alike."""
    texts = [
        " ".join(WORDS[(seed + i * k) % len(WORDS)] for k in range(4 + i % 37)) + f" {seed}.{i}"
        for i in range(tasks)
    ]
    body = {
        "project": "1.1",
        "label_config": CONFIG,
        "tasks": [{"id": 10_000 + i, "data": {"text": text}} for i, text in enumerate(texts)],
    }
    return client.post("/predict", json=body)


def _hook(i: int) -> dict[str, Any]:
    result = {
        "from_name": "sentiment",
        "to_name": "text",
        "type": "choices",
        "value": {"choices": ["positive"]},
    }
    annotation = {
        "id": i + 1,
        "task": i + 1,
        "completed_by": 1,
        "result": [result],
        "updated_at": "2026-01-01T00:00:00Z",
    }
    task = {"id": i + 1, "data": {"text": f"text {i}"}}
    return {
        "action": "ANNOTATION_CREATED",
        "annotation": annotation,
        "task": task,
        "project": PROJECT,
    }


@contextmanager
def backend() -> Iterator[httpx.Client]:
    """A backend of its own and a client of it; STAGE_SIZE is out of reach, so nothing trains."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="aa-bench-") as folder:
        env = {
            **os.environ,
            "DATA_DIR": folder,
            "PORT": str(port),
            "LLM_PROVIDER": "none",
            "STAGE_SIZE": "100000",
        }
        command = [sys.executable, "-m", "backend", "run"]
        process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            if "runs at" not in process.stdout.readline():
                raise SystemExit("The backend did not start; see its messages above.")
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120) as client:
                yield client
        finally:
            process.terminate()
            process.wait(60)


if __name__ == "__main__":
    main()
