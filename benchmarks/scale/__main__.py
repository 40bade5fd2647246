"""What a project of a million tasks takes, without inference: memory, disk, time of each operation.

    python -m benchmarks.scale [--tasks 1000000] [--csv FILE | --data DIR]

A project grows to that many tasks, about threefold at a time. Queue, pool, ledger, evidence store,
rule, refit, relabelling, write-back and reconcile are the product's own, on an embedded Redis. Made
up are: the votes (the shipped committee's real ones on some hundred texts, repeated), an LLM that
is right in 85 % and asked about 1 % of the tasks, people who answer 0.5 %, and a Label Studio that
answers from memory, so that its own time is not in any figure. The review job runs once each time,
with some five refits and relabellings of everything, not after every 15 % more verdicts, so that
the run ends: `refit` and `relabelling` are timed as passes of their own.

bytes_per_task_redis  what Redis allocated, of which `per_verdict` a verdict
bytes_per_task_disk   votes and features; the append-only file of Redis is told apart
growth                bytes a task at the end by those at a tenth of it, the larger of both
faster_than_data      kinds of keys whose entries grew by more than the tasks did; hard samples may,
                      as how much is hard depends on what was learned

Prints a table of keys and operations at both sizes, and last one JSON line.
"""

from __future__ import annotations

import argparse
import gc
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from backend import conflicts, embedded_redis, status
from backend.agreement import arrived_key
from backend.jobs import lease_name, push, reconcile, refit, relabel, review
from backend.jobs.questions import Questions
from backend.jobs.stored import Stored
from backend.label_config import parse as controls_of
from backend.labeling import Labeler
from backend.lease import Lease
from backend.model import AutoAnnotator
from backend.projects import Project
from backend.scheduler import Scheduler
from backend.settings import Settings
from backend.wiring import Wiring
from benchmarks.running import CONFIG, CONTROL, PROJECT, become_local, wait_until
from benchmarks.scale import growth
from benchmarks.scale.growth import Snapshot
from benchmarks.scale.simulated import (
    RecordedVotes,
    SimulatedLabelStudio,
    SimulatedLLM,
    Truth,
)
from benchmarks.texts import Sample, Unusable, add_options, chosen
from specialists.evidence import Evidence

RECORDED = 160  # texts that a real committee votes on
PREPARED = 20  # of them, so few that it takes seconds: nothing but recording runs the models
LLM_SHARE, PEOPLE_SHARE = 0.01, 0.005
STEP = 10**0.5
LEAST = 2000  # tasks of the first import
_REPEATS = 5


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and print; 2 when the CSV cannot serve or there are too few tasks."""
    options = parse(arguments)
    if options.tasks < 10 * LEAST:
        print(f"--tasks {options.tasks} is too few; give {10 * LEAST} or more.", file=sys.stderr)
        return 2
    try:
        samples = chosen(options).take(RECORDED)
    except Unusable as error:
        print(error, file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="aa-scale-", dir=options.folder) as name:
        become_local(Path(name))
        with simulated(Path(name), samples) as one:
            gc.freeze()  # as a worker does
            empty, before, after = run(one, options.tasks)
            print("\n".join(growth.table(before, after)), flush=True)
            print(json.dumps(summary(one, empty, before, after)))
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scale",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_options(parser)
    parser.add_argument("--tasks", type=int, default=1_000_000, help="at the end (default 1000000)")
    parser.add_argument("--folder", type=Path, help="where 10 kB a task may lie (default: /tmp)")
    return parser.parse_args(arguments)


class Simulation:
    """One project and all who work in it."""

    def __init__(self, wiring: Wiring, truth: Truth) -> None:
        self.wiring = wiring
        self.site = SimulatedLabelStudio(truth)
        self.grown_s = 0.0
        self.verdicts_asked = 0

    @property
    def project(self) -> Project:
        """Its record."""
        found = self.wiring.projects.get(PROJECT)
        assert found is not None
        return found

    @property
    def tag(self) -> str:
        """The served tag."""
        return str(self.wiring.promotions(PROJECT).served())

    @property
    def stored(self) -> Stored:
        """What is stored of its only control."""
        return Stored(self.wiring, PROJECT, controls_of(CONFIG)[0], self.tag)

    def hook(self, body: Mapping[str, Any]) -> None:
        """Tell the backend what happened, as a request to /webhook does."""
        AutoAnnotator(PROJECT).fit(str(body["action"]), body)

    def job(self, name: str, work: Callable[..., str]) -> None:
        """Run a job under its lease, as a worker does."""
        with self.lease(name) as lease:
            work(self.wiring, PROJECT, lease)

    def lease(self, job: str) -> Lease:
        """A job's lease; nobody else wants it, and a busy machine must not make it lost."""
        return Lease(self.wiring.redis, lease_name(job, PROJECT), ttl_s=600.0)

    def grow(self, tasks: int) -> None:
        """Import tasks until there are so many; predict, answer, ask, refit and write back."""
        started, before = time.perf_counter(), self.site.tasks_there
        self.hook(self.site.created(tasks - before))
        self.wiring.projects.update(PROJECT, tasks=tasks)
        self.job("push", push.work)
        for task in range(before + 1, tasks + 1, round(1 / PEOPLE_SHARE)):
            self.hook(self.site.annotated(task))
        self.job("review", review.work)
        self.grown_s += time.perf_counter() - started


@contextmanager
def simulated(folder: Path, samples: Sequence[Sample]) -> Iterator[Simulation]:
    """Start a Redis and join the product's parts with the simulated ones."""
    server = subprocess.Popen(embedded_redis.command(folder), stdout=subprocess.DEVNULL)
    try:
        wiring = Wiring(
            Settings.from_env(
                {
                    "DATA_DIR": str(folder),
                    "LABEL_STUDIO_URL": "http://127.0.0.1:9",  # nobody listens there
                    "LABEL_STUDIO_API_KEY": "none",
                    "LLM_PROVIDER": "openai",
                    "LLM_PRICE": "0.1,0.4",
                    "LLM_SHARE": str(LLM_SHARE),
                    "RUNTIME": "torch-fp32",
                }
            )
        )
        wait_until(lambda: answers(wiring), 30, "Redis answers")
        yield joined(wiring, samples)
        AutoAnnotator._shared = None
    finally:
        server.terminate()
        server.wait(60)


def answers(wiring: Wiring) -> bool:
    """Whether Redis answers."""
    try:
        return bool(wiring.redis.ping())
    except Exception:
        return False


def joined(wiring: Wiring, samples: Sequence[Sample]) -> Simulation:
    """The product's parts with votes, LLM and Label Studio of the simulation."""
    truth = Truth(samples)
    one = Simulation(wiring, truth)
    wiring.projects.put(Project(PROJECT, CONFIG, push=True))
    tag = wiring.committees.ensure(PROJECT, controls_of(CONFIG))
    committee = wiring.committees.committee(tag, CONTROL)
    texts = [one.text for one in samples]
    wiring.committees.prepare(tag, CONTROL, texts[:PREPARED])
    seen = wiring.batcher.observe(committee, texts, urgent=False, patient=True)
    wiring.__dict__["labeler"] = Labeler(
        wiring.committees,
        wiring.pool,
        wiring.rules,
        wiring.evidence,
        RecordedVotes(Evidence.join(seen).pack()),  # type: ignore[arg-type]
        lambda project_id, tag: wiring.projects.desk(project_id).places(tag),
        wiring.settings.audit_share,
    )
    wiring.__dict__["language_model"] = SimulatedLLM(truth)
    wiring.__dict__["label_studio"] = one.site
    AutoAnnotator.use(wiring)
    refit.NEW_SHARE = STEP - 1
    return one


def run(one: Simulation, tasks: int) -> tuple[Snapshot, Snapshot, Snapshot]:
    """Grow, and look at nothing, at a tenth and at all of it."""
    empty = snapshot(one, {}, {})
    found = {}
    for size in sizes(tasks):
        one.grow(size)
        rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{size:>9} tasks after {one.grown_s:7.1f} s, {rss:.0f} MB at most", flush=True)
        if size in (tasks // 10, tasks):
            found[size] = snapshot(one, events(one), passes(one))
    return empty, found[tasks // 10], found[tasks]


def sizes(tasks: int) -> list[int]:
    """Sizes of the project, each at most STEP times the one before; a tenth of the last is one."""
    found = [tasks]
    for stop in (tasks // 10, LEAST):
        while found[-1] > stop * STEP:
            found.append(round(found[-1] / STEP))
        if found[-1] > stop:
            found.append(stop)
    return found[::-1]


def snapshot(one: Simulation, events: Mapping[str, float], passes: Mapping[str, float]) -> Snapshot:
    """The project as it is now."""
    client, data_dir = one.wiring.redis, one.wiring.settings.data_dir
    return Snapshot(
        one.site.tasks_there,
        growth.used_bytes(client),
        growth.disk_bytes(data_dir / "evidence"),
        growth.disk_bytes(data_dir / "redis"),
        growth.families(client),
        events,
        passes,
    )


def events(one: Simulation) -> dict[str, float]:
    """Seconds of what happens once a request or a second."""
    wiring, site = one.wiring, one.site
    last, desk = site.tasks_there, wiring.projects.desk(PROJECT)
    opened = list(site.tasks(PROJECT, [last]))
    while wiring.redis.exists(arrived_key(PROJECT)):
        Scheduler(wiring).tick()  # it counts answers, some hundred a tick; here all came at once
    fresh = iter(range(last - 1, last - 2 * _REPEATS, -1))
    taken = iter(range(last - 1, last - 2 * _REPEATS, -1))
    found = {
        "task opened": best(lambda: AutoAnnotator(PROJECT, CONFIG).predict(opened)),
        "hook: answer": best(lambda: one.hook(site.annotated(next(fresh)))),
        "hook: answer deleted": best(lambda: one.hook(site.deleted(next(taken)))),
        "scheduler's tick": best(Scheduler(wiring).tick),
        "counts of what waits": best(desk.waiting),
        "verdicts that wait": best(wiring.pool(PROJECT).waiting),
    }
    return found


def passes(one: Simulation) -> dict[str, float]:
    """Seconds of what reads or changes the whole project."""
    wiring = one.wiring
    desk, pool = wiring.projects.desk(PROJECT), wiring.pool(PROJECT)
    with one.lease("review") as lease:
        found = {
            "status": best(lambda: status.collect(wiring), 2),
            "hard samples": best(desk.hard, 1),
            "hard samples for the LLM": best(desk.to_review, 1),
            "verdicts read": best(pool.verdicts, 1),
            "ids in the evidence store": best(lambda: wiring.evidence.task_ids(PROJECT), 1),
            "questions chosen": best(
                lambda: Questions(wiring, one.project, lease).refresh(1e9, 0), 1
            ),
            "refit": best(lambda: refit.refit_tag(wiring, one.project, one.tag, lease), 1),
            "relabelling": best(lambda: relabel.relabel(one.stored, pool.verdicts(), lease), 1),
            "conflicts": best(lambda: conflicts.collect(wiring, one.project), 1),
        }
    found["reconcile"] = best(lambda: one.job("reconcile", reconcile.work), 1)
    return found


def best(work: Callable[[], object], times: int = _REPEATS) -> float:
    """The least seconds that it took."""
    least = float("inf")
    for _ in range(times):
        started = time.perf_counter()
        work()
        least = min(least, time.perf_counter() - started)
    return least


def summary(
    one: Simulation, empty: Snapshot, before: Snapshot, after: Snapshot
) -> dict[str, object]:
    """What the last line says."""
    grew = growth.per_task(before, after, empty)
    event, event_growth = growth.slowest(before.events, after.events)
    whole, pass_growth = growth.slowest(before.passes, after.passes)
    verdicts = one.wiring.pool(PROJECT).size()
    of_verdicts = sum(
        size.bytes
        for name, size in after.families.items()
        if name.rpartition(":")[2] in ("verdicts", "waiting", "annotations", "answers", "asked")
        or name.endswith(":ledger")
    )
    return {
        "tasks": after.tasks,
        "verdicts": verdicts,
        "bytes_per_task_redis": round((after.redis_bytes - empty.redis_bytes) / after.tasks, 1),
        "bytes_per_verdict_redis": round(of_verdicts / max(1, verdicts), 1),
        "bytes_per_task_disk": round((after.disk_bytes - empty.disk_bytes) / after.tasks, 1),
        "append_only_bytes_per_task": round(after.append_bytes / after.tasks, 1),
        "tasks_per_second": round(after.tasks / one.grown_s, 1),
        "growth": round(max(grew.values()), 3),
        "growth_redis": round(grew["redis"], 3),
        "growth_disk": round(grew["disk"], 3),
        "faster_than_data": {
            name: round(times, 2) for name, times in growth.faster_than_data(before, after).items()
        },
        "slowest_event": event,
        "slowest_event_growth": round(event_growth, 2),
        "slowest_pass": whole,
        "slowest_pass_growth": round(pass_growth, 2),
        "max_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }


if __name__ == "__main__":
    sys.exit(main())
