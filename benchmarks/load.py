"""What 50 annotators get while stages train: the time of every request, and what processes hold.

    python -m benchmarks.load [--minutes 5] [--annotators 50] [--csv FILE | --data DIR]

Runs the backend as the product does: gunicorn, all workers, embedded Redis, the embedded sentiment
committee in the fastest form that passed on this machine. Each annotator opens a task, looks at it
for 5 to 10 s and submits; every text is new. The train worker runs one stage after the other, each
on all answers so far, and what passes its gate is promoted while they work.

errors                what was not answered with 200 within the time that Label Studio waits
webhook_p99_ms        of all; `webhook_p99_stage_ms` of those sent while a stage trained
stage_ran             seconds in which one did; `stages` began
rss_mb_start, _end    by program, once it is warm and at the end

The last line is JSON.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.annotators import Annotators, errors, quantile_ms, submitted
from benchmarks.processes import held
from benchmarks.running import PROJECT, Backend, backend, report
from benchmarks.texts import Texts, add_options

VERDICTS = 200  # of the first stage
WARM_S = 20.0
_LOOK_S = 0.5
_SETTINGS = {"LLM_PROVIDER": "none", "STAGE_SIZE": "100000"}  # a stage starts when we say so


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; returns the exit status, as `report` does."""
    options = parse(arguments)
    return report(
        options,
        lambda folder, texts: measure(folder, texts, options.annotators, 60 * options.minutes),
    )


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.load",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_options(parser)
    parser.add_argument("--minutes", type=float, default=5.0, help="of work (default 5)")
    parser.add_argument("--annotators", type=int, default=50, help="at once (default 50)")
    return parser.parse_args(arguments)


class Stages:
    """Keeps the train worker busy; `ran_s` is how long it was."""

    def __init__(self, running: Backend) -> None:
        self.trains = False
        self.begun = 0
        self.ran_s = 0.0
        self._running = running
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="stages")

    def __enter__(self) -> Stages:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        desk, queues = self._running.wiring.projects.desk(PROJECT), self._running.wiring.queues
        looked = time.monotonic()
        while not self._stop.wait(_LOOK_S):
            stage, now = desk.stage(), time.monotonic()
            trains = bool(stage.get("progress"))
            self.ran_s += (now - looked) * self.trains
            self.begun += trains and not self.trains
            self.trains, looked = trains, now
            if not stage.get("running") and stage.get("now") != "1":
                desk.set_stage(now=1)
                queues.wake("train", PROJECT)


def measure(folder: Path, texts: Texts, annotators: int, seconds: float) -> dict[str, object]:
    """Let them work while stages train, and tell what they got."""
    with backend(folder, **_SETTINGS) as running:
        running.setup()
        running.predict(texts.take(1))
        for number, sample in enumerate(texts.take(VERDICTS), start=1):
            body = submitted(sample, 10_000_000 + number, 1)
            running.client.post("/webhook", json=body).raise_for_status()
        with Stages(running) as stages:
            people = Annotators(
                str(running.client.base_url), texts, annotators, lambda: stages.trains
            )
            with people.working():
                time.sleep(min(WARM_S, seconds / 2))
                first = held(folder)
                time.sleep(max(0.0, seconds - WARM_S))
                last = held(folder)
    calls, told = people.calls, errors(people.calls)
    for failure, times in told.items():
        print(f"{failure}: {times} times", flush=True)
    in_stages = [one for one in calls if one.marked]
    return {
        "annotators": annotators,
        "requests": len(calls),
        "errors": sum(told.values()),
        "webhook_p50_ms": quantile_ms(calls, "/webhook", 0.5),
        "webhook_p99_ms": quantile_ms(calls, "/webhook", 0.99),
        "webhook_p99_stage_ms": quantile_ms(in_stages, "/webhook", 0.99),
        "setup_p99_ms": quantile_ms(calls, "/setup", 0.99),
        "predict_p50_ms": quantile_ms(calls, "/predict", 0.5),
        "predict_p99_ms": quantile_ms(calls, "/predict", 0.99),
        "stage_ran": round(stages.ran_s, 1),
        "stages": stages.begun,
        "rss_mb_start": {name: round(one.rss_mb, 1) for name, one in first.items()},
        "rss_mb_end": {name: round(one.rss_mb, 1) for name, one in last.items()},
    }


if __name__ == "__main__":
    sys.exit(main())
