"""The train job: one stage of continual fine-tuning, ended as a candidate or refused.

Runs in a process of its own (SpawnWorker), which holds the devices it trains on. What a killed run
had finished is kept in Redis, so that the next run goes on from there.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from backend.devices import Held, hold, train_devices
from backend.jobs.known import committee_said, measuring, trained_at
from backend.jobs.prepare import project_texts
from backend.jobs.progress import Progress
from backend.jobs.trial import answers
from backend.label_config import parse
from backend.lease import Lease
from backend.projects import Desk
from backend.settings import Settings
from backend.triggers import is_due
from backend.wiring import Wiring
from specialists.threads import cores
from specialists.types import Decision, Verdict
from training.consensus import resolve
from training.errors import NothingToTrain, OutOfMemory, StageCancelled
from training.model_store import CommitteeManifest
from training.pool import Place

if TYPE_CHECKING:
    from training.stage import StageInput

logger = logging.getLogger(__name__)


def work(wiring: Wiring, project_id: int, lease: Lease) -> str:
    """Run one stage over everything that waits in the pool, on devices where no other one runs.

    Raises DevicesBusy when there is none, and GpuMissing.
    """
    if not is_due(wiring, project_id):
        return "No stage is due."
    asked = wiring.settings.device
    with hold(wiring.redis, _devices(wiring, project_id)) as held:
        if asked.startswith("cuda") and held.devices[0] == "cpu":
            told = f"DEVICE is {asked}, but this stage trains on the CPU, as TRAIN_FALLBACK says."
            wiring.journal.error("stage", told, project_id)
        return _stage(wiring.on(held.devices[0]), project_id, lease, held)


def _devices(wiring: Wiring, project_id: int) -> list[str]:
    """Where this stage may train: on the CPU when it already ran out of a GPU's memory."""
    state = json.loads(wiring.projects.desk(project_id).stage().get("running") or "{}")
    return [state["device"]] if "device" in state else train_devices(wiring.settings)


def _stage(wiring: Wiring, project_id: int, lease: Lease, held: Held) -> str:
    import torch

    from training import own_process
    from training.fine_tune import fine_tune
    from training.stage import run_stage

    torch.set_num_threads(cores())  # torch counts the machine's, not what a container is given
    desk = wiring.projects.desk(project_id)
    tag = wiring.committees.usable(project_id)
    state = _begin(wiring, project_id, tag, lease)
    up_to = int(state["up_to"])
    given = _given(wiring, project_id, tag, state, lease, held.devices)
    probe = _probe(wiring, project_id)
    # A bound would hold this process's lease back as well, so what is bounded gets its own.
    here = len(given.devices) == 1 and given.params.memory_mb is None
    train_one = partial(
        fine_tune if here else own_process.fine_tune,
        converted=wiring.settings.models / "converted",
    )
    progress = Progress(wiring, project_id, lease, held, state["began"])

    def finished(member: str, checkpoint: str) -> None:
        state["done"][member] = checkpoint
        _keep(desk, lease, state)

    def evaluate(manifest: CommitteeManifest, control: str, texts: Sequence[str]) -> list[Decision]:
        """Ask a committee's members, in the form in which they would be served."""
        progress.check()
        wiring.committees.prepare(wiring.store.save_committee(manifest), control, probe[control])
        return wiring.committees.evaluate(manifest, control, texts)

    def serve(manifest: CommitteeManifest, control: str, texts: Sequence[str]) -> list[Decision]:
        """Ask a committee with the rule that it has, or would have."""
        progress.check()
        since = trained_at(wiring, project_id, tag) if manifest.tag == tag else math.inf
        return answers(wiring, project_id, manifest, control, texts, since)

    try:
        progress.check()
        result = run_stage(given, wiring.store, train_one, evaluate, progress, finished, serve)
    except (NothingToTrain, StageCancelled, OutOfMemory) as error:
        told = str(error)
        if isinstance(error, OutOfMemory) and _falls_back(wiring.settings, held):
            told += " It goes on on the CPU."
            _keep(desk, lease, {**state, "device": "cpu"})  # for its next run
        else:
            lease.transaction(lambda pipe: _end(desk, pipe, up_to))
        wiring.journal.error("stage", told, project_id)
        return told
    card = result.card
    lease.check()
    wiring.store.save_card(card)

    def end(pipe: Any) -> None:
        if result.judgement.passed:
            desk.propose({"tag": result.tag, "card": asdict(card), "up_to": up_to}, pipe)
        else:
            wiring.promotions(project_id).refuse(card, pipe)
        _end(desk, pipe, up_to)

    lease.transaction(end)
    if result.judgement.passed:
        wiring.queues.wake("push", project_id)
    return card.reason


def _given(
    wiring: Wiring,
    project_id: int,
    tag: str,
    state: Mapping[str, Any],
    lease: Lease,
    devices: Sequence[str],
) -> StageInput:
    """What a stage works on: the verdicts up to a number, and how to learn from them."""
    from training.params import FineTuneParams, Method
    from training.stage import StageInput

    up_to = int(state["up_to"])
    fresh, earlier = _verdicts(wiring, project_id, tag, up_to)
    measures = wiring.slice(project_id)
    lease.transaction(lambda pipe: measures.give([*fresh, *earlier], pipe))
    return StageInput(
        manifest=wiring.committees.manifest(tag),
        fresh=_by_control(fresh),
        earlier=_by_control(earlier),
        params=FineTuneParams(
            method=cast(Method, wiring.settings.fine_tune),
            epochs=wiring.settings.stage_epochs,
            device=devices[0],
            memory_mb=wiring.settings.train_memory_mb,
        ),
        seed=up_to,
        done=state["done"],
        devices=devices,
        held_out=measures.held_out(),
    )


def _learnable(wiring: Wiring, project_id: int, tag: str) -> dict[Place, Verdict]:
    """What a stage may learn from: no audits, and no LLM that people's answers show to be worse.

    Where several people answered, the committee is one more voice, but not about what judges it.
    """
    share = wiring.settings.audit_share
    states = {
        control: wiring.rules.state(project_id, control, tag)
        for control in wiring.committees.manifest(tag).controls
    }
    worse = {control for control, state in states.items() if state and state.trust == "committee"}
    verdicts, held_out = wiring.pool(project_id).verdicts(), wiring.slice(project_id).held_out()
    measured = measuring(project_id, verdicts, share)
    voice = {
        (task, control): label
        for control in wiring.committees.manifest(tag).controls
        for task, label in committee_said(wiring, project_id, control, tag, verdicts).items()
    }
    return {
        (task, control): verdict
        for (task, control), verdict in resolve(verdicts, voice, held_out.holds).items()
        if task not in measured and (verdict.source == "human" or control not in worse)
    }


def _probe(wiring: Wiring, project_id: int) -> defaultdict[str, list[str]]:
    """Texts of the project by control, on which faster forms of its models are checked."""
    project = wiring.projects.get(project_id)
    controls = parse(project.label_config) if project else ()
    texts = {control.name: project_texts(wiring, project_id, control) for control in controls}
    return defaultdict(list, texts)


def _begin(wiring: Wiring, project_id: int, tag: str, lease: Lease) -> dict[str, Any]:
    """The state of this stage: a killed run's if it worked on the same committee, else a new one.

    `up_to` fixes which verdicts the stage learns, so that a rerun does the same; what measures it
    is fixed with it.
    """
    desk, measures = wiring.projects.desk(project_id), wiring.slice(project_id)
    state: dict[str, Any] = json.loads(desk.stage().get("running") or "{}")
    if state.get("tag") != tag:
        up_to = wiring.pool(project_id).sequence()
        state = {"tag": tag, "up_to": up_to, "done": {}, "began": time.time()}
        lacking = measures.lacks(*_verdicts(wiring, project_id, tag, up_to))

        def begin(pipe: Any) -> None:
            measures.hold(lacking, pipe)
            desk.set_stage(pipe, running=json.dumps(state))

        lease.transaction(begin)
    return state


def _keep(desk: Desk, lease: Lease, state: Mapping[str, Any]) -> None:
    """Remember how far the stage is, for a run after this one was killed."""
    lease.transaction(lambda pipe: desk.set_stage(pipe, running=json.dumps(state)))


def _falls_back(settings: Settings, held: Held) -> bool:
    """Whether a stage that ran out of memory goes on on the CPU."""
    return settings.train_fallback == "cpu" and held.devices[0] != "cpu"


def _end(desk: Desk, pipe: Any, up_to: int) -> None:
    desk.set_stage(
        pipe,
        running="",
        progress="",
        now=0,
        cancel=0,
        attempted=up_to,
        drift="",
        ended_at=time.time(),
    )


def _verdicts(
    wiring: Wiring, project_id: int, tag: str, up_to: int
) -> tuple[list[Verdict], list[Verdict]]:
    """What a stage may learn from: the verdicts that wait up to a number, and the earlier ones."""
    waiting = wiring.pool(project_id).waiting_places(up_to)
    fresh: list[Verdict] = []
    earlier: list[Verdict] = []
    for place, verdict in sorted(_learnable(wiring, project_id, tag).items()):
        (fresh if place in waiting else earlier).append(verdict)
    return fresh, earlier


def _by_control(verdicts: Sequence[Verdict]) -> dict[str, list[Verdict]]:
    found: defaultdict[str, list[Verdict]] = defaultdict(list)
    for verdict in verdicts:
        found[verdict.control].append(verdict)
    return dict(found)
