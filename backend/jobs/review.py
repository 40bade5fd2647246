"""The review job: ask the LLM where that is worth most, keep its verdicts, show them.

In rounds: refit the rule if it is due, ask as many as the pace allows until the next refit is due,
and so on; then write back. A verdict is in the pool before Label Studio is called, and a prediction
that could not be patched stays on the list: Label Studio being down delays verdicts and loses none.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from backend.allowance import Allowance, allowance
from backend.errors import LabelStudioError
from backend.evidence_store import text_hash
from backend.jobs import refit
from backend.jobs.asking import Asking
from backend.jobs.backlog import MOST, Backlog, is_waiting
from backend.jobs.known import asked_key
from backend.jobs.questions import CHECK, PROBE, PROOF, Questions
from backend.jobs.stored import Stored, unpack
from backend.jobs.write_back import write_back
from backend.label_config import Control, parse
from backend.lease import Lease
from backend.pace import ROUNDS
from backend.pauses import held, is_paused, paused_key
from backend.projects import HardSample, Project
from backend.wiring import NotConfigured, Wiring
from specialists.chances import Array
from specialists.types import Verdict
from specialists.value_rule import ValueRule

if TYPE_CHECKING:
    from meta_controller.language_model import Reply
    from meta_controller.reviewer import Outcome
    from meta_controller.tiers import Reviews

_BATCH = 64
_PAUSE_S = 120
_SHOW_EVERY_S = 20.0

Prior = tuple[ValueRule, Array]
"""A rule, and its probabilities (labels,) for one text."""


def work(wiring: Wiring, project_id: int, lease: Lease) -> str:
    """Refit, ask what may be asked now, and write back."""
    project = wiring.projects.get(project_id)
    if project is None or not project.label_config:
        return "Nothing is known of this project."
    if refit.is_due(wiring, project_id):
        refit.refit_project(wiring, project, lease)
    # Batches that a person's pause finds under way stay with the provider: what came might be asked
    # about again.
    reviewer = None if held(wiring.redis, project_id) else _reviewer(wiring, project_id)
    kinds: Counter[str] = Counter()
    # The waiting write-backs come last: Label Studio being down must not keep verdicts from coming.
    if reviewer:
        review = _Review(wiring, project, reviewer, lease)
        review.take_up()
        kinds = review.rounds()
        if review.questions.unreachable:
            raise review.questions.unreachable
    patched = write_back(wiring, project, lease)
    return f"{sum(kinds.values())} reviewed ({dict(kinds)}), {patched} written back."


def _reviewer(wiring: Wiring, project_id: int) -> Reviews | None:
    """Who is asked; None when nobody is configured, or not so that it could be asked."""
    from meta_controller.errors import SettingsError

    try:
        model = wiring.language_model
        _ = wiring.redactor  # nothing is asked while it is wanted and cannot be had
        return wiring.reviewer(project_id, model) if model is not None else None
    except (SettingsError, NotConfigured) as error:
        wiring.journal.error("review", str(error), project_id)
        wiring.redis.set(paused_key(project_id), str(error), ex=_PAUSE_S)
        return None


@dataclass
class _Review:
    """The asking of one run; `kinds` counts how samples ended."""

    wiring: Wiring
    project: Project
    reviewer: Reviews
    lease: Lease
    kinds: Counter[str] = field(default_factory=Counter)
    shown_at: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.questions = Questions(self.wiring, self.project, self.lease)
        self.controls = {one.name: one for one in parse(self.project.label_config)}
        self.asking = Asking(self.wiring, self.project, self.controls)
        self.learns = self.wiring.rules.chosen(self.project.id) == "value"
        self.backlog = Backlog(self.wiring, self.project, self.lease)

    @property
    def _paused(self) -> bool:
        return is_paused(self.wiring.redis, self.project.id)

    def take_up(self) -> None:
        """Take up what batches brought: answers are stored, so asking costs nothing now."""
        from meta_controller.language_model import Question
        from meta_controller.reviewer import Outcome

        for batch, answered, failed in self.backlog.collect():
            people = self.wiring.pool(self.project.id).places("human")
            known = [
                one
                for one in answered
                if one.control in self.controls
                and (one.reason in (PROBE, CHECK) or (one.task_id, one.control) not in people)
            ]
            for start in range(0, len(known), _BATCH):
                self._ask(known[start : start + _BATCH])
            for sample, error in failed:
                if control := self.controls.get(sample.control):
                    asked = Question(sample.control, sample.text, control.labels)
                    outcome = Outcome(asked, None, str(error), error.kind)
                    self._keep(sample, outcome, None, Counter())
            self.backlog.forget(batch)

    def rounds(self) -> Counter[str]:
        """Ask at the pace that the budget allows; while tasks still come, one round."""
        for number in range(ROUNDS):
            allowed = allowance(self.wiring, self.project, number)
            if is_waiting(self.wiring.redis, self.project.id):
                break
            self.questions.refresh(allowed.budget, allowed.spent)
            waits = self.backlog.takes(min(allowed.calls, self.questions.left))
            if waits and not self._paused:
                if self._send_off(min(allowed.calls, MOST)):
                    break
                self.questions.refresh(allowed.budget, allowed.spent)  # none went: ask them
            asked = self._round(allowed)
            if not asked or allowed.importing:
                break
            if self.learns and refit.is_stale(self.wiring, self.project.id):
                refit.refit_project(self.wiring, self.project, self.lease)
        return self.kinds

    def _round(self, allowed: Allowance) -> int:
        """Spend the calls of one round, with refits as they fall due; returns how many samples."""
        left, asked = allowed.calls, 0
        while left > 0 and not self._paused:
            until_refit = refit.room(self.wiring, self.project.id) if self.learns else _BATCH
            batch = self.questions.take(min(_BATCH, left, max(1, until_refit)), min(_BATCH, left))
            if not batch:
                break
            left -= self._ask(batch)
            asked += len(batch)
            if self.learns and refit.is_due(self.wiring, self.project.id):
                refit.refit_project(self.wiring, self.project, self.lease)
                self.questions.refresh(allowed.budget, allowed.spent + allowed.calls - left)
            self._show_now_and_then()
        return asked

    def _send_off(self, count: int) -> int:
        """Send questions that can wait as a batch; returns how many went."""
        samples = self.questions.take(count)
        priors = self._priors(samples)
        chances = {member: chance for member, (_, chance) in priors.items()}
        questions, redacted = self.asking.questions(samples, chances)
        sent = self.backlog.submit(questions, samples)
        taken = sum(redacted.values(), Counter[str]()) if sent else Counter[str]()
        self.lease.transaction(lambda pipe: self.reviewer.ledger.count_redacted(pipe, taken))
        return sent

    def _show_now_and_then(self) -> None:
        """Show verdicts while others are still asked for; a failure is tried again."""
        if not self.wiring.has_label_studio or time.monotonic() - self.shown_at < _SHOW_EVERY_S:
            return
        try:
            write_back(self.wiring, self.project, self.lease)
        except LabelStudioError as error:
            self.wiring.journal.error("review", str(error), self.project.id)
        self.shown_at = time.monotonic()

    def _ask(self, batch: Sequence[HardSample]) -> int:
        """Ask about a batch; every sample ends as verdict, left to people, or waits on.

        Returns how many questions it took.
        """
        samples = {one.member: one for one in batch}
        priors = self._priors(batch)
        chances = {member: chance for member, (_, chance) in priors.items()}
        questions, redacted = self.asking.questions(batch, chances)
        # Only this lease's holder asks for this project: other runs' reservations are dead.
        self.reviewer.ledger.charge_lost(self._lives)
        asked = 0
        for outcome in self.reviewer.review(questions, self.lease.transaction, self.lease.token):
            self.kinds[outcome.kind] += 1
            asked += outcome.askings
            member = f"{outcome.question.task_ids[0]}:{outcome.question.control}"
            taken = redacted[member] if outcome.askings else Counter()
            self._keep(samples[member], outcome, priors.get(member), taken)
        return asked

    def _lives(self, run: str) -> bool:
        """Whether a run's reservations still stand: this lease's, and those of batches."""
        from meta_controller.batch_store import RUN

        return run == self.lease.token or run.startswith(RUN)

    def _priors(self, batch: Sequence[HardSample]) -> dict[str, Prior]:
        """What the committee's stored evidence says of each sample, as far as there is any."""
        tag = self.wiring.promotions(self.project.id).served()
        found: dict[str, Prior] = {}
        for control in self.controls.values() if tag else ():
            texts = {one.task_id: one.text for one in batch if one.control == control.name}
            stored = Stored(self.wiring, self.project.id, control, tag or "")
            rows = stored.rows_of(texts)
            rule = stored.value_rule(rows)
            if rule:
                chances = rule.probabilities(unpack(rows))
                for row, chance in zip(rows, chances, strict=True):
                    found[f"{row.task_id}:{control.name}"] = (rule, chance)
        return found

    def _keep(
        self, sample: HardSample, outcome: Outcome, prior: Prior | None, taken: Counter[str]
    ) -> None:
        """Write down how one sample ended; `taken` was redacted before it was sent."""
        wiring, project_id = self.wiring, self.project.id
        if outcome.again:
            why = outcome.failure or outcome.kind
            wiring.redis.set(paused_key(project_id), why, ex=_PAUSE_S)
            wiring.journal.error("review", why, project_id)
            return
        from meta_controller.errors import SUSPICIOUS

        desk, pool, reply = wiring.projects.desk(project_id), wiring.pool(project_id), outcome.reply
        probe = sample.reason in (PROBE, CHECK)  # its answer changes nothing that is shown
        measures = probe or sample.reason == PROOF
        verdict = None
        if reply and reply.labels:
            verdict = _verdict(sample, reply, self.controls[sample.control], prior)

        def write(pipe: Any) -> None:
            # What was not asked since it is suspicious says nothing of the LLM; but a text that
            # only measures it must not come up again.
            if outcome.kind != SUSPICIOUS or measures:
                pipe.hset(asked_key(project_id), sample.member, text_hash(sample.text).hex())
            self.reviewer.ledger.count_redacted(pipe, taken)
            if verdict:
                pool.add(verdict, pipe, waits=not probe)
            if verdict and not probe:
                desk.settle_hard([sample.member], pipe)
                desk.want_patches([sample.task_id], pipe)
            elif not verdict and not measures:
                desk.leave_to_people(sample, outcome.failure or "The LLM is unsure", pipe)

        self.lease.transaction(write)


def _verdict(sample: HardSample, reply: Reply, control: Control, prior: Prior | None) -> Verdict:
    """What follows from the LLM's answer and the committee's votes together.

    Without stored votes, or under the paper's rule, the answer counts as it is.
    """
    labels: tuple[str, ...] = reply.labels
    chance = None
    names = control.labels.names
    if prior and len(labels) == 1:
        rule, chances = prior
        sure = None if reply.confidence is None else np.array([reply.confidence])
        posterior = rule.fuse(chances[None], np.array([names.index(labels[0])]), sure)[0]
        labels, chance = (names[int(posterior.argmax())],), round(float(posterior.max()), 4)
    return Verdict(
        task_id=sample.task_id,
        control=sample.control,
        text=sample.text,
        labels=labels,
        source="llm",
        author=reply.model,
        at=time.time(),
        reason=reply.reason,
        answer=reply.labels,
        chance=chance,
        confidence=reply.confidence,
    )
