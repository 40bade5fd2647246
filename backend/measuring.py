"""Measuring candidates: asks push workers for their votes and waits for them.

As with shards, the work lies in Redis and a job only wakes a worker: what a killed one left is
enqueued again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from backend.jobs import lease_name, pause_key
from backend.lease import Lease
from backend.samples import Sample
from backend.selections import Run, SelectError, key_of
from backend.wiring import Wiring
from meta_controller.candidates import Candidate
from meta_controller.label_maps import OwnVotes

_TICK_S = 0.5
_WORKER_S = 30.0  # a worker reports every 3 s, and a container restarts within this
NO_WORKER = (
    "no push worker runs: start the backend (make run) or a worker (python -m backend worker push)"
)


def measure(
    wiring: Wiring,
    project_id: int,
    sample: Sample,
    named: Sequence[tuple[str, Candidate]],
    lease: Lease,
    say: Callable[[str], None],
) -> tuple[dict[str, OwnVotes], dict[str, str]]:
    """The votes of named candidates, and why some have none, by name.

    Raises:
        SelectError: No push worker has reported for half a minute.
    """
    selections = wiring.selections(project_id)
    runs: list[Run] = []
    asked = [one for _, one in named]
    lease.transaction(lambda pipe: runs.append(selections.begin(sample.texts, asked, pipe)))
    run = runs[-1]
    say(f"Measuring {len(named)} candidates on {len(sample.texts)} texts ...")
    try:
        _watch(wiring, project_id, run, lease)
    except KeyboardInterrupt:
        wiring.queues.withdraw("select", project_id)  # what is measured by now stays known
        raise
    votes, failures = selections.votes(run), selections.failures(run)
    keys = {name: key_of(one) for name, one in named}
    return (
        {name: votes[key] for name, key in keys.items() if key in votes},
        {name: failures[key] for name, key in keys.items() if key in failures},
    )


def _watch(wiring: Wiring, project_id: int, run: Run, lease: Lease) -> None:
    """Enqueue what nobody measures, until all are measured or failed.

    Raises:
        SelectError: No push worker has reported for half a minute.
    """
    selections, queues, client = wiring.selections(project_id), wiring.queues, wiring.redis
    idle_before: set[str] = set()
    seen = time.monotonic()
    while left := selections.open(run):
        lease.check()
        queued = queues.parts("select", project_id)
        parts = {f"{run.id}-{key}" for key in left}
        idle = {
            part
            for part in parts - queued
            if not Lease.is_held(client, lease_name("select", project_id, part))
        }
        if client.exists(pause_key("select", project_id)):
            idle = set()
        # A worker takes a job a moment before it takes the lease: idle twice is idle.
        for part in sorted(idle if idle == parts else idle & idle_before):
            queues.put("select", project_id, part)
        idle_before = idle
        if queues.workers()["push"]:
            seen = time.monotonic()
        elif time.monotonic() - seen > _WORKER_S:
            raise SelectError(f"{len(left)} candidates wait, but {NO_WORKER}, then select again.")
        time.sleep(_TICK_S)
