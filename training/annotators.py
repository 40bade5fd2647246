"""Several people's answers to the same tasks: what is true, and how reliable each person is.

Dawid and Skene, "Maximum likelihood estimation of observer error-rates using the EM algorithm",
Applied Statistics 1979, with priors: each row of a person's confusion matrix is drawn to that
person's accuracy, and that to everyone's, so that few answers accuse and acquit nobody. All labels
count as equally frequent before an answer: else a rare label, given by one person, would be
overruled by its rareness alone. Only tasks with two answers or a known truth tell of reliability.
Arrays only. Not covered: people who make the same mistakes together, as those do who accept what
they are shown.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array
from scipy.special import betaincinv

from specialists.chances import Array, fuse, symmetric
from training.errors import TrainingError

Indices = npt.NDArray[Any]

FIRST_ACCURACY = 0.8
"""Of people of whom nothing is known."""
PRIOR_ANSWERS = 10.0
"""So many answers weighs what is believed before them: of everyone, of a person, of a label."""
_STEPS = 50  # of EM at most; a team's answers settle in a dozen
_SETTLED = 1e-4


@dataclass(frozen=True, eq=False)
class Answers:
    """Answers, each by the indices (answers,) of its task, its person and the label that it says.

    `truth` (tasks,) are label indices, -1 where the truth is not known. No person answers a task
    twice.
    """

    task: Indices = field(repr=False)
    person: Indices = field(repr=False)
    said: Indices = field(repr=False)
    truth: Indices = field(repr=False)
    people: int
    labels: int

    @property
    def compared(self) -> npt.NDArray[np.bool_]:
        """Which answers (answers,) can be compared with another one or with the truth."""
        several = np.bincount(self.task, minlength=len(self.truth)) > 1
        found: npt.NDArray[np.bool_] = (several | (self.truth >= 0))[self.task]
        return found


@dataclass(frozen=True, eq=False)
class Consensus:
    """What follows from answers.

    `chances` (tasks, labels) of each label to be the true one; `confusion` (people, labels, labels)
    the chance that a person says the column where the row is true; `counts` of the same shape the
    compared answers behind it, the truth being as `chances` say. `known` (people,) is how many
    answers of a known truth tell as much as a person's compared ones (at most as many).
    """

    chances: Array = field(repr=False)
    confusion: Array = field(repr=False)
    counts: Array = field(repr=False)
    known: Array = field(repr=False)

    def hits(self) -> tuple[Array, Array]:
        """(right, compared) answers of each person to each true label, shape (people, labels)."""
        return np.diagonal(self.counts, axis1=1, axis2=2), self.counts.sum(axis=2)


def combine(answers: Answers) -> Consensus:
    """Estimate truth and reliabilities together; without comparable answers, from the priors."""
    people, labels = answers.people, answers.labels
    used = answers.compared
    task, chosen = answers.task[used], answers.person[used] * labels + answers.said[used]
    by_task = _sums(answers.task, len(answers.truth))  # (tasks, answers)
    by_choice = _sums(chosen, people * labels)  # (people * labels, compared)
    chances = _normal(_with_truth(by_task @ np.eye(labels)[answers.said], answers.truth))
    for _ in range(_STEPS):
        told = (by_choice @ chances[task]).reshape(people, labels, labels)
        counts = told.transpose(0, 2, 1)  # true label, then what was said
        confusion = _confusion(counts)
        before, chances = chances, _chances(answers, by_task, confusion)
        if np.abs(chances - before).max(initial=0.0) < _SETTLED:
            break
    right = chances[task, answers.said[used]]
    return Consensus(chances, confusion, counts, _known(right, answers.person[used], people))


def heed(chances: Array, said: Indices) -> Array:
    """Chances (tasks, labels) after one more voice, by what it `said` (tasks,), -1 for nothing.

    How far it is believed follows from how it agrees with the chances; they do not change for that.
    """
    heard = np.flatnonzero(said >= 0)
    counts = np.zeros((1, chances.shape[1], chances.shape[1]))
    np.add.at(counts[0].T, said[heard], chances[heard])
    return fuse(chances, said, _confusion(counts)[0])


def reliability(right: float, of: float, known: float) -> tuple[float, float, float]:
    """A share of right answers, of which `known` count, and its 95 % interval, all 0..1.

    Equal tails of the posterior under Jeffreys' prior, as the counts of a truth that is itself only
    likely are no whole numbers: Brown, Cai and DasGupta, Interval estimation for a binomial
    proportion, Statistical Science 2001. Without any, half of them and all that can be. Raises
    TrainingError for counts that cannot be.
    """
    if not (0 <= right <= of + 1e-6 and 0 <= known <= of + 1e-6):
        raise TrainingError(f"{right} right of {of}, {known} known, are no counts.")
    share = min(1.0, right / of) if of else 0.5
    if not known:
        return share, 0.0, 1.0
    low, high = betaincinv(share * known + 0.5, (1 - share) * known + 0.5, [0.025, 0.975])
    return share, min(float(low), share), max(float(high), share)


def _known(right: Array, person: Indices, people: int) -> Array:
    """How many answers' worth each person's compared ones tell (people,).

    What is not known of the truth is taken off: the observed information is the complete one less
    the missing one (Louis, JRSS B 1982). `right` (compared,) is the chance of each to be right.
    """
    of = np.bincount(person, minlength=people).astype(np.float64)
    missing = np.bincount(person, right * (1 - right), minlength=people)
    share = np.bincount(person, right, minlength=people) / np.maximum(of, 1.0)
    spread = share * (1 - share)
    lost = np.divide(missing, spread, out=np.zeros_like(of), where=spread > 0)
    found: Array = np.clip(of - lost, 0.0, of)
    return found


def _confusion(counts: Array) -> Array:
    """Confusion matrices from `counts`, both (people, labels, labels)."""
    labels = counts.shape[1]
    hits, of = np.trace(counts, axis1=1, axis2=2), counts.sum(axis=(1, 2))
    all_hits = hits.sum() + PRIOR_ANSWERS * FIRST_ACCURACY
    everyone = all_hits / (of.sum() + PRIOR_ANSWERS)
    accuracy = (hits + PRIOR_ANSWERS * everyone) / (of + PRIOR_ANSWERS)  # (people,)
    expected = np.stack([symmetric(float(one), labels) for one in accuracy])
    rows = counts.sum(axis=2, keepdims=True)
    found: Array = (counts + PRIOR_ANSWERS * expected) / (rows + PRIOR_ANSWERS)
    return found


def _chances(answers: Answers, by_task: Any, confusion: Array) -> Array:
    """Each label's chance (tasks, labels): people are independent once the truth is given."""
    logs = np.log(np.maximum(confusion, 1e-12))[answers.person, :, answers.said]
    sums = by_task @ logs  # (tasks, labels)
    found = np.exp(sums - sums.max(axis=1, keepdims=True))
    return _with_truth(_normal(found), answers.truth)


def _sums(group: Indices, groups: int) -> Any:
    """The matrix (groups, rows) that sums rows by their `group`, shape (rows,)."""
    ones = np.ones(len(group))
    return csr_array((ones, (group, np.arange(len(group)))), shape=(groups, len(group)))


def _with_truth(chances: Array, truth: Indices) -> Array:
    known = truth >= 0
    chances[known] = np.eye(chances.shape[1])[truth[known]]
    return chances


def _normal(chances: Array) -> Array:
    found: Array = chances / chances.sum(axis=1, keepdims=True)
    return found
