"""The review job: ask the LLM about hard samples, keep its verdicts, show them in Label Studio.

A verdict is in the pool before Label Studio is called, and a prediction that could not be patched
stays on the list: Label Studio being down delays verdicts and loses none.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from backend import predictions
from backend.errors import LabelStudioError, NotFound
from backend.label_config import Control, parse
from backend.lease import Lease
from backend.projects import Desk, HardSample, Project
from backend.wiring import NotConfigured, Wiring
from specialists.types import Verdict

if TYPE_CHECKING:
    from meta_controller.reviewer import Outcome, Reviewer

_BATCH = 64
_PAUSE_S = 120


def paused_key(project_id: int) -> str:
    """Exists while asking is paused (wrong key, quota or budget used up, provider down)."""
    return f"aa:project:{project_id}:review_paused"


def work(wiring: Wiring, project_id: int, lease: Lease) -> str:
    """Review what waits, batch by batch, writing back after each."""
    from meta_controller.errors import SettingsError

    project = wiring.projects.get(project_id)
    if project is None or not project.label_config:
        return "Nothing is known of this project."
    reviewer = None
    try:
        if wiring.language_model is not None:
            reviewer = wiring.reviewer(project_id, wiring.language_model)
    except (SettingsError, NotConfigured) as error:
        wiring.journal.error("review", str(error), project_id)
        wiring.redis.set(paused_key(project_id), 1, ex=_PAUSE_S)
    kinds: Counter[str] = Counter()
    desk = wiring.projects.desk(project_id)
    # The waiting write-backs come last: Label Studio being down must not keep verdicts from coming.
    while reviewer and not wiring.redis.exists(paused_key(project_id)):
        batch = desk.to_review()[:_BATCH]
        if not batch:
            break
        kinds.update(_ask(wiring, project, reviewer, batch, lease))
        if len(batch) == _BATCH and wiring.has_label_studio:
            _write_back_or_later(wiring, project, lease)
    patched = _write_back(wiring, project, lease)
    return f"{sum(kinds.values())} reviewed ({dict(kinds)}), {patched} written back."


def _write_back_or_later(wiring: Wiring, project: Project, lease: Lease) -> None:
    """Show the verdicts of a batch while others are still asked for; a failure is tried again."""
    try:
        _write_back(wiring, project, lease)
    except LabelStudioError as error:
        wiring.journal.error("review", str(error), project.id)


def _ask(
    wiring: Wiring,
    project: Project,
    reviewer: Reviewer,
    batch: Sequence[HardSample],
    lease: Lease,
) -> Counter[str]:
    """Ask about one batch; every sample ends as verdict, left to people, or waits on."""
    from meta_controller.language_model import Question

    labels = {control.name: control.labels for control in parse(project.label_config)}
    known = [one for one in batch if one.control in labels]
    desk = wiring.projects.desk(project.id)
    desk.settle_hard(one.member for one in batch if one.control not in labels)
    samples = {one.member: one for one in known}
    questions = [
        Question(one.control, one.text, labels[one.control], project.guideline, (one.task_id,))
        for one in known
    ]
    # Only this lease's holder asks for this project: other runs' reservations are dead.
    reviewer.ledger.charge_lost(lambda run: run == lease.token)
    kinds: Counter[str] = Counter()
    for outcome in reviewer.review(questions, lease.transaction, run=lease.token):
        kinds[outcome.kind] += 1
        member = f"{outcome.question.task_ids[0]}:{outcome.question.control}"
        _keep(wiring, project.id, samples[member], outcome, lease)
    return kinds


def _keep(
    wiring: Wiring, project_id: int, sample: HardSample, outcome: Outcome, lease: Lease
) -> None:
    """Write down how one sample ended."""
    desk, pool = wiring.projects.desk(project_id), wiring.pool(project_id)
    reply = outcome.reply
    if reply and reply.labels:
        verdict = Verdict(
            task_id=sample.task_id,
            control=sample.control,
            text=sample.text,
            labels=reply.labels,
            source="llm",
            author=reply.model,
            at=time.time(),
            reason=reply.reason,
        )

        def write(pipe: Any) -> None:
            pool.add(verdict, pipe)
            desk.settle_hard([sample.member], pipe)
            desk.want_patches([sample.task_id], pipe)

        lease.transaction(write)
    elif outcome.again:
        wiring.redis.set(paused_key(project_id), 1, ex=_PAUSE_S)
        wiring.journal.error("review", outcome.failure or outcome.kind, project_id)
    else:
        why = outcome.failure or "The LLM is unsure"
        lease.transaction(lambda pipe: desk.leave_to_people(sample, why, pipe))


def _write_back(wiring: Wiring, project: Project, lease: Lease) -> int:
    """Patch the predictions whose verdict does not show yet; returns how many were patched."""
    desk = wiring.projects.desk(project.id)
    wanted = desk.wanted_patches()
    tag = wiring.promotions(project.id).served()
    if not wanted or not wiring.has_label_studio:
        return 0
    if tag is None:  # nothing is shown yet; the first predictions will show the verdicts
        lease.transaction(lambda pipe: desk.patched(wanted, pipe))
        return 0
    controls = parse(project.label_config)
    verdicts = wiring.pool(project.id).llm_verdicts((t, c.name) for t in wanted for c in controls)
    patched = 0
    for task_id in wanted:
        patched += _patch(wiring, project, tag, task_id, controls, verdicts)
        lease.transaction(_done(desk, task_id))
    return patched


def _done(desk: Desk, task_id: int) -> Any:
    return lambda pipe: desk.patched([task_id], pipe)


def _patch(
    wiring: Wiring,
    project: Project,
    tag: str,
    task_id: int,
    controls: Iterable[Control],
    verdicts: Mapping[tuple[int, str], Verdict],
) -> int:
    """Patch one task's prediction of the served tag in place, keeping its version.

    Without such a prediction there is nothing to patch: the next one made shows the verdict.
    """
    try:
        rows = wiring.label_studio.task_predictions(task_id)
    except NotFound:
        return 0
    rows = [row for row in rows if row["model_version"] == tag]
    if not rows:
        return 0
    row = min(rows, key=lambda one: int(one["id"]))
    parts = [
        predictions.Part(
            control,
            predictions.decision_of(row["result"], control),
            verdicts.get((task_id, control.name)),
        )
        for control in controls
    ]
    new = predictions.prediction(tag, parts)
    wiring.label_studio.patch_prediction(
        int(row["id"]),
        task=task_id,
        project=project.id,
        result=new["result"],
        score=new["score"],
        model_version=tag,
    )
    return 1
