"""From tasks to predictions: texts out, the rule's decisions, regions in, hard samples noted.

Used by the web process for `/predict` and by the push worker for whole projects, so that both give
the same answer. What a committee says of a text is stored and used again, so that a text costs one
pass however often its task is opened. Annotations that come along with a task are never read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import redis

from backend import predictions
from backend.audit import is_audit
from backend.committees import Committees
from backend.evidence_store import EvidenceStore, Row, Shown, text_hash
from backend.ids import is_id
from backend.label_config import Control, text_of
from backend.predictions import Part
from backend.projects import Desk, HardSample
from backend.rules import Rules
from backend.votes import Votes
from specialists.evidence import Evidence, has_frozen, whole
from specialists.types import Decision, Verdict
from training.pool import Place, Pool

if TYPE_CHECKING:
    from specialists.committee import Committee

_Text = tuple[int | None, str]  # the id of a task, if it has one, and its text
_NO_TEXT = Decision(labels=(), confidence=0.0, hard=False, reason="no usable text")


@dataclass(frozen=True)
class Labeled:
    """One task's prediction, and which of its samples need a review or do not any more.

    `votes` is how many its members gave.
    """

    task_id: int | None
    prediction: dict[str, Any] = field(repr=False)
    hard: tuple[HardSample, ...] = ()
    settled: tuple[str, ...] = ()
    votes: int = 0


@dataclass(frozen=True)
class _Task:
    """What labeling needs of a task: its id, its text a control, and how people see it."""

    id: int | None
    texts: Mapping[str, str | None] = field(repr=False)
    audited: bool
    annotated: bool


class Labeler:
    """Labels tasks with a project's committee and the verdicts that are known."""

    def __init__(
        self,
        committees: Committees,
        pool: Callable[[int], Pool],
        rules: Rules,
        evidence: EvidenceStore,
        votes: Votes,
        places: Callable[[int, str], Mapping[int, float]],
        audit_share: float,
    ) -> None:
        """`places` gives the places of a project's tasks at the head of a tag's queue."""
        self._committees = committees
        self._pool = pool
        self._rules = rules
        self._evidence = evidence
        self._audit_share = audit_share
        self._votes = votes
        self._places = places

    def label(
        self,
        project_id: int,
        controls: Sequence[Control],
        tag: str,
        tasks: Sequence[Mapping[str, Any]],
        timeout_s: float | None = None,
    ) -> list[Labeled]:
        """Exactly one result a task, in order; a task without usable text gets an empty one.

        Without `timeout_s` it takes as long as it takes, after requests that have one.

        Raises:
            CheckpointDamaged: The tag's committee cannot be loaded.
            BatcherError: Too much waits already, or the time was up.
        """
        read = [self._read(project_id, controls, task) for task in tasks]
        verdicts, places = self._remembered(project_id, tag, controls, read)
        parts: list[list[Part]] = [[] for _ in read]
        for control in controls:
            shown = {}
            decisions = self._decide(project_id, tag, control, read, timeout_s)
            for task, decision, own in zip(read, decisions, parts, strict=True):
                own.append(Part(control, decision, _current(verdicts, task, control)))
                if task.id is not None:
                    shown[task.id] = shown_of(own[-1], audited=task.audited)
            self._evidence.show(project_id, control.name, tag, shown)
        return [
            _labeled(task, tag, own, None if task.id is None else places.get(task.id))
            for task, own in zip(read, parts, strict=True)
        ]

    def observe(
        self, project_id: int, control: str, tag: str, texts: Mapping[int, str]
    ) -> list[Row]:
        """Store what the committee of a tag says of tasks' texts, without deciding anything.

        Returns a row a task.

        Raises:
            CheckpointDamaged: The tag's committee cannot be loaded.
        """
        committee = self._committees.committee(tag, control)
        seen = self._observed(project_id, tag, control, committee, list(texts.items()), None)
        return [
            Row(task_id, text_hash(text), committee.names, seen[text])
            for task_id, text in texts.items()
        ]

    def _read(self, project_id: int, controls: Sequence[Control], task: Mapping[str, Any]) -> _Task:
        task_id = task["id"] if is_id(task.get("id")) else None
        data = task.get("data")
        return _Task(
            task_id,
            {c.name: text_of(c, data) if isinstance(data, Mapping) else None for c in controls},
            audited=task_id is not None and is_audit(project_id, task_id, self._audit_share),
            annotated=bool(task.get("total_annotations")),
        )

    def _decide(
        self,
        project_id: int,
        tag: str,
        control: Control,
        tasks: Sequence[_Task],
        timeout_s: float | None,
    ) -> list[Decision]:
        texts = [(task.id, task.texts[control.name]) for task in tasks]
        usable = [(task_id, text) for task_id, text in texts if text]
        if not usable:
            return [_NO_TEXT] * len(tasks)
        committee = self._committees.committee(tag, control.name)
        names, labels = committee.names, committee.labels
        seen = self._observed(project_id, tag, control.name, committee, usable, timeout_s)
        rule = self._rules.rule(project_id, control.name, tag, labels, len(names))
        decisions = rule.decide(Evidence.unpack(list(seen.values())), names, labels)
        answers = dict(zip(seen, decisions, strict=True))
        return [answers[text] if text else _NO_TEXT for _, text in texts]

    def _observed(
        self,
        project_id: int,
        tag: str,
        control: str,
        committee: Committee,
        texts: Sequence[_Text],
        timeout_s: float | None,
    ) -> dict[str, bytes]:
        """Packed evidence by text: what is stored, and for others what the committee says now."""
        stored = self._stored(project_id, tag, control, committee, texts)
        seen = {text: stored[task_id, text] for task_id, text in texts if (task_id, text) in stored}
        missing = list(dict.fromkeys(text for _, text in texts if text not in seen))
        seen |= self._votes.of((tag, control), committee, missing, timeout_s)
        rows = [
            Row(task_id, text_hash(text), committee.names, seen[text])
            for task_id, text in texts
            if task_id is not None and (task_id, text) not in stored
        ]
        self._evidence.put(project_id, control, tag, rows)
        return seen

    def _stored(
        self, project_id: int, tag: str, control: str, committee: Committee, texts: Sequence[_Text]
    ) -> dict[_Text, bytes]:
        """Packed evidence that is stored of these texts, by the same members, and whole."""
        ids = [task_id for task_id, _ in texts if task_id is not None]
        rows = {row.task_id: row for row in self._evidence.read(project_id, control, tag, ids)}
        found: dict[_Text, bytes] = {}
        for task_id, text in texts:
            row = None if task_id is None else rows.get(task_id)
            if row and row.members == committee.names and row.text_hash == text_hash(text):
                # What was stored before the frozen view was asked is asked again.
                if whole(row.evidence) and has_frozen(row.evidence) >= committee.sees:
                    found[task_id, text] = row.evidence
        return found

    def _remembered(
        self, project_id: int, tag: str, controls: Sequence[Control], tasks: Iterable[_Task]
    ) -> tuple[dict[Place, Verdict], Mapping[int, float]]:
        """The LLM's verdicts on these tasks, and places in the queue.

        None of either while Redis is gone: votes are better than a 500.

        People's answers are left out on purpose: they must not leak into a prediction that the
        next annotator of the same task sees.
        """
        places = [(task.id, c.name) for task in tasks if task.id is not None for c in controls]
        try:
            return self._pool(project_id).llm_verdicts(places), self._places(project_id, tag)
        except redis.RedisError:
            return {}, {}


def note(desk: Desk, labeled: Sequence[Labeled]) -> None:
    """Put the hard samples of labeled tasks up for review and take the settled ones off."""
    desk.note(
        [sample for one in labeled for sample in one.hard],
        [member for one in labeled for member in one.settled],
        sum(one.votes for one in labeled),
    )


def shown_of(part: Part, *, audited: bool) -> Shown:
    """What Label Studio shows for one control of a task."""
    if audited:
        return Shown((), 0.0, hard=False)
    return Shown(part.labels, part.score, hard=part.verdict is None and part.decision.hard)


def _current(verdicts: Mapping[Place, Verdict], task: _Task, control: Control) -> Verdict | None:
    """The verdict on a task, unless its text was edited since."""
    verdict = None if task.id is None else verdicts.get((task.id, control.name))
    return verdict if verdict and verdict.text == task.texts[control.name] else None


def _labeled(task: _Task, tag: str, parts: Sequence[Part], place: float | None) -> Labeled:
    """An audit shows nothing, and needs no review: a person answers it."""
    prediction = (
        predictions.unaided(tag) if task.audited else predictions.prediction(tag, parts, place)
    )
    hard, settled = [], []
    for part in parts:
        text = task.texts[part.control.name]
        if task.id is None or text is None:
            continue
        sample = _sample(task.id, text, tag, part)
        open_question = part.decision.hard and part.verdict is None
        if open_question and not task.annotated and not task.audited:
            hard.append(sample)
        else:
            settled.append(sample.member)
    votes = sum(len(part.decision.votes) for part in parts)
    return Labeled(task.id, prediction, tuple(hard), tuple(settled), votes)


def _sample(task_id: int, text: str, tag: str, part: Part) -> HardSample:
    name, said = part.control.name, part.decision
    return HardSample(
        task_id, name, text, said.labels, said.confidence, said.reason, tag, gain=said.gain
    )
