"""From a chosen table to a served committee: a new tag, put up for promotion as a stage's is."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from backend.jobs import lease_name
from backend.lease import LeaseHeld
from backend.measuring import NO_WORKER
from backend.selection_table import Table
from backend.selections import SelectError
from backend.wiring import Wiring
from training.card import Card
from training.model_store import CommitteeManifest, ControlCommittee

_TICK_S = 0.5
_WORKER_S = 30.0


def serve(
    wiring: Wiring,
    project_id: int,
    served: CommitteeManifest,
    tables: Sequence[Table],
    say: Callable[[str], None],
) -> int:
    """Put the chosen members up for promotion and wait until they are served; the exit status.

    Raises:
        SelectError: A stage is in the way, or no push worker runs.
    """
    chosen = {
        one.control: ControlCommittee(served.controls[one.control].labels, one.members)
        for one in tables
    }
    controls = {**served.controls, **chosen}
    if all(_alike(one, served.controls[name]) for name, one in controls.items()):
        say("These members are served already: nothing to do.")
        return 0
    # Members as published have learned nothing here: every verdict is honest evidence on them.
    trained = any(ref.checkpoint for one in controls.values() for ref in one.members)
    manifest = CommitteeManifest(project_id, served.stage if trained else 0, served.tag, controls)
    tag = wiring.store.save_committee(manifest)
    _propose(wiring, manifest, _card(tag, manifest, tables), tables)
    say(f"{tag} is predicted and then served; annotators see it at once, complete.")
    _await(wiring, project_id, tag)
    say(f"{tag} is served. Back: python -m backend rollback --project {project_id}")
    return 0


def _alike(one: ControlCommittee, other: ControlCommittee) -> bool:
    """Whether two committees have the same members; in which order they vote is no matter."""
    return len(one.members) == len(other.members) and all(
        ref in other.members for ref in one.members
    )


def _card(tag: str, manifest: CommitteeManifest, tables: Sequence[Table]) -> Card:
    """The promotion card; figures are those of the first control."""
    first = tables[0]
    members = "; ".join(
        f"{one.control}: {', '.join(ref.name for ref in one.members)}" for one in tables
    )
    return Card(
        tag=tag,
        parent=manifest.parent,
        stage=manifest.stage,
        decision="promoted",
        reason=f"Members were selected ({members}). {first.rests_on}",
        before=first.served,
        after=first.accuracy,
        held_out=first.texts if first.accuracy is not None else 0,
        held_out_source=first.source,
        method="selection",
        at=time.time(),
    )


def _propose(
    wiring: Wiring, manifest: CommitteeManifest, card: Card, tables: Sequence[Table]
) -> None:
    """Put a committee up, unless a stage is at work: its committee would take its place.

    Raises:
        SelectError: A stage runs, waits for its promotion, or was promoted meanwhile.
    """
    project_id = manifest.project_id
    desk, selections = wiring.projects.desk(project_id), wiring.selections(project_id)
    table = {one.control: one.to_json() for one in tables}
    kept = wiring.promotions(project_id).kept(wiring.settings.keep_tags)
    # Nothing that waits in the pool was learned by these members: it stays there (up_to 0).
    candidate = {"tag": card.tag, "card": asdict(card), "up_to": 0}
    try:
        with wiring.lease(lease_name("train", project_id)) as lease:
            if desk.candidate():
                raise SelectError("A stage's committee waits for its promotion; select again then.")
            if wiring.promotions(project_id).served() != manifest.parent:
                raise SelectError("Another committee is served meanwhile; select again.")

            def write(pipe: Any) -> None:
                desk.propose(candidate, pipe)
                selections.keep(card.tag, table, kept, pipe)

            lease.transaction(write)
    except LeaseHeld:
        raise SelectError("A stage trains at the moment; select again when it is done.") from None


def _await(wiring: Wiring, project_id: int, tag: str) -> None:
    """Wait until a candidate is served.

    Raises:
        SelectError: No push worker runs, or something else is served instead.
    """
    desk, promotions = wiring.projects.desk(project_id), wiring.promotions(project_id)
    seen = time.monotonic()
    while desk.candidate():
        wiring.queues.wake("push", project_id)
        if wiring.queues.workers()["push"]:
            seen = time.monotonic()
        elif time.monotonic() - seen > _WORKER_S:
            raise SelectError(f"{tag} waits for its promotion, but {NO_WORKER}.")
        time.sleep(_TICK_S)
    if promotions.served() != tag:
        raise SelectError(f"{promotions.served()} is served instead of {tag}; select again.")
