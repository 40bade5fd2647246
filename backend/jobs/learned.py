"""What the rule of one control learns from the verdicts on it: a refit, and what follows from it.

With numpy and scipy only; it reads what is stored and writes nothing.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace

from backend.jobs.known import Facts, said_by_llm
from backend.jobs.stored import Stored, unpack
from specialists.evidence import Evidence
from specialists.rule_state import RuleState
from specialists.types import Verdict
from specialists.value_rule import MIN_GAIN, ValueRule
from training.promise import Promise
from training.refit import LEAST, Refit, refit
from training.reliability import Indices

LEAST_TRAINED = 40
"""Honest verdicts below which a trained committee's mean vote stays: heads of a dozen made it worse
(0.65 against 0.72 right on held-out texts of the demo)."""

_SEEN = 1000  # texts without an answer that tell where the centre of the features is


@dataclass(frozen=True, eq=False)
class Learned:
    """A refit of one control; `promise` is what it keeps of TARGET_ERROR, if that is set."""

    stored: Stored
    facts: Facts = field(repr=False)
    refit: Refit
    before: RuleState | None = None
    promise: Promise | None = None

    @property
    def state(self) -> RuleState:
        """The rule's new state."""
        above = self.promise.accept_above if self.promise else None
        return replace(self.refit.state, accept_above=above)

    def revised(self) -> list[Verdict]:
        """The LLM's verdicts whose fused labels or chances are others now.

        Where people answered too, theirs is left out: it must not show in a prediction.
        """
        known, names = self.facts.known.answers, self.stored.control.labels.names
        answers, by_people = known.llm, known.by_people
        posterior = self.refit.posterior.copy()
        chances = self.refit.probabilities[by_people]
        sure = None if known.confidence is None else known.confidence[by_people]
        posterior[by_people] = ValueRule(self.state).fuse(chances, answers[by_people], sure)
        found = []
        for row, answer, chances in zip(self.facts.rows, answers, posterior, strict=True):
            if answer >= 0:
                old = self.facts.verdicts[row.task_id]
                labels, chance = (names[int(chances.argmax())],), round(float(chances.max()), 4)
                new = replace(old, labels=labels, chance=chance, answer=said_by_llm(old))
                if new != old:
                    found.append(new)
        return found

    def people(self) -> tuple[int, int]:
        """People's answers among what would be accepted: (answered, right)."""
        return self._checked(self.facts.known.answers.human)

    def llm(self) -> tuple[int, int]:
        """The LLM's answers among what would be accepted without them: (answered, agreeing)."""
        return self._checked(self.facts.known.answers.llm)

    def _checked(self, answers: Indices) -> tuple[int, int]:
        """How many answers (rows,) there are to what would be accepted, and how many agree."""
        state, chances = self.state, self.refit.probabilities
        accepted = (answers >= 0) & (ValueRule(state).gains(chances) < MIN_GAIN)
        if state.accept_above is not None:
            accepted &= chances.max(axis=1) >= state.accept_above
        agree = accepted & (chances.argmax(axis=1) == answers)
        return int(accepted.sum()), int(agree.sum())


def learn(stored: Stored, known: Facts, since: float, parent: str | None) -> Learned:
    """Refit one control of a tag that was trained at `since`, its parent's state in mind."""
    rules, project_id, name = stored.wiring.rules, stored.project_id, stored.control.name
    # What an earlier tag knew of the LLM: its own verdicts may have been trained on since.
    earlier = None
    if parent and replace(stored, tag=parent).fits:
        earlier = rules.state(project_id, name, parent)
    if earlier and len(earlier.confusion) != len(stored.control.labels.names):
        earlier = None
    before = rules.state(project_id, name, stored.tag)
    least = LEAST_TRAINED if since else LEAST
    seen = _unanswered(stored, known)
    found = refit(known.known, seen, before, earlier, least, known.trained, taught=known.taught)
    return Learned(stored, known, found, before or earlier)


def _unanswered(stored: Stored, known: Facts) -> Evidence | None:
    """Evidence of some other texts of the project."""
    answered = {row.task_id for row in known.rows}
    others = sorted(stored.wiring.evidence.task_ids(stored.project_id) - answered)
    chosen = random.Random(0).sample(others, min(_SEEN, len(others)))
    rows = [row for row in stored.rows(chosen) if row.members == known.members]
    if not rows:
        return None
    found = unpack(rows)
    # Stored before the frozen view was, where no member gives a view: these are others.
    same = len(found.features) == len(known.known.evidence.features)
    return found if same else None
