"""One simulated project: texts arrive in chunks, a budget of LLM calls, refits, a last relabelling.

Everything that decides is the product's: the value rule, the refit, the pace. It knows arrays; the
committee was asked before and the LLM's answers are looked up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from backend.jobs.refit import LEAST_NEW, NEW_SHARE
from backend.pace import ROUNDS, Pace
from specialists.evidence import Evidence
from specialists.rule_state import RuleState
from specialists.value_rule import ValueRule
from training.refit import Known, Refit, refit
from training.reliability import Answers

CHUNKS = 12
Indices = npt.NDArray[np.intp]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Case:
    """What a project meets: evidence (n,), the LLM's answers (n,), -1 for none, and gold (n,).

    Gold is read for the rows that people answer, and for nothing else. `learned` is evidence of
    the members' own training texts, out of fold, with their gold; `taught` says whether any member
    has learned of these labels.
    """

    evidence: Evidence
    llm: Indices
    gold: Indices
    learned: tuple[Evidence, Indices] | None = None
    taught: bool = True

    def __len__(self) -> int:
        return len(self.evidence)


@dataclass(frozen=True, eq=False)
class Outcome:
    """Labels (n,) at the end, which rows the LLM was asked about, and the last state."""

    labels: Indices
    asked: Mask
    state: RuleState


def people_of(case: Case, count: int, seed: int) -> Mask:
    """The rows that people answer, drawn at random; shape (n,)."""
    chosen = np.zeros(len(case), dtype=bool)
    chosen[np.random.default_rng([seed, 1]).permutation(len(case))[:count]] = True
    return chosen


def run(case: Case, share: float, people: Mask, seed: int) -> Outcome:
    """Label everything with at most `share` calls a row; `seed` makes the order of arrival."""
    project = Project(case, people, Pace(share * len(case)))
    order = np.random.default_rng(seed).permutation(len(case))
    for chunk in np.array_split(order, CHUNKS):
        project.receive(chunk)
    for number in range(ROUNDS):
        project.ask(project.pace.when_complete(project.spent, number))
        project.refit()
    return Outcome(project.labels(), project.asked, project.rule.state)


class Project:
    """What a project knows at one moment."""

    def __init__(self, case: Case, people: Mask, pace: Pace) -> None:
        self.pace = pace
        self.asked = np.zeros(len(case), dtype=bool)
        self._case, self._people = case, people
        self._arrived = np.zeros(len(case), dtype=bool)
        self._probes = 0
        self._state: RuleState | None = None
        self.refit()

    @property
    def spent(self) -> int:
        """Calls made so far."""
        return int(self.asked.sum())

    def arrive(self, chunk: Indices) -> None:
        """Take in a chunk and ask about nothing yet."""
        self._arrived[chunk] = True

    def receive(self, chunk: Indices) -> None:
        """Take in a chunk: probe the LLM on people's rows, ask about the best others, refit."""
        self.arrive(chunk)
        people = chunk[self._people[chunk]]
        probes = people[: min(self._allowed(), self.pace.probes(self._probes))]
        self.asked[probes] = True
        self._probes += len(probes)
        self.ask(self._allowed())
        self.refit()

    def ask(self, most: int) -> None:
        """Ask about the open rows that the rule wants most, with a refit whenever one is due."""
        while most > 0:
            if not self._until_refit():
                self.refit()
            rows = np.flatnonzero(self._arrived & ~self._answered)
            probabilities = self.rule.probabilities(self._case.evidence.rows(rows))
            proofs = self.pace.proofs(self.spent)
            batch = rows[self.rule.next(probabilities, min(most, self._until_refit()), proofs)]
            if not len(batch):
                return
            self.asked[batch] = True
            most -= len(batch)

    def refit(self) -> None:
        """Learn from all answers so far."""
        self._learned_from = int(self._answered.sum())
        self._state = self._refit().state
        self.rule = ValueRule(self._state)

    def labels(self) -> Indices:
        """Decide every row again; rows with an answer by their leave-one-out posterior."""
        labels: Indices = self.rule.probabilities(self._case.evidence).argmax(axis=1)
        known = np.flatnonzero(self._answered)
        if len(known):
            labels[known] = self._refit().posterior[: len(known)].argmax(axis=1)
        return labels

    @property
    def _answered(self) -> Mask:
        """Rows that the LLM or a person was heard on, shape (n,)."""
        answered: Mask = self.asked | (self._people & self._arrived)
        return answered

    def _until_refit(self) -> int:
        """How many more answers make a refit due."""
        needed = math.ceil(max(LEAST_NEW, NEW_SHARE * self._learned_from))
        return max(0, self._learned_from + needed - int(self._answered.sum()))

    def _allowed(self) -> int:
        return self.pace.while_importing(float(self._arrived.mean()), self.spent)

    def _refit(self) -> Refit:
        case, known = self._case, np.flatnonzero(self._answered)
        evidence = case.evidence.rows(known)
        llm = np.where(self.asked[known], case.llm[known], -1)
        human = np.where(self._people[known], case.gold[known], -1)
        asked = self.asked[known]
        if case.learned is not None:
            own, gold = case.learned
            none = np.full(len(own), -1)
            evidence = Evidence.join([evidence, own])
            llm, human = np.concatenate([llm, none]), np.concatenate([human, gold])
            asked = np.concatenate([asked, none >= 0])
        seen = case.evidence.rows(self._arrived)
        known = Known(evidence, Answers(llm, human, asked))
        return refit(known, seen, before=self._state, taught=case.taught)
