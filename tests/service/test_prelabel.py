"""Bulk prediction against a real Label Studio: each task gets one prediction, whatever happens."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest
from machine import CONFIG, ROOT, Machine, eventually

from backend.errors import BackendError, Unreachable
from backend.jobs import push
from backend.jobs import shard as job
from backend.label_config import parse
from backend.label_studio import LabelStudio
from backend.labeling import Labeled
from backend.lease import LeaseLost
from backend.predictions import Part, prediction
from backend.prelabel import _sum_up, prelabel
from backend.progress_bar import ProgressBar
from backend.scheduler import Scheduler
from backend.shards import ATTEMPTS, SHARD_TASKS, Report, Shards, prelabel_lease
from backend.wiring import Wiring
from specialists.types import Decision, MemberVote
from tests.label_studio_server import Server, free_port, label_studio_server
from training.card import Card

pytestmark = pytest.mark.filterwarnings(
    "ignore:The `parse_obj` method:DeprecationWarning:label_studio_sdk.tokens.client_ext"
)
COLOURS = CONFIG.replace("positive", "red").replace("neutral", "green").replace("negative", "blue")
SEVERAL = COLOURS.replace('toName="text"', 'toName="text" choice="multiple"')
WORDS = "the soup was cold but our waiter stayed friendly and wonderful all evening".split()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with label_studio_server(tmp_path_factory.mktemp("label-studio")) as running:
        yield running


@pytest.fixture(scope="module")
def label_studio(server: Server) -> Iterator[LabelStudio]:
    with LabelStudio(server.url, server.token) as client:
        yield client


@pytest.fixture
def machine(server: Server, label_studio: LabelStudio, tmp_path: Path) -> Iterator[Machine]:
    """A Redis whose settings lead to the Label Studio; no worker yet."""
    access = {"LABEL_STUDIO_URL": server.url, "LABEL_STUDIO_API_KEY": server.token}
    with Machine(tmp_path, **access, OMP_NUM_THREADS="1", AUDIT_SHARE="0") as running:
        wiring = running.wiring
        wiring.__dict__["label_studio"] = label_studio  # built and closed once
        yield running
        wiring.evidence.close()
        wiring.redis.close()
        wiring.raw_redis.close()


class Prelabeled:
    """A connected project with tasks."""

    def __init__(self, machine: Machine, client: LabelStudio, tasks: int, config: str) -> None:
        self.machine, self.client = machine, client
        self.wiring: Wiring = machine.wiring
        self.id = int(client.create_project("Bulk", config)["id"])
        texts = [{"text": f"{' '.join(WORDS[i % 7 :])} {i}"} for i in range(tasks)]
        self.tasks = sorted(client.import_tasks(self.id, texts)) if texts else []
        self.wiring.projects.update(self.id, label_config=config, push=True)
        self.tag = self.wiring.committees.ensure(self.id, parse(config))

    def predicted(self) -> Counter[int]:
        """How many predictions of the served tag each task has."""
        rows = self.client.predictions(self.id)
        return Counter(int(row["task"]) for row in rows if row["model_version"] == self.tag)

    def shards(self) -> Shards:
        shards = Shards.current(self.wiring.redis, self.id)
        assert shards
        return shards

    def plan(self) -> Shards:
        return Shards.plan(self.wiring.redis, self.id, self.tag, self.tasks)

    def lay(self, shards: Shards, number: int, ids: list[int]) -> None:
        """Predictions as a worker lays them into Redis."""
        shards.attempt(number)
        some = [labeled(task_id, self.tag) for task_id in ids]
        with self.wiring.lease("a worker") as lease:
            lease.transaction(lambda pipe: shards.predicted(number, some, REPORT, pipe))


REPORT = Report(tasks=2, hard=0, worker="w", started=0, ended=1, list_s=0, predict_s=1)


def labeled(task_id: int, tag: str) -> Labeled:
    """What the labeler makes of a task."""
    votes = (MemberVote("m", ("positive",), 0.7),)
    said = Decision(("positive",), 0.7, False, "agreed", votes=votes)
    (control,) = parse(CONFIG)
    return Labeled(task_id, prediction(tag, [Part(control, said)]))


def project(
    machine: Machine, client: LabelStudio, tasks: int = 0, config: str = CONFIG
) -> Prelabeled:
    return Prelabeled(machine, client, tasks, config)


@contextmanager
def started(machine: Machine, *argv: str) -> Iterator[subprocess.Popen[str]]:
    """One command of ours as a process; what it prints is in `stdout`."""
    process = subprocess.Popen(
        [sys.executable, "-m", "backend", *argv],
        env=machine.environ,
        cwd=ROOT,
        stdout=subprocess.PIPE if argv[0] == "prelabel" else subprocess.DEVNULL,
        stderr=subprocess.STDOUT if argv[0] == "prelabel" else None,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)
        if process.stdout:
            process.stdout.close()


def rest(process: subprocess.Popen[str]) -> tuple[int, str]:
    """The exit status and all that is left to read."""
    out, _ = process.communicate(timeout=300)
    return process.returncode, out


def until(stream: IO[str] | None, words: str) -> str:
    """Read lines until one has these words."""
    assert stream
    for line in stream:
        if words in line:
            return line
    raise AssertionError(f"it never said {words!r}")


def running(machine: Machine, workers: int) -> None:
    eventually(lambda: machine.wiring.queues.workers()["push"] >= workers, 60, "push workers")


def test_a_killed_worker_s_shard_is_done_by_another_and_nothing_twice(
    machine: Machine, label_studio: LabelStudio
) -> None:
    here = project(machine, label_studio, 2_300)
    command = ("prelabel", "--project", str(here.id))
    with started(machine, "worker", "push") as first, started(machine, "worker", "push"):
        running(machine, 2)
        with started(machine, *command) as one:
            until(one.stdout, "2,300 of 2,300 tasks lack a prediction")
            eventually(lambda: here.shards().progress().done or _ready(here), 120, "a shard")
            os.killpg(first.pid, signal.SIGKILL)
            with started(machine, *command) as other:
                until(other.stdout, "Another prelabel of this project runs")
                status, said = rest(one)
                joined, seen = rest(other)
        assert (status, joined) == (0, 0), said + seen
        summary = f"2,300 tasks have a prediction of {here.tag} now"
        assert summary in said and summary in seen
        assert here.predicted() == Counter(here.tasks), "exactly one each"
        hard = {sample.task_id for sample in machine.wiring.projects.desk(here.id).hard()}
        reports = here.shards().progress().done.values()
        assert sum(report.hard for report in reports) == len(hard) > 0
        with started(machine, *command) as again:
            status, said = rest(again)
        assert status == 0 and "nothing to do" in said


def _ready(here: Prelabeled) -> frozenset[int]:
    return here.shards().progress().ready


def _begun(here: Prelabeled) -> bool:
    """Whether a first shard is predicted; it is imported so soon that `ready` is easily missed."""
    progress = here.shards().progress()
    return bool(progress.ready or progress.done)


def test_interrupted_it_goes_on_without_repeating_a_shard(
    machine: Machine, label_studio: LabelStudio
) -> None:
    here = project(machine, label_studio, 2_600)
    command = ("prelabel", "--project", str(here.id))
    with started(machine, "worker", "push"):
        running(machine, 1)
        with started(machine, *command) as one:
            eventually(lambda: _begun(here), 120, "a shard")
            one.send_signal(signal.SIGINT)
            status, said = rest(one)
        assert status == 130
        assert "Interrupted: workers finish the shards in hand" in said
        shards = here.shards()
        eventually(lambda: shards.progress().done and not _ready(here), 120, "the import")
        before = shards.progress()
        assert before.todo and here.predicted().keys() == ids_of(shards, before.done)
        with started(machine, *command) as again:
            status, said = rest(again)
    assert status == 0, said
    assert "Going on with an unfinished run" in said
    after = here.shards().progress().done
    assert {number: after[number] for number in before.done} == before.done, "not repeated"
    assert here.predicted() == Counter(here.tasks)


def ids_of(shards: Shards, numbers: Any) -> set[int]:
    return {task_id for number in numbers for task_id in shards.task_ids(number)}


def test_killed_after_the_import_it_imports_none_twice(
    machine: Machine, label_studio: LabelStudio, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = project(machine, label_studio, 4)
    shards = here.plan()
    here.lay(shards, 0, here.tasks)

    def killed(*anything: object, **more: object) -> None:
        raise LeaseLost("as if its worker was killed here")

    with monkeypatch.context() as patched, pytest.raises(LeaseLost):
        patched.setattr(Shards, "imported", killed)
        job._import_due(here.wiring, shards)
    assert here.predicted() == Counter(here.tasks) and _ready(here) == {0}
    assert job._import_due(here.wiring, shards) == 0
    assert here.predicted() == Counter(here.tasks), "found there, not imported again"
    assert here.shards().progress().finished


def test_a_shard_that_fails_three_times_is_reported_and_the_rest_is_done(
    machine: Machine, label_studio: LabelStudio
) -> None:
    here = project(machine, label_studio, SHARD_TASKS + 2)
    shards = here.plan()
    for attempt in range(1, ATTEMPTS + 1):
        if attempt == 1:
            here.lay(shards, 1, here.tasks[SHARD_TASKS:])
        here.lay(shards, 0, [here.tasks[0], 10**9])  # a task that is gone
        assert job._import_due(here.wiring, shards) == (2 if attempt == 1 else 0)
        assert (0 in shards.progress().todo) == (attempt < ATTEMPTS)
    assert here.predicted() == Counter(here.tasks[SHARD_TASKS:]), "the rest is done"
    said: list[str] = []
    assert _sum_up(shards, shards.progress(), said.append, ProgressBar(io.StringIO())) == 1
    told = "\n".join(said)
    assert "Shard 0 failed 3 times" in told and "10**9" not in told
    assert f"Tasks: {here.tasks[0]}-{here.tasks[SHARD_TASKS - 1]}" in told


def test_a_worker_that_is_killed_each_time_fails_its_shard(
    machine: Machine, label_studio: LabelStudio
) -> None:
    here = project(machine, label_studio, 2)
    shards = here.plan()
    for _ in range(ATTEMPTS):
        shards.attempt(0)
    with here.wiring.lease("shard") as lease:
        job.work(here.wiring, here.id, lease, f"{shards.run.id}-0")
    assert "killed 3 times" in shards.progress().failed[0]
    assert here.predicted() == Counter()


def test_a_promotion_meanwhile_ends_the_run(machine: Machine, label_studio: LabelStudio) -> None:
    here = project(machine, label_studio, 2)
    shards = here.plan()
    here.lay(shards, 0, here.tasks)
    promotions = here.wiring.promotions(here.id)
    card = Card("other-tag", here.tag, 1, "promoted", "for a test", at=1.0)
    promotions.promote("other-tag", card, here.wiring.redis)
    job._import_due(here.wiring, shards)
    assert here.predicted() == Counter(), "what nobody would see is not imported"
    assert "other-tag is served now" in shards.progress().over


def test_a_label_studio_that_is_down_costs_no_attempt(
    machine: Machine, label_studio: LabelStudio
) -> None:
    here = project(machine, label_studio, 2)
    shards = here.plan()
    with LabelStudio(f"http://127.0.0.1:{free_port()}", "x" * 40) as down:
        here.wiring.__dict__["label_studio"] = down
        for _ in range(ATTEMPTS + 1):
            with here.wiring.lease("shard") as lease, pytest.raises(Unreachable):
                job.work(here.wiring, here.id, lease, f"{shards.run.id}-0")
    assert shards.progress().todo == {0} and not shards.progress().failed


def test_a_job_of_a_run_that_was_replaced_does_nothing(
    machine: Machine, label_studio: LabelStudio
) -> None:
    here = project(machine, label_studio, 2)
    old = here.plan()
    here.plan()
    with here.wiring.lease("shard") as lease:
        assert "over" in job.work(here.wiring, here.id, lease, f"{old.run.id}-0")


def test_while_it_runs_no_push_job_predicts_the_same_tasks(
    machine: Machine, label_studio: LabelStudio
) -> None:
    here = project(machine, label_studio, 2)
    here.wiring.projects.desk(here.id).want_predictions(here.tasks)
    scheduler = Scheduler(here.wiring)
    with here.wiring.lease(prelabel_lease(here.id)):
        assert ("push", here.id) not in scheduler.tick()
        with here.wiring.lease("push") as lease:
            push.work(here.wiring, here.id, lease)
        assert here.predicted() == Counter()
    assert ("push", here.id) in scheduler.tick(), "what is left is done after it"


def refusal(here: Prelabeled, project_id: int = 0) -> str:
    """Why prelabel does not begin; it said nothing else and planned nothing."""
    with pytest.raises(BackendError) as caught:
        prelabel(here.wiring, project_id or here.id, lambda line: None, ProgressBar(sys.stdout))
    assert Shards.current(here.wiring.redis, here.id) is None
    return str(caught.value)


def test_what_cannot_be_done_is_said_before_any_work(
    machine: Machine, label_studio: LabelStudio
) -> None:
    here = project(machine, label_studio, 1)
    assert "no push worker runs: start" in refusal(here)
    here.wiring.queues.report("push", "a worker")
    assert "has no project 99999" in refusal(here, 99_999)
    stranger = int(label_studio.create_project("Not connected", CONFIG)["id"])
    assert f"connect --project {stranger}" in refusal(here, stranger)
    colours = project(machine, label_studio, 1, SEVERAL)
    assert "no specialist knows red, green, blue" in refusal(colours)
    with LabelStudio(f"http://127.0.0.1:{free_port()}", "x" * 40) as down:
        here.wiring.__dict__["label_studio"] = down
        assert "is Label Studio running there?" in refusal(here)
