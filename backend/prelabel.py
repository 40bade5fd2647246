"""The command `prelabel`: predict all tasks of a project that lack a prediction, on all workers.

It cuts the tasks into shards, enqueues them on RQ's `push` queue, shows how far the workers are
and enqueues again what a killed worker left. Work and state are the workers' and Redis's
(jobs/shard.py, shards.py), so it can be interrupted, killed and started again: an unfinished run
goes on, and who comes second looks on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import suppress

from backend.connect import coverage, labels_of
from backend.errors import BackendError, NotFound
from backend.jobs import lease_name, pause_key
from backend.jobs.push import settle_push_mode
from backend.jobs.shard import import_lease
from backend.label_changes import serve_labels
from backend.label_config import Control, parse
from backend.lease import Lease, LeaseHeld, LeaseLost
from backend.progress_bar import ProgressBar
from backend.projects import Project
from backend.shards import ATTEMPTS, STOPPED, Progress, Run, Shards, prelabel_lease
from backend.wiring import Wiring
from specialists.errors import SpecialistUnavailable
from training.model_store import ControlCommittee

Say = Callable[[str], None]

_TICK_S = 1.0
_WORKER_S = 30.0  # a worker reports every 3 s, and a container restarts within this
_NO_WORKER = (
    "no push worker runs: start the backend (make run) or a worker (python -m backend worker push)"
)


class PrelabelError(BackendError):
    """The project cannot be predicted; the message says what to do."""


def prelabel(wiring: Wiring, project_id: int, say: Say, bar: ProgressBar) -> int:
    """Predict what lacks a prediction of the served tag; returns the exit status.

    Raises:
        PrelabelError: Unknown project, no specialist for its labels, no push worker.
        LabelStudioError: Label Studio does not answer or refuses the token.
        KeyboardInterrupt: After the run was stopped, if this process began it or took it over.
    """
    project, tag = _ready(wiring, project_id, say)
    while True:
        try:
            with wiring.lease(prelabel_lease(project_id)) as lease:
                shards = _begin(wiring, project, tag, say)
                return _lead(wiring, project, shards, lease, say, bar) if shards else 0
        except (LeaseHeld, LeaseLost):
            say("Another prelabel of this project runs; this is its progress. Ctrl-C leaves it on.")
        ended = _look_on(wiring, project_id, bar)
        if ended:
            return _sum_up(*ended, say, bar)


def _look_on(wiring: Wiring, project_id: int, bar: ProgressBar) -> tuple[Shards, Progress] | None:
    """Show another's run to its end; None when nobody watches over it any more."""
    watched = ""
    while True:
        shards = Shards.current(wiring.redis, project_id)
        progress = shards.progress() if shards else None
        if shards and progress:
            ended = progress.finished or bool(progress.over)
            if not ended:
                watched = shards.run.id
            if shards.run.id == watched:  # the end of an older run is no news
                bar.show(_line(shards.run, progress))
                if ended:
                    return shards, progress
        if not Lease.is_held(wiring.redis, prelabel_lease(project_id)):
            return None
        time.sleep(_TICK_S)


def _ready(wiring: Wiring, project_id: int, say: Say) -> tuple[Project, str]:
    """The project and its served tag, if it can be predicted at all."""
    try:
        remote = wiring.label_studio.project(project_id)
    except NotFound as error:
        raise PrelabelError(
            f"Label Studio has no project {project_id} that LABEL_STUDIO_API_KEY may see; a "
            "project's number is in its address: /projects/NUMBER/data."
        ) from error
    if wiring.projects.get(project_id) is None:
        raise PrelabelError(
            f"Project {project_id} is not connected; connect it, which predicts its tasks, too: "
            f"python -m backend connect --project {project_id}"
        )
    controls = parse(remote["label_config"])
    tag = serve_labels(wiring, project_id, remote["label_config"])
    project = wiring.projects.update(project_id)
    _check_coverage(wiring, project_id, tag, controls, say)
    if not wiring.queues.workers()["push"]:
        raise PrelabelError(f"Nothing was begun: {_NO_WORKER}.")
    return project, tag


def _check_coverage(
    wiring: Wiring, project_id: int, tag: str, controls: Iterable[Control], say: Say
) -> None:
    lines = coverage(wiring, project_id, tag)
    parts = wiring.committees.manifest(tag).controls
    if not any(_answers(parts[control.name]) for control in controls):
        raise PrelabelError("\n".join(["Nothing to predict with.", *lines]))
    for line in lines:
        say(line)


def _answers(part: ControlCommittee) -> bool:
    """Whether a member knows a label of the control."""
    for ref in part.members:
        with suppress(SpecialistUnavailable):
            if labels_of(ref, part.labels):
                return True
    return False


def _begin(wiring: Wiring, project: Project, tag: str, say: Say) -> Shards | None:
    """The run to watch: the last one if it is unfinished, else a new one if there is work."""
    shards = Shards.current(wiring.redis, project.id)
    if shards and shards.run.tag == tag:
        progress = shards.progress()
        if not progress.finished and progress.over in ("", STOPPED):
            shards.resume()
            done = shards.run.size({*progress.done, *progress.ready})
            say(
                f"Going on with an unfinished run: {done:,} of {shards.run.tasks:,} tasks are done."
            )
            return shards
    if Lease.is_held(wiring.redis, lease_name("push", project.id)):
        say("A push job is at work on this project; it ends first.")
    while Lease.is_held(wiring.redis, lease_name("push", project.id)):
        time.sleep(_TICK_S)
    task_ids = wiring.label_studio.task_ids(project.id)
    stored = wiring.label_studio.predictions(project.id)
    has = {int(row["task"]) for row in stored if row["model_version"] == tag}
    lacking = [task_id for task_id in task_ids if task_id not in has]
    if not lacking:
        say(f"All {len(task_ids):,} tasks have a prediction of {tag}: nothing to do.")
        return None
    shards = Shards.plan(wiring.redis, project.id, tag, lacking)
    say(
        f"{len(lacking):,} of {len(task_ids):,} tasks lack a prediction of {tag}: "
        f"{shards.run.shards} shards, {wiring.queues.workers()['push']} push workers."
    )
    return shards


def _lead(
    wiring: Wiring, project: Project, shards: Shards, lease: Lease, say: Say, bar: ProgressBar
) -> int:
    """Watch over a run to its end; Ctrl-C stops it."""
    queues = wiring.queues
    try:
        progress = _watch(wiring, shards, lease, bar)
    except KeyboardInterrupt:
        shards.end(STOPPED)
        queues.withdraw("shard", project.id)
        ready = sorted(shards.progress().ready)
        if ready:  # no worker may be left that would import what is predicted
            queues.put("shard", project.id, f"{shards.run.id}-{ready[0]}")
        say(
            "Interrupted: workers finish the shards in hand, import what is predicted and begin "
            f"no more. Go on with: python -m backend prelabel --project {project.id}"
        )
        raise
    finally:
        bar.end()
    if project.push and project.empty and progress.done:
        settle_push_mode(wiring, project, shards.run.tag)
    return _sum_up(shards, progress, say, bar)


def _watch(wiring: Wiring, shards: Shards, lease: Lease, bar: ProgressBar) -> Progress:
    """Enqueue what nobody does, until the run ends.

    Raises:
        PrelabelError: No push worker has reported for half a minute.
    """
    queues, project_id = wiring.queues, shards.run.project_id
    idle_before: set[int] = set()
    seen = time.monotonic()
    while True:
        lease.check()
        progress = shards.progress()
        bar.show(_line(shards.run, progress))
        if progress.finished or progress.over:
            return progress
        idle = _idle(wiring, shards, progress)
        # A worker takes a job a moment before it takes the lease: idle twice is idle.
        for number in sorted(idle if progress.todo == idle else idle & idle_before):
            queues.put("shard", project_id, f"{shards.run.id}-{number}")
        idle_before = idle
        if queues.workers()["push"]:
            seen = time.monotonic()
        elif time.monotonic() - seen > _WORKER_S:
            left = shards.run.size({*progress.todo, *progress.ready})
            raise PrelabelError(f"{left:,} tasks wait, but {_NO_WORKER}, then prelabel goes on.")
        time.sleep(_TICK_S)


def _idle(wiring: Wiring, shards: Shards, progress: Progress) -> set[int]:
    """Shards that wait in no queue and that no worker holds; one of them for an import."""
    run, client = shards.run, wiring.redis
    if client.exists(pause_key("shard", run.project_id)):
        return set()  # Label Studio did not answer a moment ago
    queued = wiring.queues.parts("shard", run.project_id)
    wanted = set(progress.todo)
    if progress.import_is_due(run) and not Lease.is_held(client, import_lease(run.project_id)):
        wanted.add(min(progress.ready))
    return {
        number
        for number in wanted
        if f"{run.id}-{number}" not in queued
        and not Lease.is_held(client, lease_name("shard", run.project_id, f"{run.id}-{number}"))
    }


def _line(run: Run, progress: Progress) -> tuple[int, int, int]:
    """What the bar shows: tasks predicted, imported, and all."""
    predicted = run.size({*progress.ready, *progress.done})
    return predicted, run.size(progress.done), run.tasks - run.size(progress.failed)


def _sum_up(shards: Shards, progress: Progress, say: Say, bar: ProgressBar) -> int:
    """Tell how it ended; returns the exit status."""
    bar.end()
    run = shards.run
    tasks = sum(one.tasks for one in progress.done.values())
    hard = sum(one.hard for one in progress.done.values())
    say(
        f"{tasks:,} tasks have a prediction of {run.tag} now ({bar.seen()}); {hard:,} hard samples."
    )
    for number, why in sorted(progress.failed.items()):
        say(f"Shard {number} failed {ATTEMPTS} times: {why}\n  Tasks: {_ranges(shards, number)}")
    if progress.failed:
        say(f"Try these again with: python -m backend prelabel --project {run.project_id}")
    if progress.over:
        say(_why_over(run, progress.over))
    return 1 if progress.failed or progress.over else 0


def _why_over(run: Run, over: str) -> str:
    left = f"python -m backend prelabel --project {run.project_id}"
    if over == STOPPED:
        return f"It was interrupted where it was started. Go on with: {left}"
    return f"Stopped: {over}; what lacks a prediction of that one gets it by: {left}"


def _ranges(shards: Shards, number: int) -> str:
    """The task ids of a shard, runs of them joined: 1-5, 7."""
    joined: list[list[int]] = []
    for task_id in shards.task_ids(number):
        if joined and task_id == joined[-1][1] + 1:
            joined[-1][1] = task_id
        else:
            joined.append([task_id, task_id])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in joined)
