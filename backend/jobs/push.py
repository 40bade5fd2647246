"""The push job: predictions into Label Studio in bulk, and promotions.

Imports what tasks lack under the served tag, and for a candidate committee predicts the unlabelled
tasks under its tag first, then switches: annotators see the new tag at once, complete. Safe to
repeat: what Label Studio has already is looked up before each import.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from itertools import chain
from typing import Any

from backend.errors import LabelStudioError
from backend.jobs import predicted
from backend.jobs.known import observe_verdicts
from backend.jobs.prepare import prepare
from backend.jobs.queue_order import arrange
from backend.jobs.refit import needed, refit_key, refit_tag
from backend.label_config import parse
from backend.labeling import Labeled, note
from backend.lease import Lease
from backend.projects import Project
from backend.shards import prelabels
from backend.wiring import Wiring
from training.card import Card
from training.errors import CheckpointDamaged, TrainingError

logger = logging.getLogger(__name__)

TITLE = "AutoAnnotator"  # of our backend in Label Studio; must differ from every tag
_BATCH = 2000  # Label Studio recounts the whole project at each import, so few large ones
# A prepared form takes seconds to make again, and 40 to 90 MB a member on disk.
_UNUSED_S = 30 * 86_400.0
_SPARE_S = 3600.0  # of a checkpoint that no kept tag has: refused, or too long ago
_ASIDE_S = 86_400.0  # no stage is silent for a day


def work(wiring: Wiring, project_id: int, lease: Lease) -> str:
    """Import what is missing under the served tag, then promote a candidate if there is one."""
    project = wiring.projects.get(project_id)
    if project is None or not project.label_config:
        return "Nothing is known of this project."
    wiring.committees.ensure(project.id, parse(project.label_config))
    imported = 0
    if wiring.has_label_studio:
        imported = _import_missing(wiring, project, lease)
    candidate = wiring.projects.desk(project_id).candidate()
    if candidate is None:
        return f"{imported} predictions imported."
    done = "promoted" if promote(wiring, project, candidate, lease) else "dropped"
    return f"{imported} predictions imported; {candidate['tag']} {done}."


def _import_missing(wiring: Wiring, project: Project, lease: Lease) -> int:
    """Predictions for the tasks that ask for one; live projects predict on opening instead."""
    desk = wiring.projects.desk(project.id)
    wanted = desk.wanted_predictions()
    if not wanted or prelabels(wiring.redis, project.id):
        return 0
    if not project.push:
        lease.transaction(lambda pipe: desk.predicted(wanted, pipe))
        return 0
    prepare(wiring, project)
    tag = wiring.committees.usable(project.id)
    imported = 0
    for labeled in import_predictions(wiring, project, tag, wanted, lease):
        imported += len(labeled)
        note(desk, labeled)
        if wiring.settings.has_llm and any(one.hard for one in labeled):
            wiring.queues.wake("review", project.id)
        if prelabels(wiring.redis, project.id):
            return imported  # its shards do the rest, on all workers
    # Also those that had one already, or were deleted meanwhile.
    lease.transaction(lambda pipe: desk.predicted(wanted, pipe))
    if project.active_learning and not desk.places(tag):
        verdicts = wiring.pool(project.id).verdicts()
        arrange(wiring, project, tag, verdicts, needed(len(verdicts)), lease)
    if project.empty:
        settle_push_mode(wiring, project, tag)
    elif imported and wiring.promotions(project.id).history()[0].decision == "initial":
        # After a change of labels: only now there is evidence to learn from, and a tag to show.
        wiring.redis.hdel(refit_key(project.id), tag)
        show_tag(wiring, project, tag)
    return imported


def import_predictions(
    wiring: Wiring, project: Project, tag: str, task_ids: Sequence[int], lease: Lease
) -> Iterator[list[Labeled]]:
    """Label and import the tasks that lack a prediction of `tag`, in batches."""
    label_studio = wiring.label_studio
    has = predicted.which(wiring, project, tag, task_ids)
    controls = parse(project.label_config)
    wanted = [task_id for task_id in task_ids if task_id not in has]
    for start in range(0, len(wanted), _BATCH):
        tasks = list(label_studio.tasks(project.id, wanted[start : start + _BATCH]))
        labeled = wiring.labeler.label(project.id, controls, tag, tasks)
        lease.check()  # not fenced by Label Studio: at least do not import after losing the lease
        label_studio.import_predictions(project.id, [prediction_row(one) for one in labeled])
        yield labeled


def prediction_row(one: Labeled) -> dict[str, Any]:
    """A prediction as Label Studio imports it."""
    return {"task": one.task_id, **one.prediction}


def settle_push_mode(wiring: Wiring, project: Project, tag: str) -> None:
    """The first import into a project that was empty: from live mode to push mode.

    The backend's title is renamed first: Label Studio treats a project whose model version equals
    a backend's title as live.
    """
    label_studio = wiring.label_studio
    if project.backend_id is not None:
        label_studio.update_backend(
            project.backend_id, url=wiring.settings.own_url, project=project.id, title=TITLE
        )
    label_studio.update_project(project.id, model_version=tag)
    wiring.projects.update(project.id, empty=False, shown=tag)


class _Overtaken(Exception):
    """Another committee is served than the one that the candidate goes on from."""


def promote(wiring: Wiring, project: Project, candidate: dict[str, Any], lease: Lease) -> bool:
    """Predict the unlabelled tasks under the candidate's tag, then serve it everywhere at once.

    One that goes on from a tag that is not served any more is dropped, so that a rollback stays.
    Returns whether it is served now.
    """
    card = _under_labels_of_now(wiring, project, Card(**candidate["card"]), candidate, lease)
    try:
        _promote(wiring, project, card, int(candidate["up_to"]), lease)
    except _Overtaken:
        # Labels that changed in the middle of it overtake nothing: the next run goes on under them.
        if not _only_labels_changed(wiring, project.id, card.parent):
            _drop(wiring, project.id, card, lease)
        return False
    return True


def _promote(wiring: Wiring, project: Project, card: Card, up_to: int, lease: Lease) -> None:
    tag, desk, promotions = (
        card.tag,
        wiring.projects.desk(project.id),
        wiring.promotions(project.id),
    )
    if promotions.served() != card.parent:
        raise _Overtaken
    prepare(wiring, project, tag)  # a stage's was prepared to be judged, a selection's was not
    _learn_rule(wiring, project, tag, lease)
    labeled: list[Labeled] = []
    if wiring.has_label_studio and project.push:
        tasks = list(wiring.label_studio.tasks(project.id))
        # All of them when none is unlabelled: Label Studio refuses a tag without predictions.
        chosen = [task for task in tasks if not task.get("is_labeled")] or tasks
        ids = [int(task["id"]) for task in chosen]
        for batch in import_predictions(wiring, project, tag, ids, lease):
            labeled.extend(batch)
    card = _counted(wiring, project, card, labeled)
    wiring.store.save_card(card)

    def switch(pipe: Any) -> None:
        if promotions.served() != card.parent:  # rolled back while its predictions were made
            raise _Overtaken
        promotions.promote(tag, card, pipe)
        wiring.pool(project.id).done(up_to, pipe)
        desk.withdraw(pipe)
        desk.set_stage(pipe, promoted_at=card.at, attempted=up_to)

    lease.transaction(switch, promotions.tag_key)
    wiring.committees.release(project.id, tag)
    note(desk, labeled)
    show_tag(wiring, project, tag)
    _tidy(wiring, project.id)
    logger.info("project %d: %s is served now", project.id, tag)
    if wiring.settings.has_llm:
        wiring.queues.wake("review", project.id)


def _drop(wiring: Wiring, project_id: int, card: Card, lease: Lease) -> None:
    """Record that a candidate is not served; what it learned waits for the next stage."""
    promotions = wiring.promotions(project_id)
    reason = (
        f"Not promoted: {promotions.served()} is served since, and it goes on from {card.parent}. "
        "Its verdicts wait for the next stage."
    )
    dropped = replace(card, decision="refused", reason=reason)
    wiring.store.save_card(dropped)

    def write(pipe: Any) -> None:
        promotions.refuse(dropped, pipe)
        wiring.projects.desk(project_id).withdraw(pipe)

    lease.transaction(write)
    wiring.journal.error("promotion", f"{card.tag}: {reason}", project_id)


def _under_labels_of_now(
    wiring: Wiring, project: Project, card: Card, candidate: dict[str, Any], lease: Lease
) -> Card:
    """The candidate's card; when labels changed while it was made, of its members under those."""
    served = wiring.promotions(project.id).served()
    if served == card.parent or not _only_labels_changed(wiring, project.id, card.parent):
        return card
    manifest = wiring.committees.manifest(card.tag)
    now = wiring.committees.under(manifest, parse(project.label_config))
    tag = wiring.store.save_committee(replace(now, parent=served))
    reason = f"{card.reason} The label config changed meanwhile."
    moved = replace(card, tag=tag, parent=served, reason=reason)
    again = {**candidate, "tag": tag, "card": asdict(moved)}
    lease.transaction(lambda pipe: wiring.projects.desk(project.id).propose(again, pipe))
    return moved


def _only_labels_changed(wiring: Wiring, project_id: int, parent: str | None) -> bool:
    """Whether the served tag came from `parent` by changes of the label config alone."""
    promotions = wiring.promotions(project_id)
    before = {c.tag: c.parent for c in promotions.history() if c.decision == "initial"}
    tag = promotions.served()
    while tag and tag != parent:
        tag = before.get(tag)
    return tag is not None and tag == parent


def _counted(wiring: Wiring, project: Project, card: Card, labeled: Sequence[Labeled]) -> Card:
    """The card with what is known at the promotion only."""
    from meta_controller.ledger import Ledger

    spend = Ledger(wiring.redis, project.id).spend()
    hard = sum(bool(one.hard) for one in labeled) / len(labeled) if labeled else None
    return replace(card, hard_share=hard, llm_usd=spend.usd, llm_calls=spend.calls)


def _learn_rule(wiring: Wiring, project: Project, tag: str, lease: Lease) -> None:
    """Let the rule learn how far to trust the candidate's members, from the verdicts so far."""
    for control in parse(project.label_config):
        observe_verdicts(wiring, project.id, control.name, tag)
    refit_tag(wiring, project, tag, lease)


def _tidy(wiring: Wiring, project_id: int) -> None:
    """Remove checkpoints that no kept tag needs; a store that cannot be read is left alone."""
    try:
        kept = {
            one: wiring.promotions(one).kept(wiring.settings.keep_tags)
            for one in (project_id, *wiring.projects.ids())
        }
        wiring.store.prune(project_id, kept[project_id])
        wiring.store.sweep(older_than_s=_ASIDE_S)
        needed: set[str] = set()
        for tag in chain.from_iterable(kept.values()):
            with suppress(CheckpointDamaged):  # another project's must not keep everything here
                needed |= wiring.committees.manifest(tag).checkpoints
        wiring.models.sweep(_UNUSED_S, needed, _SPARE_S)
    except TrainingError as error:
        wiring.journal.error("model store", str(error), project_id)


def show_tag(wiring: Wiring, project: Project, tag: str) -> bool:
    """Let annotators see the predictions of `tag`, verdicts among them; whether they do.

    When Label Studio does not answer, the reconcile job does it later.
    """
    if not (wiring.has_label_studio and project.push):
        return False
    shown = True
    try:
        wiring.label_studio.update_project(project.id, model_version=tag)
        wiring.projects.update(project.id, shown=tag)
    except LabelStudioError as error:
        shown = False
        wiring.journal.error(
            "promotion", f"{tag} is served, but not shown yet: {error}", project.id
        )
    # Verdicts may have arrived while the predictions of this tag were made.
    desk = wiring.projects.desk(project.id)
    verdicts = (v for v in wiring.pool(project.id).verdicts() if v.source == "llm")
    desk.want_patches({verdict.task_id for verdict in verdicts})
    return shown
