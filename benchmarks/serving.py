"""How fast the web process answers, and how much of that is not the models.

    python -m benchmarks.serving [--csv FILE | --data DIR] [--runs 5]

Runs the backend as the product does: gunicorn, all workers, embedded Redis, the embedded sentiment
committee in the fastest form that passed on this machine. Every text is new, so no cache answers.

compute_250_s   the same 250 texts through the same committee and batcher, without HTTP, tasks,
                rule and Redis, in a process of its own; HTTP and compute take turns
predict_250_again_s   the same 250 tasks once more: what is left when no model runs
*_beside_bulk   while another client sends 250 tasks at a time
*_swap          8 clients with single tasks while another tag is promoted
*_stage         single tasks while the train worker fine-tunes on 200 answers
rps_parallel_8  single tasks a second, of 8 clients

Label Studio waits 1,000 ms for a webhook, 3,000 for /setup, 100 s for /predict. The last line is
JSON.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import httpx

from benchmarks.clients import clients
from benchmarks.running import (
    CONTROL,
    PREPARED,
    PROJECT,
    Backend,
    backend,
    hook_body,
    predict_body,
    report,
    wait_until,
)
from benchmarks.texts import Sample, Texts, add_options
from training.card import Card

TASKS = 250  # in one request
VERDICTS = 200  # of the stage
_SETTINGS = {"LLM_PROVIDER": "none", "STAGE_SIZE": "100000"}  # a stage starts when we say so
_SETTLE_S = 3.0  # of load before a swap, and after it
_STAGE_S = 600.0

Figures = dict[str, float]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; returns the exit status, as `report` does."""
    options = parse(arguments)
    return report(
        options, lambda folder, texts: measure(folder, texts, options.runs, options.requests)
    )


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.serving",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_options(parser)
    parser.add_argument("--runs", type=int, default=5, help="of each bulk figure (default 5)")
    parser.add_argument("--requests", type=int, default=300, help="of each kind (default 300)")
    return parser.parse_args(arguments)


def measure(folder: Path, texts: Texts, runs: int, requests: int) -> Figures:
    """All figures, of a backend whose models were prepared in this folder."""
    figures: Figures = {}
    with backend(folder, **_SETTINGS) as running:
        running.setup()
        running.predict(texts.take(1))
        parts: list[Callable[[], Figures]] = [
            lambda: bulk(running, texts, runs),
            lambda: small(running, texts, requests),
            lambda: beside_bulk(running, texts),
            lambda: parallel(running, texts),
            lambda: swap(running, texts),
            lambda: beside_stage(running, texts),
        ]
        for part in parts:
            found = {name: round(value, 3) for name, value in part().items()}
            for name, value in found.items():
                print(f"{name:<28}{value:>12.3f}", flush=True)
            figures |= found
    return figures


def bulk(running: Backend, texts: Texts, runs: int) -> Figures:
    """250 tasks by HTTP and their texts without it, in turns."""
    wiring = running.wiring
    committee = wiring.committees.committee(running.setup(), CONTROL)
    wiring.batcher.observe(committee, [one.text for one in texts.take(32)], urgent=False)
    predict: list[float] = []
    compute: list[float] = []
    again: list[float] = []

    def by_http(body: object) -> float:
        return timed(lambda: running.client.post("/predict", json=body).raise_for_status())

    def bare(samples: Sequence[Sample]) -> float:
        plain = [one.text for one in samples]
        return timed(lambda: wiring.batcher.observe(committee, plain, urgent=False))

    for number in range(runs):
        samples = texts.take(TASKS)
        body = predict_body(samples)
        if number % 2:
            compute.append(bare(samples))
        predict.append(by_http(body))
        if not number % 2:
            compute.append(bare(samples))
        again.append(by_http(body))
    figures = {
        "predict_250_s": statistics.median(predict),
        "compute_250_s": statistics.median(compute),
        "predict_250_again_s": statistics.median(again),
    }
    return {**figures, "overhead_ratio": figures["predict_250_s"] / figures["compute_250_s"]}


def small(running: Backend, texts: Texts, requests: int) -> Figures:
    """Single tasks, hooks and /setup, one after the other."""
    singles = [timed(lambda: running.predict(texts.take(1))) * 1000 for _ in range(requests)]
    setups = [timed(running.setup) * 1000 for _ in range(requests)]
    hooks = [_hook_ms(running.client, texts) for _ in range(requests)]
    return {
        "predict_1_p50_ms": quantile(singles, 0.5),
        "predict_1_p95_ms": quantile(singles, 0.95),
        "setup_p50_ms": quantile(setups, 0.5),
        "setup_p99_ms": quantile(setups, 0.99),
        "webhook_p50_ms": quantile(hooks, 0.5),
        "webhook_p99_ms": quantile(hooks, 0.99),
    }


def _hook_ms(client: httpx.Client, texts: Texts) -> float:
    body = hook_body(texts.take(1)[0])
    return timed(lambda: client.post("/webhook", json=body).raise_for_status()) * 1000


def beside_bulk(running: Backend, texts: Texts) -> Figures:
    """The same while another client keeps the models busy."""
    stop = threading.Event()

    def keep_busy() -> None:
        with httpx.Client(base_url=running.client.base_url, timeout=120) as client:
            while not stop.is_set():
                client.post("/predict", json=predict_body(texts.take(TASKS))).raise_for_status()

    figures = {}
    with ThreadPoolExecutor(1) as pool:
        busy = pool.submit(keep_busy)
        try:
            figures = small(running, texts, 50)
        finally:
            stop.set()
        busy.result()
    kept = ("predict_1_p50_ms", "predict_1_p95_ms", "setup_p99_ms", "webhook_p99_ms")
    return {name.replace("_ms", "_beside_bulk_ms"): figures[name] for name in kept}


def parallel(running: Backend, texts: Texts) -> Figures:
    """What 8 clients get when nothing else happens."""
    with clients(running, texts) as replies:
        started = time.perf_counter()
        time.sleep(4 * _SETTLE_S)
        count, seconds = len(replies), time.perf_counter() - started
    times = [one.ms for one in replies]
    return {
        "rps_parallel_8": count / seconds,
        "parallel_8_p50_ms": quantile(times, 0.5),
        "parallel_8_max_ms": max(times),
        "failed_parallel_8": sum(not one.tag for one in replies),
    }


def swap(running: Backend, texts: Texts) -> Figures:
    """What they get while another tag is promoted, until it answers and a little longer."""
    tag = running.setup()
    new = another(running, tag)
    running.wiring.committees.prepare(new, CONTROL, [one.text for one in texts.take(PREPARED)])
    with clients(running, texts) as replies:
        time.sleep(_SETTLE_S)
        started = time.perf_counter()
        card = Card(new, tag, 1, "promoted", "for the benchmark", at=time.time())
        running.wiring.promotions(PROJECT).promote(new, card, running.wiring.redis)
        wait_until(lambda: any(one.tag == new for one in replies[-99:]), 60, f"{new} answers")
        seconds = time.perf_counter() - started
        time.sleep(_SETTLE_S)
    return {
        "failed_during_swap": sum(not one.tag for one in replies),
        "swap_max_latency_ms": max(one.ms for one in replies),
        "swap_requests": len(replies),
        "swap_s": seconds,
    }


def another(running: Backend, tag: str) -> str:
    """A committee with other weights, stored as a stage would store it: its tag."""
    from safetensors.torch import load_file, save_file  # late: torch reads its environment

    from specialists import adapter
    from specialists.loading import find_parts

    store = running.wiring.store
    manifest = store.committee(tag)

    def changed(source: str) -> str:
        shipped = find_parts(source, None).adapter
        assert shipped is not None

        def fill(out: Path) -> None:
            shutil.copytree(shipped, out, dirs_exist_ok=True)
            weights = load_file(shipped / adapter.WEIGHTS)
            save_file({k: 1.01 * v for k, v in weights.items()}, out / adapter.WEIGHTS)

        return store.write(fill)

    part = manifest.controls[CONTROL]
    members = tuple(replace(ref, checkpoint=changed(ref.source)) for ref in part.members)
    controls = {CONTROL: replace(part, members=members)}
    return store.save_committee(replace(manifest, stage=1, parent=tag, controls=controls))


def beside_stage(running: Backend, texts: Texts) -> Figures:
    """Single tasks while the train worker runs a stage."""
    for sample in texts.take(VERDICTS):
        running.client.post("/webhook", json=hook_body(sample)).raise_for_status()
    desk = running.wiring.projects.desk(PROJECT)
    desk.set_stage(now=1)
    running.wiring.queues.wake("train", PROJECT)
    wait_until(lambda: bool(desk.stage().get("progress")), _STAGE_S, "a stage trains")
    started, times = time.monotonic(), []
    while desk.stage().get("progress") and time.monotonic() - started < _STAGE_S:
        times.append(timed(lambda: running.predict(texts.take(1))) * 1000)
    return {
        "predict_1_p50_stage_ms": quantile(times, 0.5),
        "predict_1_p95_stage_ms": quantile(times, 0.95),
        "stage_s": time.monotonic() - started,
    }


def timed(work: Callable[[], object]) -> float:
    """Seconds that it takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def quantile(values: Sequence[float], share: float) -> float:
    """The value that a share of the values does not exceed."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


if __name__ == "__main__":
    sys.exit(main())
