"""What to ask the LLM next: the hard samples where a call is worth most, and a few texts before.

Probes are texts that people answered already: they measure how good the LLM is. Proofs are texts
that the committee is sure of, while the LLM's answers may still be about anything. Checks are
audits (backend/audit.py): labels that the committee is sure of. Nothing is asked twice, and nothing
that people have answered, but for probes and checks.
"""

from __future__ import annotations

import random
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain, zip_longest
from typing import Any

from backend.audit import is_audit, is_llm_audit
from backend.errors import LabelStudioError
from backend.evidence_store import text_hash
from backend.jobs.backlog import on_their_way
from backend.jobs.known import asked_key, people_said
from backend.jobs.relabel import NOT_WORTH
from backend.jobs.stored import Stored, unpack
from backend.label_config import Control, parse, text_of
from backend.lease import Lease
from backend.pace import Pace
from backend.projects import AT_ONCE, HardSample, Project
from backend.wiring import Wiring
from specialists.chances import surest_of_each
from specialists.types import Verdict
from specialists.value_rule import MIN_GAIN

PROBE = "people answered this; the LLM is asked to measure it"
PROOF = "the committee is sure of this; the LLM is asked to prove itself"
CHECK = "the committee is sure of this; the LLM is asked to measure how right that is"
_SURVEYED = 1000  # texts among which the surest are looked for
_ASKED = "the LLM was asked before and gave no verdict"


class Questions:
    """The samples of one project that may be asked about, best first; read anew by `refresh`."""

    def __init__(self, wiring: Wiring, project: Project, lease: Lease) -> None:
        self._wiring = wiring
        self._project = project
        self._lease = lease
        self._desk = wiring.projects.desk(project.id)
        self._controls = {control.name: control for control in parse(project.label_config)}
        self._left: deque[HardSample] = deque()
        self.unreachable: LabelStudioError | None = None
        """Why some samples wait: their texts could not be read."""

    def refresh(self, budget_calls: float, spent: int) -> None:
        """Read what waits now; the project may ask `budget_calls` in all and has `spent` some."""
        samples, checks = self._worth_asking(), self._checks(budget_calls)
        if not samples:
            self._left = deque(checks)
            return
        proofs = self._proofs(samples, Pace(budget_calls).proofs(spent))
        proving = {one.member for one in proofs}
        others = _by_task([one for one in samples if one.member not in proving])
        asked = on_their_way(self._wiring.redis, self._project.id)
        wanted = [*self._probes(budget_calls), *proofs, *checks, *others]
        self._left = deque(one for one in wanted if one.member not in asked)

    @property
    def left(self) -> int:
        """How many there are."""
        return len(self._left)

    def take(self, count: int, most: int = 0) -> list[HardSample]:
        """The next samples, with their texts; empty when there are no more.

        As many as `count`, or up to `most` where one task alone has more.
        """
        batch: list[HardSample] = []
        while self._left and not batch:
            whole = self._whole_tasks(count, max(count, most))
            batch = self._with_texts([self._left.popleft() for _ in range(whole)])
        return batch

    def _whole_tasks(self, count: int, most: int) -> int:
        """How many of the next samples to take so that one call can ask all about a task."""
        left = self._left
        ends = [
            number
            for number in range(1, min(most, len(left)) + 1)
            if number == len(left) or left[number].task_id != left[number - 1].task_id
        ]
        return max([end for end in ends if end <= count] or ends[:1] or [most])

    def learns(self, control: str) -> bool:
        """Whether the value of a call is known for this control; else every hard one is asked."""
        labels = self._controls[control].labels
        return self._wiring.rules.name(self._project.id, labels) == "value"

    def _worth_asking(self) -> list[HardSample]:
        """The hard samples for the LLM; the others are taken off or left to people."""
        waiting = self._desk.to_review()
        done = self._wiring.pool(self._project.id).places("human")
        asked = self._asked()
        learns = {name: self.learns(name) for name in self._controls}
        worth, settled, left = [], [], []
        for one in waiting:
            if one.control not in learns or (one.task_id, one.control) in done:
                settled.append(one.member)
            elif one.text and asked.get(one.member) == text_hash(one.text).hex():
                left.append(replace(one, error=_ASKED))
            elif learns[one.control] and one.gain < MIN_GAIN:
                left.append(replace(one, error=NOT_WORTH))
            else:
                worth.append(one)
        for start in range(0, max(len(settled), len(left)), AT_ONCE):
            some = slice(start, start + AT_ONCE)
            self._lease.transaction(partial(self._put_aside, settled[some], left[some]))
        return worth

    def _put_aside(self, settled: Sequence[str], left: Sequence[HardSample], pipe: Any) -> None:
        self._desk.settle_hard(settled, pipe)
        self._desk.leave_to_people(left, pipe)

    def _asked(self) -> Mapping[str, str]:
        return {
            str(k): str(v)
            for k, v in self._wiring.redis.hgetall(asked_key(self._project.id)).items()
        }

    def _probes(self, budget_calls: float) -> list[HardSample]:
        """Texts that people answered, in random order, as many as are still to be asked."""
        pool, asked = self._wiring.pool(self._project.id), self._asked()
        answered = {place for place in pool.places("human") if self._learnable(place[0])}
        both = answered & pool.places("llm") | {p for p in answered if _member(*p) in asked}
        wanted = Pace(budget_calls).probes(len(both))
        open_places = sorted(
            (task, control)
            for task, control in answered - both
            if control in self._controls and self.learns(control)
        )
        if not wanted or not open_places:
            return []
        random.Random(self._project.id).shuffle(open_places)
        verdicts = pool.verdicts()
        found = {name: people_said(verdicts, name) for name in self._controls}
        return [
            HardSample(task, control, found[control][task].text, (), 0.0, PROBE, "")
            for task, control in open_places[:wanted]
            if task in found[control]
        ]

    def _checks(self, budget_calls: float) -> list[HardSample]:
        """Audits that the committee is sure of: people's that are answered, and the LLM's, in turn.

        In random order, so that as many as may be asked are a random sample.
        """
        tag, asked = self._wiring.promotions(self._project.id).served(), self._asked()
        if tag is None or not self._wiring.settings.audit_share:
            return []
        verdicts = self._wiring.pool(self._project.id).verdicts()
        found: list[HardSample] = []
        made = 0
        for control in self._controls.values():
            stored = Stored(self._wiring, self._project.id, control, tag)
            people, kinds = people_said(verdicts, control.name), []
            for tasks in self._audits(people):
                left = [task for task in tasks if _member(task, control.name) not in asked]
                made += len(tasks) - len(left)
                kinds.append(self._accepted(stored, left))
            for task in chain.from_iterable(zip_longest(*kinds)):
                if task is not None:
                    text = people[task].text if task in people else ""
                    found.append(HardSample(task, control.name, text, (), 0.0, CHECK, tag))
        return found[: Pace(budget_calls).checks(made)]

    def _audits(self, people: Mapping[int, Verdict]) -> tuple[list[int], list[int]]:
        """Audits that `people` answered, and tasks of the LLM that they did not."""
        project_id, share = self._project.id, self._wiring.settings.audit_share
        seen = sorted(self._wiring.evidence.task_ids(project_id))
        theirs = [task for task in seen if task in people and is_audit(project_id, task, share)]
        own = [t for t in seen if t not in people and is_llm_audit(project_id, t, share)]
        return theirs, own if self._wiring.has_label_studio else []  # where their texts are

    def _accepted(self, stored: Stored, tasks: Sequence[int]) -> list[int]:
        """Those that the committee is sure of, in random order."""
        rows = stored.rows(tasks)
        decided = zip(rows, stored.decisions(rows), strict=True)
        sure = [row.task_id for row, decision in decided if not decision.hard]
        random.Random(self._project.id).shuffle(sure)
        return sure

    def _proofs(self, samples: Sequence[HardSample], count: int) -> list[HardSample]:
        """What an unproven LLM is asked first, under each control that has hard samples."""
        tag = self._wiring.promotions(self._project.id).served()
        hard = {one.member: one for one in samples}
        found = []
        for control in self._controls.values():
            if tag is None or not any(one.control == control.name for one in samples):
                continue
            stored = Stored(self._wiring, self._project.id, control, tag)
            rows = stored.rows(self._provable(control.name, samples)) if stored.learns else []
            rule = stored.value_rule(rows)
            if rule is None or rule.state.trust != "unproven":
                continue
            for i in surest_of_each(rule.probabilities(unpack(rows)))[:count]:
                proof = HardSample(rows[i].task_id, control.name, "", (), 0.0, PROOF, tag)
                found.append(hard.get(proof.member, proof))
        return found

    def _provable(self, control: str, samples: Sequence[HardSample]) -> list[int]:
        """Tasks that nobody answered yet and whose text is at hand, no more than a few hundred."""
        known = {one.task_id for one in samples if one.control == control and one.text}
        if self._wiring.has_label_studio:
            known |= self._wiring.evidence.task_ids(self._project.id)
        pool = self._wiring.pool(self._project.id)
        closed = {task for task, _ in pool.places("human") | pool.places("llm")}
        asked = self._asked()
        open_tasks = sorted(
            task
            for task in known - closed
            if _member(task, control) not in asked and self._learnable(task)
        )
        return random.Random(self._project.id).sample(open_tasks, min(_SURVEYED, len(open_tasks)))

    def _learnable(self, task: int) -> bool:
        """Whether an answer to a task may teach: it is no audit, of people or of the LLM."""
        return not is_audit(self._project.id, task, 2 * self._wiring.settings.audit_share)

    def _with_texts(self, batch: Sequence[HardSample]) -> list[HardSample]:
        """Read the texts that a relabelling did not know; what is gone or has none is taken off."""
        missing = [one.task_id for one in batch if not one.text]
        if not missing:
            return list(batch)
        try:
            tasks = list(self._wiring.label_studio.tasks(self._project.id, missing))
        except LabelStudioError as error:
            self.unreachable = error
            self._left = deque(one for one in self._left if one.text)  # the others wait
            return [one for one in batch if one.text]
        data = {int(task["id"]): task for task in tasks}
        filled = [one if one.text else self._filled(one, data.get(one.task_id)) for one in batch]
        gone = [old.member for old, new in zip(batch, filled, strict=True) if new is None]
        if gone:
            self._lease.transaction(lambda pipe: self._desk.settle_hard(gone, pipe))
        return [one for one in filled if one]

    def _filled(self, sample: HardSample, task: Mapping[str, Any] | None) -> HardSample | None:
        """The sample with its text; None when nothing is to be asked about it any more."""
        if task is None or task.get("total_annotations"):
            return None
        control: Control = self._controls[sample.control]
        text = text_of(control, task["data"])
        return replace(sample, text=text) if text else None


def _by_task(samples: Sequence[HardSample]) -> list[HardSample]:
    """The best first, and with it what else is hard about its task: one call asks all of that."""
    best: defaultdict[int, float] = defaultdict(float)
    for one in samples:
        best[one.task_id] = max(best[one.task_id], one.gain)
    return sorted(samples, key=lambda one: (-best[one.task_id], one.task_id, -one.gain))


def _member(task_id: int, control: str) -> str:
    return f"{task_id}:{control}"
