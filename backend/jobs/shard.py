"""The shard job: one shard of a bulk prediction (`prelabel`), and the import of what is predicted.

A worker predicts its shard and lays the predictions into Redis. Whoever then finds enough of them
(or the last ones) imports them in one large call, under a lease of the project: two imports at once
take Label Studio twice as long as one after the other. Killed before the import, the predictions
wait in Redis; killed after it, the next importer finds them in Label Studio and imports none twice.
"""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Mapping, Sequence
from os import getpid
from typing import Any

from backend.errors import BackendError, LabelStudioError, Rejected, Unreachable
from backend.jobs import predicted
from backend.jobs.prepare import prepare
from backend.jobs.push import prediction_row
from backend.label_config import parse
from backend.label_studio_process import healthy
from backend.labeling import Labeled, note
from backend.lease import Lease, LeaseHeld, LeaseLost
from backend.shards import ATTEMPTS, IMPORT_SHARDS, STOPPED, Report, Shards
from backend.wiring import Wiring

logger = logging.getLogger(__name__)

_WAIT_S = 0.5


def import_lease(project_id: int) -> str:
    """The lease under which predictions of shards are imported into a project."""
    return f"shard-import:{project_id}"


def work(wiring: Wiring, project_id: int, lease: Lease, part: str) -> str:
    """Predict the shard `part` (`<run>-<number>`) unless that is done, and import what is due."""
    run_id, number = part.split("-")
    shards = Shards.current(wiring.redis, project_id)
    if shards is None or shards.run.id != run_id:
        return "That run is over."
    if shards.is_todo(int(number)) and not shards.progress().over:
        _try(wiring, shards, int(number), lease)
    imported = _import_due(wiring, shards)
    return f"{imported} predictions imported."


def _try(wiring: Wiring, shards: Shards, number: int, lease: Lease) -> None:
    """Predict one shard; a failure is noted, and only Label Studio's is raised: it asks a pause."""
    try:
        if shards.attempt(number) > ATTEMPTS:
            raise BackendError(f"Its worker was killed {ATTEMPTS} times.")
        _predict(wiring, shards, number, lease)
    except LeaseLost:
        raise
    except LabelStudioError as error:
        if isinstance(error, Unreachable) and not healthy(wiring.label_studio.url):
            shards.spare(number)
        else:
            _blame(wiring, shards, number, error, lease)
        raise
    except Exception as error:
        logger.exception("shard %d of project %d failed", number, shards.run.project_id)
        _blame(wiring, shards, number, error, lease)


def _blame(wiring: Wiring, shards: Shards, number: int, error: Exception, lease: Lease) -> None:
    # Only our own errors are known to carry no texts of people.
    own = type(error).__module__.partition(".")[0] in ("backend", "specialists", "training")
    why = str(error) if own else f"{type(error).__name__}, see the log of the push worker"
    wiring.journal.error("shard", f"shard {number} failed: {why}", shards.run.project_id)
    lease.transaction(lambda pipe: shards.blame(number, why, pipe))


def _predict(wiring: Wiring, shards: Shards, number: int, lease: Lease) -> None:
    """Label the shard's tasks and lay their predictions into Redis."""
    project_id, tag = shards.run.project_id, shards.run.tag
    project = wiring.projects.get(project_id)
    if project:
        prepare(wiring, project)  # once a checkpoint, by one worker; the others wait for it
    if not _is_served(wiring, shards, wiring.committees.usable(project_id)):
        return
    controls = parse(project.label_config) if project else ()
    started = time.time()
    tasks = list(wiring.label_studio.tasks(project_id, shards.task_ids(number)))
    listed = time.time()
    labeled = wiring.labeler.label(project_id, controls, tag, tasks)
    ended = time.time()
    report = Report(
        tasks=len(labeled),
        hard=sum(len(one.hard) for one in labeled),
        worker=f"{socket.gethostname()}-{getpid()}",
        started=started,
        ended=ended,
        list_s=listed - started,
        predict_s=ended - listed,
    )
    lease.transaction(lambda pipe: shards.predicted(number, labeled, report, pipe))


def _is_served(wiring: Wiring, shards: Shards, served: str | None) -> bool:
    """Whether annotators still see the run's tag; if not, more of its predictions help nobody."""
    if served == shards.run.tag:
        return True
    shards.end(f"{served} is served now instead of {shards.run.tag}")
    return False


def _import_due(wiring: Wiring, shards: Shards) -> int:
    """Import as long as an import is due and nobody else does it; returns how many predictions."""
    imported = 0
    served = wiring.promotions(shards.run.project_id).served
    while (progress := shards.progress()).import_is_due(shards.run):
        if progress.over not in ("", STOPPED):
            break
        try:
            with wiring.lease(import_lease(shards.run.project_id)) as lease:
                if _is_served(wiring, shards, served()) and (ready := shards.ready()):
                    imported += _import(wiring, shards, ready, lease)
        except LeaseHeld:
            if len(progress.ready) < 2 * IMPORT_SHARDS:
                break  # the other one takes ours along, and we predict meanwhile
            time.sleep(_WAIT_S)  # so that Redis does not fill up
    return imported


def _stored(wiring: Wiring, shards: Shards, ready: Mapping[int, Sequence[Labeled]]) -> set[int]:
    """The tasks that have their prediction already, from an import that was not noted."""
    run = shards.run
    ends = {some[at].task_id for some in ready.values() if some for at in (0, -1)}
    if not any(predicted.of_task(wiring, run.tag, task) for task in ends if task is not None):
        return set()
    rows = wiring.label_studio.predictions(run.project_id)
    return {int(row["task"]) for row in rows if row["model_version"] == run.tag}


def _import(
    wiring: Wiring, shards: Shards, ready: Mapping[int, Sequence[Labeled]], lease: Lease
) -> int:
    """Import the predictions of some shards that Label Studio lacks, in one call.

    Where the ends of all shards lack theirs, all do: one request stores whole shards. Else one list
    of all predictions tells what it has: to ask for the tasks one by one, or in pages with their
    predictions, takes Label Studio longer.
    """
    project_id, started = shards.run.project_id, time.time()
    has = _stored(wiring, shards, ready)
    labeled = [one for some in ready.values() for one in some]
    rows = [prediction_row(one) for one in labeled if one.task_id not in has]
    listed, desk = time.time(), wiring.projects.desk(project_id)
    note(desk, labeled)  # before the import: what is imported is not looked at again
    lease.check()  # not fenced by Label Studio: at least do not import after losing the lease
    try:
        wiring.label_studio.import_predictions(project_id, rows)
    except Rejected as error:
        if len(ready) > 1:  # one task that was deleted meanwhile refuses all of them
            return sum(_import(wiring, shards, {n: some}, lease) for n, some in ready.items())
        (number,) = ready
        _blame(wiring, shards, number, error, lease)
        return 0
    took = {"rows": len(rows), "lookup_s": listed - started, "import_s": time.time() - listed}

    def done(pipe: Any) -> None:
        shards.imported(ready, pipe, **took)
        desk.predicted((one.task_id for one in labeled if one.task_id is not None), pipe)

    lease.transaction(done)
    if wiring.settings.has_llm and any(one.hard for one in labeled):
        wiring.queues.wake("review", project_id)
    return len(rows)
