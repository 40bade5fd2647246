"""What a refit may learn from: the verdicts on one control, and the evidence on their texts.

A committee's votes on texts that it was trained on are no evidence of its skill, so of a trained
tag only held-out texts count, and verdicts later than its training; the others teach the live
member only. Audits are left out: what they measure must not have been learned.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from backend.audit import is_audit, is_llm_audit
from backend.evidence_store import Row, text_hash
from backend.jobs.stored import Stored, unpack
from backend.label_config import parse
from backend.wiring import Wiring
from specialists.chances import first_probabilities
from specialists.registry import SIMILARITY
from specialists.types import Verdict
from training.card import Card
from training.consensus import panels, resolve
from training.refit import Known
from training.reliability import Answers
from training.slice import HeldOut

MOST = 5000
"""Texts with verdicts that a new committee is shown before it is judged and served."""


def asked_key(project_id: int) -> str:
    """Hash: task:control -> hash (hex) of the text that the LLM was asked about, answer or not."""
    return f"aa:project:{project_id}:asked"


@dataclass(frozen=True, eq=False)
class Facts:
    """Rows of honest evidence with what is known of them, and the LLM's verdicts by task.

    `trained` is the same of texts that the committee has learned; `members` voted on all of them.
    """

    rows: Sequence[Row] = field(repr=False)
    known: Known = field(repr=False)
    trained: Known = field(repr=False)
    verdicts: Mapping[int, Verdict] = field(repr=False)
    members: tuple[str, ...]

    @property
    def taught(self) -> bool:
        """Whether any member was taught the labels; similarity only knows what they are called."""
        return any(name != SIMILARITY for name in self.members)


def observe_verdicts(wiring: Wiring, project_id: int, control: str, tag: str) -> list[Row]:
    """Let a tag's committee see the texts that verdicts are about, and keep what it says.

    The newest ones, where there are more than MOST. Raises as `Labeler.observe` does.
    """
    verdicts = [v for v in wiring.pool(project_id).effective().values() if v.control == control]
    newest = sorted(verdicts, key=lambda verdict: verdict.at)[-MOST:]
    # In the order of the store: equal verdicts teach equal rules.
    texts = {v.task_id: v.text for v in sorted(newest, key=lambda verdict: verdict.task_id)}
    return wiring.labeler.observe(project_id, control, tag, texts)


def facts(
    stored: Stored, verdicts: Iterable[Verdict], since: float, rows: Iterable[Row] | None = None
) -> Facts | None:
    """Join verdicts with the evidence on their texts; None when no evidence is at hand.

    The committee was trained at `since`, 0.0 for never; `rows` are taken instead of what is stored.
    """
    wiring, project_id, name = stored.wiring, stored.project_id, stored.control.name
    share = wiring.settings.audit_share
    mine = [v for v in verdicts if v.control == name]
    measured = measuring(project_id, mine, share)
    here = [v for v in mine if v.task_id not in measured]
    llm = {v.task_id: v for v in here if v.source == "llm"}
    people = people_said(here, name)
    asked = _asked(wiring, project_id, name)
    held_out = wiring.slice(project_id).held_out()
    wanted = {*llm, *people, *asked}
    found: list[Row] = []
    honest: list[bool] = []
    for row in stored.rows(wanted) if rows is None else rows:
        # What was said of another text than the one that was observed is no answer to it.
        for said_of in (llm, people):
            if row.task_id in said_of and text_hash(said_of[row.task_id].text) != row.text_hash:
                del said_of[row.task_id]
        if asked.get(row.task_id) != row.text_hash and row.task_id not in llm:
            asked.pop(row.task_id, None)
        said = [v for v in (llm.get(row.task_id), people.get(row.task_id)) if v]
        if said or row.task_id in asked:
            found.append(row)
            honest.append(all(is_honest(verdict, since, held_out) for verdict in said))
    if not found:
        return None
    answers = Answers(
        llm=_indices(stored, found, llm),
        human=_indices(stored, found, people),
        asked=np.array([row.task_id in llm or row.task_id in asked for row in found]),
        confidence=np.array([_confidence(llm.get(row.task_id)) for row in found]),
        agreed=np.array([_agreed(people.get(row.task_id)) for row in found]),
    )
    evidence, own = unpack(found), np.array(honest)
    known, trained = (Known(evidence.rows(which), answers.rows(which)) for which in (own, ~own))
    own_rows = [row for row, is_own in zip(found, own, strict=True) if is_own]
    return Facts(own_rows, known, trained, llm, found[0].members)


def measuring(project_id: int, verdicts: Iterable[Verdict], share: float) -> set[int]:
    """The tasks whose verdicts measure and are not to be learned: audits, and what the LLM audits.

    What it has not answered, and nobody else asked it about, is learned from people.
    """
    return {
        v.task_id
        for v in verdicts
        if is_audit(project_id, v.task_id, share)
        or (v.source == "llm" and is_llm_audit(project_id, v.task_id, share))
    }


def parent_of(wiring: Wiring, project_id: int, tag: str) -> str | None:
    """The tag that a tag's stage began with; None for a first committee."""
    return next((card.parent for card in _cards(wiring, project_id, tag)), None)


def said_by_llm(verdict: Verdict) -> tuple[str, ...]:
    """What the LLM said; verdicts stored before answers were kept show it as it was."""
    return verdict.answer or verdict.labels


def people_said(verdicts: Iterable[Verdict], control: str) -> dict[int, Verdict]:
    """What people answered under one control, by task: what they say together."""
    theirs = (v for v in verdicts if v.source == "human" and v.control == control)
    return {task: verdict for (task, _), verdict in resolve(theirs).items()}


def committee_said(
    wiring: Wiring, project_id: int, control: str, tag: str, verdicts: Iterable[Verdict]
) -> dict[int, str]:
    """The label by the members' mean vote, of texts that several people answered, by task.

    Without votes on texts that the committee was trained on, and without what its rule learned from
    the same people.
    """
    project, panel = wiring.projects.get(project_id), panels(verdicts).get(control)
    mine = [one for one in parse(project.label_config) if one.name == control] if project else []
    if not mine or panel is None or mine[0].labels.multiple:
        return {}
    since, held_out = trained_at(wiring, project_id, tag), wiring.slice(project_id).held_out()
    texts = {
        task: same[-1].text
        for task, same in panel.given.items()
        if len(same) > 1 and all(is_honest(verdict, since, held_out) for verdict in same)
    }
    rows = Stored(wiring, project_id, mine[0], tag).rows_of(texts)
    if not rows:
        return {}
    votes = first_probabilities(unpack(rows)).argmax(axis=1)
    return {row.task_id: mine[0].labels.names[i] for row, i in zip(rows, votes, strict=True)}


def _asked(wiring: Wiring, project_id: int, control: str) -> dict[int, bytes]:
    """The texts of this control that the LLM was asked about, as hashes by task."""
    found = {}
    for member, digest in wiring.redis.hgetall(asked_key(project_id)).items():
        task, name = str(member).split(":", 1)
        if name == control:
            found[int(task)] = bytes.fromhex(str(digest))
    return found


def is_honest(verdict: Verdict, trained_at: float, held_out: HeldOut) -> bool:
    """Whether the committee cannot have been trained on this verdict."""
    return verdict.at > trained_at or held_out.holds(verdict.control, verdict.text)


def trained_at(wiring: Wiring, project_id: int, tag: str) -> float:
    """When the committee of a tag was trained last (epoch seconds), 0.0 for never.

    Changed labels train nobody: what counts then is the tag before.
    """
    cards = [card for card in _cards(wiring, project_id, tag) if card.stage]
    if cards and cards[-1].decision == "initial" and cards[-1].parent:
        return trained_at(wiring, project_id, cards[-1].parent)
    return min((card.at for card in cards), default=0.0)


def _cards(wiring: Wiring, project_id: int, tag: str) -> list[Card]:
    """The cards with which a tag came to be; those of rollbacks to it are left out."""
    cards = wiring.promotions(project_id).history()
    candidate = wiring.projects.desk(project_id).candidate()
    if candidate:
        cards.append(Card(**candidate["card"]))
    return [card for card in cards if card.tag == tag and card.decision != "rollback"]


def _confidence(verdict: Verdict | None) -> float:
    return math.nan if verdict is None or verdict.confidence is None else verdict.confidence


def _agreed(verdict: Verdict | None) -> float:
    return 1.0 if verdict is None or verdict.chance is None else verdict.chance


def _indices(
    stored: Stored, rows: Sequence[Row], verdicts: Mapping[int, Verdict]
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Label indices (rows,) of verdicts, -1 without one or with a label that is none any more."""
    names = stored.control.labels.names
    found = np.full(len(rows), -1)
    for i, row in enumerate(rows):
        verdict = verdicts.get(row.task_id)
        said = verdict and (said_by_llm(verdict) if verdict.source == "llm" else verdict.labels)
        if said and len(said) == 1 and said[0] in names:
            found[i] = names.index(said[0])
    return found
