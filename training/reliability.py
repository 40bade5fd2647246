"""How far an LLM can be believed on one project, learned from what it and others say.

Its confusion matrix is estimated by expectation maximisation over the unknown truth (Dawid and
Skene, Applied Statistics 1979), the committee's calibrated probabilities being the prior of each
text; people's answers are the truth. Arrays only.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest

from specialists.chances import Array, fuse, surest_of_each, symmetric
from specialists.rule_state import FIRST_ACCURACY, Trust

Indices = npt.NDArray[Any]

STEPS = 4  # of EM: it settles in three
PRIOR_ROWS = 60.0
"""The first belief in the LLM weighs as much as so many answers."""
ROW_PRIOR = 10.0
"""Answers a label until its own row of the matrix counts as much as the common accuracy."""
UNCHECKED_ROW_PRIOR = 30.0
"""More of the same while no person's answer checks the committee: class by class, what the LLM and
what the committee gets wrong cannot be told apart (measured on MR, BENCHMARKS.md)."""
HUMAN_COUNT = 2.0  # a person's word beside an inferred truth
HUMAN_WEIGHT = 3.0  # of a person's answer beside an inferred one, in fits
ODDS = 3.0
"""Log-odds (20 to 1) at which an LLM counts as talking about the texts, or as not doing so."""
PATIENCE = 60
"""Answers after which the likelier of the two is taken."""
_UNINFORMED = 0.2
"""Chance that the members know nothing of a text that they are sure of (it was 0.16 on MR)."""
CHECKED = 20
"""Answers that people checked from which on their word decides, not the members'."""
DOUBT = 0.01
"""Chance of calling LLM or committee the worse one where they are alike (sign test, a side)."""


@dataclass(frozen=True, eq=False)
class Answers:
    """What is known of texts: label indices (texts,), -1 for none; `asked` says if the LLM was.

    `confidence` (texts,) is how sure the LLM was of its answer, NaN where unknown; `agreed`
    (texts,) how likely people's answer is right, as far as several answered.
    """

    llm: Indices = field(repr=False)
    human: Indices = field(repr=False)
    asked: npt.NDArray[np.bool_] = field(repr=False)
    confidence: Array | None = field(default=None, repr=False)
    agreed: Array | None = field(default=None, repr=False)

    @property
    def useful(self) -> npt.NDArray[np.bool_]:
        """Which texts have an answer of either."""
        return self.by_llm | self.by_people

    @property
    def counts(self) -> Array:
        """What each text counts in a fit, shape (texts,)."""
        sure: Any = 1.0 if self.agreed is None else self.agreed
        return np.where(self.by_people, HUMAN_WEIGHT * sure, 1.0)

    @property
    def by_people(self) -> npt.NDArray[np.bool_]:
        """Which texts a person answered."""
        return self.human >= 0

    @property
    def by_llm(self) -> npt.NDArray[np.bool_]:
        """Which texts have a usable answer of the LLM."""
        return self.llm >= 0

    def deaf(self) -> Answers:
        """The same as if the LLM had never answered."""
        return replace(self, llm=np.full(len(self.llm), -1))

    def rows(self, which: npt.NDArray[Any]) -> Answers:
        """The answers to some texts."""
        sure = None if self.confidence is None else self.confidence[which]
        agreed = None if self.agreed is None else self.agreed[which]
        return Answers(self.llm[which], self.human[which], self.asked[which], sure, agreed)

    def truth(self, posterior: Array) -> Array:
        """Posteriors (texts, labels) with people's answers put in as certain."""
        truth = posterior.copy()
        people = self.by_people
        truth[people] = 0.0
        truth[people, self.human[people]] = 1.0
        return truth


def confusion(
    prior: Array, answers: Answers, before: Array | None = None, first: float = FIRST_ACCURACY
) -> Array:
    """Estimate P(LLM says column | row is true), shape (labels, labels).

    `prior` (texts, labels) is the committee's probability of each text without the LLM's answer;
    `before` an earlier estimate on the same project, taken instead of the first belief.
    """
    labels = prior.shape[1]
    start = symmetric(first, labels) if before is None else before
    if labels < 2:
        return start
    matrix = start
    said = np.zeros_like(prior)
    said[answers.by_llm, answers.llm[answers.by_llm]] = 1.0
    both = answers.by_llm & answers.by_people
    alone = answers.by_llm & ~answers.by_people
    checked = int(answers.by_people.sum())
    pull = ROW_PRIOR * (1.0 + UNCHECKED_ROW_PRIOR / (ROW_PRIOR + checked))
    for _ in range(STEPS):
        truth = answers.truth(fuse(prior, answers.llm, matrix))
        counts = truth[alone].T @ said[alone]
        counts += HUMAN_COUNT * truth[both].T @ said[both]
        hits = float(np.trace(counts)) + PRIOR_ROWS * float(np.trace(start)) / labels
        accuracy = hits / (float(counts.sum()) + PRIOR_ROWS)
        expected = symmetric(accuracy, labels) if before is None else before
        matrix = (counts + pull * expected) / (counts.sum(axis=1, keepdims=True) + pull)
    return matrix


def answered(answers: Answers) -> float:
    """How often a call brings an answer that can be used, 0..1; starts at 0.95 of 20 calls."""
    asked = int(answers.asked.sum())
    return float(((answers.asked & answers.by_llm).sum() + 19.0) / (asked + 20.0))


def proven(probabilities: Array, answers: Answers) -> Trust:
    """Whether the LLM's answers have to do with the texts, before people say who is right.

    Nobody can tell a useless LLM from useless members; where the members vote, they are believed.
    """
    if int((answers.by_llm & answers.by_people).sum()) >= CHECKED:
        return "both"
    found = evidence_for(probabilities, answers)
    if abs(found) < ODDS and int(answers.asked.sum()) < PATIENCE:
        return "unproven"
    return "both" if found > 0 else "committee"


def compare(probabilities: Array, answers: Answers) -> tuple[Trust, int, int, int]:
    """Whom people's answers show to be worse: (trust, texts, committee right, LLM right).

    Exact sign test on the texts where one of the two is right (McNemar, Psychometrika 1947).
    """
    both = answers.by_people & answers.asked
    human = answers.human[both]
    committee = probabilities[both].argmax(axis=1) == human
    llm = answers.llm[both] == human
    wins, losses = int((committee & ~llm).sum()), int((llm & ~committee).sum())
    counts = int(both.sum()), int(committee.sum()), int(llm.sum())
    if wins + losses and _by_chance(wins, wins + losses) <= DOUBT:
        return ("committee", *counts)
    if wins + losses and _by_chance(losses, wins + losses) <= DOUBT:
        return ("llm", *counts)
    return ("both", *counts)


def evidence_for(probabilities: Array, answers: Answers) -> float:
    """Log-odds that the LLM's answers are about the texts, beside answers at random.

    `probabilities` (texts, labels) are the members' mean votes; the texts of which they are
    surest, label by label, count. An LLM of the first accuracy is compared with one that draws its
    answers blindly, each as often as it was given: always the same answer proves nothing.
    """
    said = np.flatnonzero(answers.by_llm)
    if not len(said):
        return 0.0
    # The others were asked because something spoke against the members: no fair sample.
    said = said[surest_of_each(probabilities[said])[:PATIENCE]]
    told, labels = answers.llm[said], probabilities.shape[1]
    believed = (1.0 - _UNINFORMED) * probabilities[said] + _UNINFORMED / labels
    about = (believed * symmetric(FIRST_ACCURACY, labels)[:, told].T).sum(axis=1)
    blind = (np.bincount(told, minlength=labels) + 1.0) / (len(told) + labels)
    return float((np.log(about) - np.log(blind[told])).sum())


def _by_chance(wins: int, of: int) -> float:
    return float(binomtest(wins, of, alternative="greater").pvalue)
