"""A stage: one round of continual fine-tuning over the pool's verdicts (arXiv 2506.16393).

Per control: keep the held-out texts away, add a replay sample of earlier verdicts against
forgetting, fine-tune every member into a new checkpoint, then let the gate compare the served and
the new committee. Everything comes in as data and callables: it knows neither Redis nor the queue
nor how a model is trained, and it serves nothing; its caller promotes or refuses.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path

from specialists.errors import SpecialistUnavailable
from specialists.registry import GENERATED_PREFIX
from specialists.types import Decision, LabelSet, SpecialistRef, Verdict
from training import gate
from training.card import Card, HeldOutSource
from training.errors import CheckpointDamaged, NothingToTrain, TrainingError
from training.fine_tune import Example, FineTuneParams
from training.model_store import CommitteeManifest, ModelStore
from training.plan import Plan, plan

_log = logging.getLogger(__name__)

HUMAN_GATE_MIN = 5  # fewer held-out answers of people say less than the LLM's many

Report = Callable[[float, float], None]
FineTune = Callable[
    [SpecialistRef, LabelSet, Path | None, Sequence[Example], Path, FineTuneParams, Report], None
]
Evaluate = Callable[[CommitteeManifest, str, Sequence[str]], Sequence[Decision]]
Progress = Callable[[str, float, float], None]
Finished = Callable[[str, str], None]


@dataclass(frozen=True)
class StageInput:
    """What a stage works on.

    `manifest` is the served committee; `fresh` are the pool's effective verdicts by control,
    `earlier` all effective verdicts of earlier stages; `done` maps "control/member" to a checkpoint
    that a killed run of this stage finished.
    """

    manifest: CommitteeManifest
    fresh: Mapping[str, Sequence[Verdict]] = field(repr=False)
    earlier: Mapping[str, Sequence[Verdict]] = field(repr=False)
    params: FineTuneParams
    seed: int
    done: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class StageResult:
    """A stage's new committee, stored under `tag`, and what the gate says about serving it."""

    tag: str
    manifest: CommitteeManifest
    judgement: gate.Judgement
    card: Card


@dataclass(frozen=True)
class Member:
    """One specialist to fine-tune, with its control's labels and examples."""

    ref: SpecialistRef
    labels: LabelSet
    examples: Sequence[Example] = field(repr=False)


def run_stage(
    given: StageInput,
    store: ModelStore,
    fine_tune: FineTune,
    evaluate: Evaluate,
    progress: Progress,
    finished: Finished,
) -> StageResult:
    """Fine-tune, store and judge a new committee.

    `progress(key, share, loss)` hears how much of the stage (0..1) is done while "control/member"
    trains; `finished(key, checkpoint)` hears of each stored checkpoint, so that a killed stage can
    go on from there. Raises NothingToTrain when no control has an example left or no member
    learns, and SpecialistUnavailable when none of the members can be loaded.
    """
    started = time.monotonic()
    plans = _plans(given)
    checkpoints = _train(given, plans, store, fine_tune, progress, finished)
    manifest = _next_manifest(given.manifest, checkpoints)
    tag = store.save_committee(manifest)
    judgement, source = _judge(given.manifest, manifest, plans, evaluate)
    trained = [p for p in plans.values() if p.examples]
    card = Card(
        tag=tag,
        parent=manifest.parent,
        stage=manifest.stage,
        decision="promoted" if judgement.passed else "refused",
        reason=judgement.reason + _left_out(given.manifest, plans, checkpoints),
        before=judgement.before,
        after=judgement.after,
        held_out=judgement.n,
        held_out_source=source,
        samples={by: sum(p.samples[by] for p in trained) for by in ("human", "llm", "replay")},
        dropped=_dropped(given, plans),
        duration_s=round(time.monotonic() - started, 3),
        method=given.params.method,
        at=time.time(),
    )
    return StageResult(tag, manifest, judgement, card)


def _plans(given: StageInput) -> dict[str, Plan]:
    """The plan of each control; raises NothingToTrain when none has an example."""
    plans = {
        control: plan(
            committee.labels,
            given.fresh.get(control, ()),
            given.earlier.get(control, ()),
            f"{given.seed}:{control}",
        )
        for control, committee in given.manifest.controls.items()
    }
    if not any(p.examples for p in plans.values()):
        held = sum(len(p.held_out) for p in plans.values())
        raise NothingToTrain(
            f"No verdict to train on: {held} are held out for the gate and "
            f"{_dropped(given, plans)} do not fit the project's labels. Wait for more verdicts."
        )
    return plans


def _dropped(given: StageInput, plans: Mapping[str, Plan]) -> int:
    """How many verdicts do not fit the project's controls and labels."""
    homeless = sum(len(rows) for control, rows in given.fresh.items() if control not in plans)
    return homeless + sum(p.dropped for p in plans.values())


def _train(
    given: StageInput,
    plans: Mapping[str, Plan],
    store: ModelStore,
    fine_tune: FineTune,
    progress: Progress,
    finished: Finished,
) -> dict[str, str]:
    """The new checkpoints by "control/member".

    A member whose model cannot be had is left as it is, as it is left out of the vote; when that
    is true of all, raises SpecialistUnavailable. Raises NothingToTrain when no member learns.
    """
    jobs = _members(given.manifest, plans)
    if not jobs:
        raise NothingToTrain("No member can be trained: all of them are generated code.")
    checkpoints: dict[str, str] = {}
    unavailable: SpecialistUnavailable | None = None
    for ready, (key, member) in enumerate(jobs.items()):

        def report(share: float, loss: float, key: str = key, ready: int = ready) -> None:
            progress(key, (ready + share) / len(jobs), loss)

        checkpoint = given.done.get(key)
        try:
            if checkpoint is None or not _whole(store, checkpoint):
                checkpoint = _checkpoint(member, given.params, store, fine_tune, report)
                finished(key, checkpoint)
            checkpoints[key] = checkpoint
        except SpecialistUnavailable as error:
            _log.warning("%s: not trained: %s", key, error)
            unavailable = error
    if unavailable and not checkpoints:
        raise unavailable
    return checkpoints


def _members(served: CommitteeManifest, plans: Mapping[str, Plan]) -> dict[str, Member]:
    """Whom to train, by "control/member"; generated code stays as it was approved."""
    return {
        f"{control}/{ref.name}": Member(ref, committee.labels, plans[control].examples)
        for control, committee in served.controls.items()
        for ref in committee.members
        if plans[control].examples and not ref.source.startswith(GENERATED_PREFIX)
    }


def _left_out(
    served: CommitteeManifest, plans: Mapping[str, Plan], checkpoints: Mapping[str, str]
) -> str:
    left = [key for key in _members(served, plans) if key not in checkpoints]
    return f" Not trained, as it is not available: {', '.join(left)}." if left else ""


def _checkpoint(
    member: Member,
    params: FineTuneParams,
    store: ModelStore,
    fine_tune: FineTune,
    report: Report,
) -> str:
    """Fine-tune one member and store the result."""
    ref = member.ref

    def fill(out: Path) -> None:
        folder = store.open(ref.checkpoint) if ref.checkpoint else None
        fine_tune(ref, member.labels, folder, member.examples, out, params, report)

    return store.write(fill)


def _whole(store: ModelStore, checkpoint: str) -> bool:
    """Whether a killed run's checkpoint is still there to go on from."""
    try:
        store.open(checkpoint)
    except CheckpointDamaged:
        return False
    return True


def _next_manifest(served: CommitteeManifest, checkpoints: Mapping[str, str]) -> CommitteeManifest:
    """The served committee with its new checkpoints; untrained members stay as they are."""
    controls = {
        name: replace(
            committee,
            members=tuple(
                replace(ref, checkpoint=checkpoints.get(f"{name}/{ref.name}", ref.checkpoint))
                for ref in committee.members
            ),
        )
        for name, committee in served.controls.items()
    }
    return CommitteeManifest(served.project_id, served.stage + 1, served.tag, controls)


def _judge(
    served: CommitteeManifest,
    new: CommitteeManifest,
    plans: Mapping[str, Plan],
    evaluate: Evaluate,
) -> tuple[gate.Judgement, HeldOutSource]:
    """Ask both committees about the held-out verdicts of all trained controls together."""
    trained = {control: p for control, p in plans.items() if p.examples}
    source = _source(chain.from_iterable(p.held_out for p in trained.values()))
    before: list[bool] = []
    after: list[bool] = []
    for control, p in trained.items():
        asked = [verdict for verdict in p.held_out if verdict.source == source]
        if asked:
            before += _right(evaluate, served, control, asked)
            after += _right(evaluate, new, control, asked)
    judgement = gate.judge(before, after, source)
    return judgement, source


def _source(held_out: Iterable[Verdict]) -> HeldOutSource:
    """Whose held-out verdicts the gate trusts: people's if there are enough, else the LLM's."""
    counts = Counter(verdict.source for verdict in held_out)
    if counts["human"] >= HUMAN_GATE_MIN:
        return "human"
    return "llm" if counts["llm"] else "none"


def _right(
    evaluate: Evaluate, manifest: CommitteeManifest, control: str, verdicts: Sequence[Verdict]
) -> list[bool]:
    """Whether the committee gives each verdict's labels; raises TrainingError on a lost answer."""
    decisions = evaluate(manifest, control, [verdict.text for verdict in verdicts])
    if len(decisions) != len(verdicts):
        raise TrainingError(
            f"{manifest.tag}: asked for {len(verdicts)} decisions, got {len(decisions)}; "
            "the committee must answer every text once."
        )
    pairs = zip(decisions, verdicts, strict=True)
    return [set(decision.labels) == set(verdict.labels) for decision, verdict in pairs]
