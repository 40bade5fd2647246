"""The reconcile job: make Redis and Label Studio agree again, whatever was lost in between.

Label Studio's hooks have a second, no retry, and none for imported annotations; a quick view and a
bulk import can race into two predictions. This job reads the project's annotations and predictions
and mends: answers that were missed or withdrawn, tasks without a prediction, predictions too many,
verdicts that do not show, tags that are no longer kept, and a model version that differs; one that
a person chose among the kept tags is a rollback. What it mended is counted (mended.py). The tab of
conflicts is brought up to date.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backend import conflict_tab, project_settings
from backend.annotations import answers_of
from backend.answers import record_answers
from backend.audit import is_audit
from backend.errors import NotFound
from backend.jobs.push import settle_push_mode, show_tag
from backend.jobs.settle import settle
from backend.label_changes import adopt
from backend.label_config import guideline_of, parse
from backend.label_studio import UNCERTAINTY
from backend.lease import Lease
from backend.predictions import fits, shows
from backend.projects import Project
from backend.shards import prelabels
from backend.wiring import Wiring
from specialists.types import Verdict
from training.errors import CheckpointDamaged

_COUNTED = ("id", "total_annotations")

Row = Mapping[str, Any]

_HOOK_S = 10.0  # a younger answer's hook may still be on its way


@dataclass(frozen=True)
class _Before:
    """What was known before Label Studio was read: what comes in between was not lost.

    `annotations` gave a verdict, `observed` tasks have evidence; `to_predict` and `to_patch` are
    on the lists of jobs already, and a `bulk` run may be predicting. `at` is in seconds since the
    epoch.
    """

    at: float
    served: str | None
    annotations: set[int]
    observed: set[int]
    to_predict: set[int]
    to_patch: set[int]
    bulk: bool


def done_key(project_id: int) -> str:
    """Exists until the next reconcile of a project is due; its value is for how many ms."""
    return f"aa:project:{project_id}:reconciled"


def is_due(wiring: Wiring, project_id: int) -> bool:
    """Whether the project was not compared for RECONCILE_EVERY seconds.

    By Redis's clock, whatever ours do; a key that lasts for longer than it was set for tells that
    Redis's was ahead and is right again.
    """
    key = done_key(project_id)
    pause_ms = wiring.redis.get(key)
    return pause_ms is None or int(str(wiring.redis.pttl(key))) > int(pause_ms)


def work(wiring: Wiring, project_id: int, lease: Lease) -> str:
    """Compare a project with Label Studio once and mend what differs."""
    started_s = time.monotonic()
    if not is_due(wiring, project_id):
        return "Done a moment ago."
    project = wiring.projects.get(project_id)
    if project is None or not project.label_config:
        return "Nothing is known of this project."
    before = _before(wiring, project_id)
    try:
        remote = wiring.label_studio.project(project_id)
    except NotFound:
        wiring.projects.forget(project_id)
        return "The project is gone from Label Studio; its verdicts are kept."
    adopt(wiring, project_id, remote["label_config"])
    project = wiring.projects.update(
        project_id,
        title=remote.get("title", ""),
        guideline=project_settings.guideline(wiring.redis, project_id, guideline_of(remote)),
        tasks=int(remote.get("task_number") or 0),
        active_learning=remote.get("sampling") == UNCERTAINTY,
    )
    tasks = [_needed(task) for task in wiring.label_studio.tasks(project_id)]
    read = _annotations(wiring, project, tasks, before)
    wiring.evidence.forget(project_id, before.observed - {int(task["id"]) for task in tasks})
    deleted = _predictions(wiring, project, remote, tasks, before, lease)
    wiring.mended(project_id).compared()
    # A large project is read less often: never more than a twentieth of the time.
    pause_s = max(wiring.settings.reconcile_every, 20 * (time.monotonic() - started_s))
    pause_ms = int(1000 * pause_s)
    wiring.redis.set(done_key(project_id), pause_ms, px=pause_ms)
    conflict_tab.refresh(wiring, project)  # last: where it is refused nothing else is done again
    return f"{len(tasks)} tasks, {read} answers read; {deleted} predictions too many deleted."


def _needed(task: Row) -> Row:
    """What is kept of a task until all are read: of most only that nobody answered it."""
    return task if task.get("annotations") else {name: task.get(name) for name in _COUNTED}


def _before(wiring: Wiring, project_id: int) -> _Before:
    desk = wiring.projects.desk(project_id)
    return _Before(
        time.time(),
        wiring.promotions(project_id).served(),
        wiring.pool(project_id).annotation_ids(),
        wiring.evidence.task_ids(project_id),
        set(desk.wanted_predictions()),
        set(desk.wanted_patches()),
        prelabels(wiring.redis, project_id),
    )


def _annotations(wiring: Wiring, project: Project, tasks: Sequence[Row], before: _Before) -> int:
    """Record the answers that hooks lost, and withdraw those that are gone."""
    pool, mended = wiring.pool(project.id), wiring.mended(project.id)
    controls, names = parse(project.label_config), wiring.committees.label_names(project.id)
    answers = [answer for task in tasks for answer in answers_of(task, controls, names).answers]
    new = record_answers(wiring, project.id, controls, answers)
    mended.count("answers_read", sum(one.at < before.at - _HOOK_S for one in new))
    settle(wiring, project.id)  # what was under way when labels changed
    gone = before.annotations - {answer.annotation_id for answer in answers}
    mended.count("answers_withdrawn", sum(pool.retract(one) for one in gone))
    return len(answers)


def _predictions(
    wiring: Wiring,
    project: Project,
    remote: Row,
    tasks: Sequence[Row],
    before: _Before,
    lease: Lease,
) -> int:
    """One prediction of the served tag a task, showing its verdict; rows of lost tags go."""
    desk, mended = wiring.projects.desk(project.id), wiring.mended(project.id)
    controls = parse(project.label_config)
    tag = _chosen(wiring, project, wiring.committees.ensure(project.id, controls))
    keep = set(wiring.promotions(project.id).kept(wiring.settings.keep_tags))
    candidate = desk.candidate()
    if candidate:
        keep.add(candidate["tag"])
    rows: defaultdict[tuple[int, str], list[Row]] = defaultdict(list)
    for row in wiring.label_studio.predictions(project.id):
        rows[int(row["task"]), row["model_version"]].append(row)
    ours = wiring.promotions(project.id).tags()
    lease.check()
    for old in {version for _, version in rows if version in ours - keep}:
        wiring.label_studio.delete_tag(project.id, old)
        mended.count("tags", 1)
    wiring.evidence.prune(project.id, keep)
    desk.prune_places(keep)
    wiring.rules.prune(project.id, [control.name for control in controls], keep)
    verdicts = [v for v in wiring.pool(project.id).verdicts() if v.source == "llm"]
    kept = _kept(rows, verdicts)
    extra = [
        int(row["id"])
        for (task, version), same in rows.items()
        if version in keep
        for row in same
        if row is not kept[task, version]
    ]
    wiring.label_studio.delete_predictions(extra)
    mended.count("duplicates", len(extra))
    _verdicts(wiring, project, tag, tasks, kept, verdicts, before)
    if project.push:
        missing = _missing(wiring, project, tag, tasks, rows, keep, before)
        # Label Studio refuses a model version that no prediction has yet.
        has_rows = any(version == tag for _, version in rows)
        if project.empty:
            if has_rows and not missing:  # whoever imported them died before the switch
                settle_push_mode(wiring, project, tag)
        elif has_rows and remote.get("model_version") != tag:
            shown = show_tag(wiring, project, tag)
            mended.count("version", int(shown and tag == before.served))
    return len(extra)


def _missing(
    wiring: Wiring,
    project: Project,
    tag: str,
    tasks: Sequence[Row],
    rows: Mapping[tuple[int, str], Sequence[Row]],
    keep: Collection[str],
    before: _Before,
) -> list[int]:
    """Ask for predictions of the tasks that have none of the served tag; returns them."""
    desk, ids = wiring.projects.desk(project.id), [int(task["id"]) for task in tasks]
    missing = [task for task in ids if (task, tag) not in rows]
    if not (before.bulk or prelabels(wiring.redis, project.id)):
        # Those with one of another tag were left out by a promotion: people answered them.
        bare = {task for task in missing if not any((task, one) in rows for one in keep)}
        lost = bare - before.to_predict - set(desk.wanted_predictions())
        wiring.mended(project.id).count("unpredicted", len(lost))
    desk.want_predictions(missing)
    return missing


def _verdicts(
    wiring: Wiring,
    project: Project,
    tag: str,
    tasks: Sequence[Row],
    kept: Mapping[tuple[int, str], Row],
    verdicts: Sequence[Verdict],
    before: _Before,
) -> None:
    """Ask for patches of what shows no verdict, or does not fit the label config."""
    desk, controls = wiring.projects.desk(project.id), parse(project.label_config)
    missed = {v.task_id for v in verdicts if not _shown(kept.get((v.task_id, tag)), v)}
    misshapen = {
        task
        for (task, version), row in kept.items()
        if version == tag and not all(fits(row["result"], control) for control in controls)
    }
    share = wiring.settings.audit_share
    open_tasks = {
        int(task["id"])
        for task in tasks
        if not task.get("total_annotations") and not is_audit(project.id, int(task["id"]), share)
    }
    lost = (missed & open_tasks) - before.to_patch - set(desk.wanted_patches())
    wiring.mended(project.id).count("unshown", len(lost))
    desk.want_patches((missed | misshapen) & open_tasks)


def _chosen(wiring: Wiring, project: Project, served: str) -> str:
    """The tag to serve: an earlier one when a person chose it in Label Studio, which is a rollback.

    Only where Label Studio was told to show the served one: else it lags behind a promotion.
    """
    known = wiring.projects.get(project.id)  # before Label Studio is asked, and not from earlier
    if not project.push or known is None or known.shown != served:
        return served
    chosen = str(wiring.label_studio.project(project.id).get("model_version") or "")
    promotions, most = wiring.promotions(project.id), wiring.settings.keep_tags
    if chosen not in promotions.kept(most)[1:] or promotions.served() != served:
        return served
    try:
        wiring.store.check(chosen)
    except CheckpointDamaged as error:
        wiring.journal.error("promotion", f"Not rolled back: {error}", project.id)
        return served
    promotions.rollback(chosen, wiring.redis, most)
    show_tag(wiring, project, chosen)
    told = f"{chosen} was chosen in Label Studio instead of {served}: it is served again."
    wiring.journal.error("promotion", told, project.id)
    return chosen


def _shown(row: Row | None, verdict: Verdict) -> bool:
    """Whether a prediction shows a verdict; one that is still to be made will."""
    return row is None or shows(row["result"], verdict.control, verdict.labels)


def _kept(
    rows: Mapping[tuple[int, str], Sequence[Row]], verdicts: Sequence[Verdict]
) -> dict[tuple[int, str], Row]:
    """Of each task's predictions of one tag the one to keep: that shows most verdicts, the newest.

    The newest was decided with what is known now.
    """
    of_task: defaultdict[int, list[Verdict]] = defaultdict(list)
    for verdict in verdicts:
        of_task[verdict.task_id].append(verdict)

    def rank(row: Row, task: int) -> tuple[int, int]:
        shown = sum(shows(row["result"], v.control, v.labels) for v in of_task.get(task, ()))
        return shown, int(row["id"])

    return {
        (task, tag): max(same, key=lambda row: rank(row, task))
        for (task, tag), same in rows.items()
    }
