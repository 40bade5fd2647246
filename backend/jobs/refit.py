"""The refit: what the rule learns from verdicts, for the tag that is served or for a candidate.

Runs inside the review job (a candidate's inside the push job) under that job's lease, with numpy
and scipy only. Killed at any line it is simply done again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np

from backend import report
from backend.audit import is_audit
from backend.evidence_store import text_hash
from backend.jobs.known import facts, parent_of, people_said, said_by_llm, trained_at
from backend.jobs.learned import Learned, learn
from backend.jobs.queue_order import arrange
from backend.jobs.relabel import Tally, relabel
from backend.jobs.scales import scales
from backend.jobs.stored import Stored, unpack
from backend.label_config import parse
from backend.lease import Lease
from backend.projects import Project
from backend.wiring import Wiring
from specialists.rule_state import RuleState
from specialists.types import Verdict
from specialists.value_rule import ValueRule
from training.promise import Promise, certify
from training.reliability import CHECKED

LEAST_NEW = 8
NEW_SHARE = 0.15
"""So many verdicts more, and that share of those before, are worth a refit."""

_TRUST = {
    "committee": "the LLM is not asked any more, and its verdicts leave the training pool",
    "llm": "the committee abstains where it is less sure than the LLM is right",
    "both": "both are believed by their measured reliability again",
    "unproven": "the LLM has to prove itself again",
}


def refit_key(project_id: int) -> str:
    """Hash of the last refits: tag -> stored verdicts then, `target` -> TARGET_ERROR then.

    `rule` -> the rule by which all tasks were decided; `connect` writes it first.
    """
    return f"aa:project:{project_id}:refit"


def room(wiring: Wiring, project_id: int) -> int:
    """How many more verdicts make a refit of the served tag due; 0 when it is."""
    tag = wiring.promotions(project_id).served()
    if tag is None:
        return LEAST_NEW
    last, target, rule = wiring.redis.hmget(refit_key(project_id), [tag, "target", "rule"])
    before = int(last or 0)
    if rule and rule != wiring.rules.chosen(project_id):
        return 0
    if before and target != str(wiring.settings_of(project_id).target_error):
        return 0
    changed = abs(wiring.pool(project_id).size() - before)
    return max(0, needed(before) - changed)


def needed(verdicts: int) -> int:
    """How many verdicts after a refit from so many make the next one due."""
    return math.ceil(max(LEAST_NEW, NEW_SHARE * verdicts))


def is_due(wiring: Wiring, project_id: int) -> bool:
    """Whether the verdicts changed enough since the last refit, or TARGET_ERROR or the rule did."""
    return room(wiring, project_id) == 0


def is_stale(wiring: Wiring, project_id: int) -> bool:
    """Whether there is any verdict that the served tag's last refit did not see."""
    tag = wiring.promotions(project_id).served()
    last = wiring.redis.hget(refit_key(project_id), tag) if tag else None
    return wiring.pool(project_id).size() != int(last or 0)


def refit_project(wiring: Wiring, project: Project, lease: Lease) -> bool:
    """Refit the served tag, revise the fused verdicts and decide all open tasks again.

    Returns whether anything could be learned.
    """
    tag = wiring.promotions(project.id).served()
    if tag is None:
        return False
    pool, key = wiring.pool(project.id), refit_key(project.id)
    size, rule = pool.size(), wiring.rules.chosen(project.id)
    changed = wiring.redis.hget(key, "rule") not in (None, rule)
    learned, scaled = _learn(wiring, project, tag), _scale(wiring, project, tag)
    states = [*((one.stored, one.state) for one in learned), *scaled]

    def save(pipe: Any) -> None:
        for stored, state in states:
            wiring.rules.save(project.id, stored.control.name, tag, state, pipe)
        pool.revise(chain.from_iterable(one.revised() for one in learned), pipe)

    lease.transaction(save)
    revised = pool.verdicts()
    for one in learned:
        _tell_trust(one)
        _report(one, relabel(one.stored, revised, lease))
    for stored, _ in scaled:
        relabel(stored, revised, lease)
    if project.active_learning:
        arrange(wiring, project, tag, revised, needed(size), lease)
    if changed:
        done = {stored.control.name for stored, _ in states}
        for control in parse(project.label_config):
            if control.name not in done:
                _start_anew(Stored(wiring, project.id, control, tag), lease)
    target = wiring.settings_of(project.id).target_error
    now: dict[Any, Any] = {tag: size, "target": str(target), "rule": rule}
    lease.transaction(lambda pipe: pipe.hset(key, mapping=now))
    return bool(states)


def _start_anew(stored: Stored, lease: Lease) -> None:
    """Decide a control by a rule that learned nothing: the LLM's answers count as they are."""
    pool, name = stored.wiring.pool(stored.project_id), stored.control.name
    plain = [
        replace(v, labels=said_by_llm(v), answer=said_by_llm(v), chance=None)
        for v in pool.verdicts()
        if v.source == "llm" and v.control == name
    ]

    def write(pipe: Any) -> None:
        pool.revise(plain, pipe)
        report.forget(stored.wiring, stored.project_id, name, pipe)

    lease.transaction(write)
    relabel(stored, pool.verdicts(), lease)


def refit_tag(wiring: Wiring, project: Project, tag: str, lease: Lease) -> bool:
    """Learn the rule of a tag that is not served yet; nothing else changes.

    The tag's evidence of the tasks with verdicts must be stored. Returns whether any was usable.
    """
    found = [(one.stored, one.state) for one in _learn(wiring, project, tag)]
    found += _scale(wiring, project, tag)

    def save(pipe: Any) -> None:
        for stored, state in found:
            wiring.rules.save(project.id, stored.control.name, tag, state, pipe)

    lease.transaction(save)
    return bool(found)


def _learn(wiring: Wiring, project: Project, tag: str) -> list[Learned]:
    """A refit of each control that learns and of which something is known."""
    verdicts = wiring.pool(project.id).verdicts()
    learned = []
    since, parent = trained_at(wiring, project.id, tag), parent_of(wiring, project.id, tag)
    for control in parse(project.label_config):
        stored = Stored(wiring, project.id, control, tag)
        known = facts(stored, verdicts, since) if stored.learns else None
        if known:
            one = learn(stored, known, since, parent)
            learned.append(replace(one, promise=_promise(one, verdicts)))
    return learned


def _scale(wiring: Wiring, project: Project, tag: str) -> list[tuple[Stored, RuleState]]:
    """The thresholds of each control of multiple choice of which enough is known."""
    if wiring.rules.chosen(project.id) == "paper":
        return []
    verdicts, since = wiring.pool(project.id).verdicts(), trained_at(wiring, project.id, tag)
    multiple = (one for one in parse(project.label_config) if one.labels.multiple)
    every = [Stored(wiring, project.id, control, tag) for control in multiple]
    found = [(stored, scales(stored, verdicts, since)) for stored in every]
    return [(stored, state) for stored, state in found if state]


def _promise(one: Learned, verdicts: Sequence[Verdict]) -> Promise | None:
    """What can be promised about accepted labels at TARGET_ERROR; None when it is not set."""
    stored, wiring = one.stored, one.stored.wiring
    target = wiring.settings_of(stored.project_id).target_error
    if target is None:
        return None
    name, names = stored.control.name, stored.control.labels.names
    share = wiring.settings.audit_share
    answers = people_said(verdicts, name)
    rule = ValueRule(one.refit.state)
    population: list[float] = []
    audited: list[tuple[float, bool]] = []
    for rows in stored.chunks():
        chances = rule.probabilities(unpack(rows))
        sure = np.minimum(chances.max(axis=1), 1.0)
        population += sure.tolist()
        for row, label, confidence in zip(rows, chances.argmax(axis=1), sure, strict=True):
            answer = answers.get(row.task_id)
            same = answer and text_hash(answer.text) == row.text_hash
            if answer and same and is_audit(stored.project_id, row.task_id, share):
                audited.append((float(confidence), answer.labels == (names[int(label)],)))
    return certify(population, [c for c, _ in audited], [r for _, r in audited], target)


def _tell_trust(one: Learned) -> None:
    """Say in the journal whom people's answers show to be right, when that changed."""
    usual = ("both", "unproven")
    before = one.before.trust if one.before else "both"
    now = one.refit.state.trust
    if now == before or (now in usual and before in usual):
        return
    n, committee, llm = one.refit.compared
    said = (
        f"of {n} texts that people answered too the committee has {committee} right, the LLM {llm}"
    )
    if now == "committee" and committee <= llm:
        asked = int(one.facts.known.answers.asked.sum())
        said = f"after {asked} calls the LLM's answers have nothing to do with the members' votes"
    name, journal = one.stored.control.name, one.stored.wiring.journal
    told = f"{name}: {said}: {_TRUST[now]}."
    if now == "committee" and n < CHECKED:
        told += f" To let people decide instead, answer {CHECKED} tasks that it was asked about."
    journal.error("trust", told, one.stored.project_id)


def _report(one: Learned, tally: Tally) -> None:
    """Write down what is known of a control now."""
    state = one.state
    audits = tally.audits, tally.audits_right
    report.write(
        one.stored.wiring,
        one.stored.project_id,
        {
            "control": tally.control,
            "tag": one.stored.tag,
            "tasks": tally.tasks,
            "accepted": tally.accepted,
            "estimate": report.estimate(
                audits,
                one.people(),
                tally.accepted,
                tally.sureness,
                tally.spread,
                tally.pairs,
                tally.llm,
            ),
            "promise": one.promise.sentence() if one.promise else "",
            "target": one.stored.wiring.settings_of(one.stored.project_id).target_error,
            "trust": state.trust,
            "compared": one.refit.compared,
            "llm_accuracy": state.llm_accuracy,
            "llm_guessed": not (one.facts.taught or one.refit.compared[0]),
            "llm_checked": one.llm(),
            "verdicts": state.verdicts,
            "live": report.live(state.live),
            "llm_overrode": tally.llm_overrode,
            "llm_overridden": tally.llm_overridden,
        },
    )
