"""Relabelling: after a refit all open tasks of a control are decided again, from stored evidence.

What changed is put on the lists: hard samples for the LLM or for people, and predictions to patch.
Tasks that people annotated and audits are only counted. Safe to repeat.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from backend.audit import is_audit, is_llm_audit
from backend.evidence_store import Row, Shown, text_hash
from backend.jobs.known import people_said, said_by_llm
from backend.jobs.stored import Stored
from backend.labeling import shown_of
from backend.lease import Lease
from backend.predictions import Part, overrides_unanimous, overruled
from backend.projects import HardSample
from specialists.types import Decision, Verdict
from specialists.value_rule import MIN_GAIN

NOT_WORTH = "asking the LLM is not worth a call"
NO_TEXT = "its text is in Label Studio, which is not configured"
_PASSING = (NOT_WORTH, NO_TEXT)  # reasons that are looked at anew each time
_SCORE_STEP = 0.05  # a smaller change of a score alone is not worth a patch
_EXAMPLES = 5


@dataclass
class Tally:
    """What a relabelling counted; a decision that is not hard is accepted.

    `sureness` is the sum of the accepted ones' confidences p, `spread` of p (1 - p). `audits` and
    `audits_right` count the accepted audits that people answered, `pairs` has those that the LLM
    was asked about too, `llm` (right, asked) counts the accepted ones of the LLM alone. The lists
    are a few task ids, to look at.
    """

    control: str
    tasks: int = 0
    accepted: int = 0
    sureness: float = 0.0
    spread: float = 0.0
    audits: int = 0
    audits_right: int = 0
    pairs: list[tuple[bool, bool]] = field(default_factory=list)
    llm: tuple[int, int] = (0, 0)
    llm_overrode: list[int] = field(default_factory=list)
    llm_overridden: list[int] = field(default_factory=list)

    def count(self, decision: Decision) -> None:
        """Count one decision."""
        self.tasks += 1
        if not decision.hard:
            self.accepted += 1
            self.sureness += decision.confidence
            self.spread += decision.confidence * (1.0 - decision.confidence)

    def audit(self, decision: Decision, answer: Verdict | None, llm: Verdict | None) -> None:
        """Count an audit's answers when our label would have been accepted."""
        if answer and not decision.hard:
            right = answer.labels == decision.labels
            self.audits += 1
            self.audits_right += right
            if llm:
                self.pairs.append((right, said_by_llm(llm) == decision.labels))

    def llm_audit(self, decision: Decision, verdict: Verdict | None) -> None:
        """Count what the LLM says of a label that would have been accepted."""
        if verdict and not decision.hard:
            right, asked = self.llm
            self.llm = right + (said_by_llm(verdict) == decision.labels), asked + 1

    def compare(self, verdict: Verdict, decision: Decision) -> None:
        """Keep a few verdicts where the LLM and the committee differed, by who prevailed."""
        if overruled(verdict):
            self.llm_overridden = [*self.llm_overridden, verdict.task_id][:_EXAMPLES]
        elif overrides_unanimous(verdict, decision):
            self.llm_overrode = [*self.llm_overrode, verdict.task_id][:_EXAMPLES]


def relabel(stored: Stored, verdicts: Iterable[Verdict], lease: Lease) -> Tally:
    """Decide all stored tasks of a control again; `verdicts` are the project's, as revised."""
    work = _Relabel(stored, list(verdicts))
    for rows in stored.chunks():
        changes = work.changes(rows)
        lease.transaction(changes.write)
    return work.tally


@dataclass
class _Changes:
    """What one chunk of tasks changes on the lists."""

    stored: Stored
    to_review: list[HardSample] = field(default_factory=list)
    to_people: list[HardSample] = field(default_factory=list)
    settled: list[str] = field(default_factory=list)
    to_patch: list[int] = field(default_factory=list)

    def write(self, pipe: Any) -> None:
        """Queue it on a pipeline."""
        desk = self.stored.wiring.projects.desk(self.stored.project_id)
        desk.settle_hard(self.settled, pipe)
        desk.add_hard(self.to_review, pipe)
        desk.leave_to_people(self.to_people, pipe)
        desk.want_patches(self.to_patch, pipe)


class _Relabel:
    """The state of one relabelling."""

    def __init__(self, stored: Stored, verdicts: Sequence[Verdict]) -> None:
        self._stored = stored
        name, wiring = stored.control.name, stored.wiring
        self._learns = stored.learns  # once: it is read from Redis, and tasks are many
        self.tally = Tally(name)
        self._llm = {v.task_id: v for v in verdicts if v.source == "llm" and v.control == name}
        self._annotated = {v.task_id for v in verdicts if v.source == "human"}
        self._answers = people_said(verdicts, name)
        hard = wiring.projects.desk(stored.project_id).hard()
        self._hard: Mapping[int, HardSample] = {s.task_id: s for s in hard if s.control == name}

    def changes(self, rows: Sequence[Row]) -> _Changes:
        """Decide a chunk; what differs from what was known."""
        changes = _Changes(self._stored)
        share = self._stored.wiring.settings.audit_share
        for row, decision in zip(rows, self._stored.decisions(rows), strict=True):
            self.tally.count(decision)
            if is_audit(self._stored.project_id, row.task_id, share):
                answer = self._answers.get(row.task_id)
                same = answer and text_hash(answer.text) == row.text_hash
                self.tally.audit(decision, answer if same else None, self._verdict(row))
                continue
            verdict = self._verdict(row)
            if is_llm_audit(self._stored.project_id, row.task_id, share):
                self.tally.llm_audit(decision, verdict)
            if verdict:
                self.tally.compare(verdict, decision)
            if row.task_id in self._annotated:
                continue
            part = Part(self._stored.control, decision, verdict)
            if _differs(row.shown, shown_of(part, audited=False)):
                changes.to_patch.append(row.task_id)
            self._sort(row.task_id, part, changes)
        return changes

    def _verdict(self, row: Row) -> Verdict | None:
        """The LLM's verdict on the text that was observed."""
        verdict = self._llm.get(row.task_id)
        return verdict if verdict and text_hash(verdict.text) == row.text_hash else None

    def _sort(self, task_id: int, part: Part, changes: _Changes) -> None:
        """Say who has to look at a task now: nobody, the LLM or people."""
        before, decision = self._hard.get(task_id), part.decision
        sample = HardSample(
            task_id,
            part.control.name,
            before.text if before else "",  # read from Label Studio when it is asked about
            decision.labels,
            decision.confidence,
            decision.reason,
            self._stored.tag,
            error=before.error if before and before.error not in _PASSING else "",
            gain=decision.gain,
        )
        if part.verdict or not decision.hard:
            if before:
                changes.settled.append(sample.member)
        elif error := sample.error or self._not_asked(sample):
            left = replace(sample, error=error)
            if left != before:
                changes.to_people.append(left)
        else:
            changes.to_review.append(sample)

    def _not_asked(self, sample: HardSample) -> str:
        """Why the LLM is not asked about a sample at the moment; empty where it is."""
        if self._learns and sample.gain < MIN_GAIN:
            return NOT_WORTH
        without = not sample.text and not self._stored.wiring.has_label_studio
        return NO_TEXT if without else ""


def _differs(shown: Shown | None, now: Shown) -> bool:
    """Whether Label Studio should show something else."""
    if shown is None:
        return True
    same = shown.labels == now.labels and shown.hard == now.hard
    return not same or abs(shown.score - now.score) >= _SCORE_STEP
