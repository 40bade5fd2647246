"""Refit of the value rule: from verdicts to weights, live heads and the LLM's reliability.

Pure arrays in, a `RuleState` out, in about a second for thousands of verdicts. Texts that the
members were trained on come apart: votes on them say nothing about others, and only the live member
learns from them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from scipy.optimize import minimize_scalar

from specialists.chances import (
    Array,
    first_probabilities,
    fuse,
    log_softmax,
    member_scores,
    symmetric,
)
from specialists.evidence import Evidence
from specialists.rule_state import FIRST_ACCURACY, Head, Live, RuleState, Trust
from specialists.value_rule import ValueRule
from training import live, mixing
from training.calibration import calibrate
from training.heads import View
from training.live import Lesson
from training.mixing import Mix
from training.reliability import (
    HUMAN_WEIGHT,
    Answers,
    answered,
    compare,
    confusion,
    proven,
)

LEAST = 8
"""Verdicts below which the first state stays."""
ALONE_ACCURACY = 0.95
"""What an LLM's answers are taken for where nobody else was taught the labels: estimated from what
was learned of them, answers that were all right came out as right in 72 to 87 % (LOG.md)."""
WAVES = 1024
"""Tried for a live member that has nobody beside it: worth 4 to 6 points with 77 labels, while a
refit to 5,000 verdicts takes 5 seconds on a core (LOG.md)."""
ROUNDS = 2  # heads and weights in turn
_HEAD_PRIOR = 0.5  # first weight of a head that has seen many verdicts
_HEAD_ROWS = 20.0  # verdicts a label at which a head has half of that
_TEMPERATURE_RIDGE = 8.0  # on its logarithm
_LOG_TEMPERATURES = (-3.0, 1.6)


@dataclass(frozen=True, eq=False)
class Known:
    """Texts with answers; `llm` and `human` are label indices (texts,), -1 for none."""

    evidence: Evidence
    answers: Answers


@dataclass(frozen=True, eq=False)
class Refit:
    """What a refit found.

    `probabilities` (texts, labels) are those of the known texts as if each had not been among
    them, without the LLM's answer; `posterior` with it. `compared` counts the texts that both a
    person and the LLM answered: all, committee right, LLM right.
    """

    state: RuleState
    probabilities: Array = field(repr=False)
    posterior: Array = field(repr=False)
    compared: tuple[int, int, int] = (0, 0, 0)


def refit(
    known: Known,
    seen: Evidence | None = None,
    before: RuleState | None = None,
    earlier: RuleState | None = None,
    least: int = LEAST,
    trained: Known | None = None,
    *,
    taught: bool = True,
) -> Refit:
    """Fit the rule's state to all known answers; weights and heads to no fewer than `least`.

    `seen` is evidence of other texts of the project, for the centre of the features; `before` this
    tag's last state: an LLM that has proved itself stays so; `earlier` the state of an earlier tag,
    for what it knew of the LLM. `trained` are the texts that the members have learned; without any
    that was `taught` they cannot tell whether the LLM's answers are about the texts.
    """
    evidence, answers = known.evidence, known.answers
    _, members, labels = evidence.votes.shape
    matrix = None if earlier is None else earlier.confusion
    trust: Trust = "both"
    if members and taught and labels > 1 and not any(s and s.proven for s in (before, earlier)):
        trust = proven(first_probabilities(evidence), answers)
    heard = answers.deaf() if trust == "committee" else answers
    useful = np.flatnonzero(heard.useful)
    learns = len(useful) >= least
    task = _Task(evidence.rows(useful), heard.rows(useful), learns, matrix, taught)
    lesson = _lesson(task, trained, seen, deaf=trust == "committee", waves=0 if taught else WAVES)
    if labels < 2 or not (task.learns or lesson):
        state = RuleState.first(members, labels)
        probabilities = first_probabilities(evidence)
        everything = replace(task, evidence=evidence, answers=heard)
        state = replace(state, confusion=everything.confusion(probabilities))
    else:
        state, log_p = _Fit(task, seen, lesson, not taught or _admitted(before, earlier)).run()
        probabilities = np.empty((len(evidence), labels))
        probabilities[useful] = np.exp(log_p)
        others = np.setdiff1d(np.arange(len(evidence)), useful)
        probabilities[others] = ValueRule(state).probabilities(evidence.rows(others))
    worse, *compared = compare(probabilities, answers)
    if worse != "both" and trust != "committee":
        trust = worse
    state = replace(state, calibration=calibrate(answers))
    fused = ValueRule(state).fuse(probabilities, heard.llm, heard.confidence)
    posterior = answers.truth(fused)
    state = replace(
        state,
        trust=trust,
        answered=answered(answers),
        llm_accuracy=_accuracy(state.confusion, posterior),
    )
    return Refit(state, probabilities, posterior, (compared[0], compared[1], compared[2]))


def _lesson(
    task: _Task, trained: Known | None, seen: Evidence | None, *, deaf: bool, waves: int
) -> Lesson | None:
    """What the live member learns from; None where that is too little."""
    if task.evidence.frozen is None:
        return None
    none = np.zeros(0, dtype=np.intp)
    own, others = (task.evidence, task.answers), (task.evidence.rows(none), task.answers.rows(none))
    if trained is not None:
        others = trained.evidence, trained.answers.deaf() if deaf else trained.answers
    if live.size(*own) + live.size(*others) < LEAST:
        return None
    return Lesson(own, others, [] if seen is None else [seen], waves)


def _admitted(*states: RuleState | None) -> bool:
    """Whether the live member was admitted in the first of some states that knows."""
    return next((one.live.admitted for one in states if one and one.live), False)


def _accuracy(matrix: Array, posterior: Array) -> float:
    """The LLM's accuracy on texts with these posteriors, on any text without them."""
    shares = posterior.mean(axis=0) if len(posterior) else np.full(len(matrix), 1 / len(matrix))
    return float(shares @ np.diag(matrix))


@dataclass(frozen=True, eq=False)
class _Task:
    """What is fitted to: evidence and answers of the useful texts.

    `learns` says whether they are enough for weights, and for heads on the members' features;
    `taught` whether any member was. `before` is the LLM's matrix at an earlier tag.
    """

    evidence: Evidence
    answers: Answers
    learns: bool
    before: Array | None
    taught: bool

    @property
    def first_accuracy(self) -> float:
        """What the LLM's answers are taken for at first."""
        return FIRST_ACCURACY if self.taught else ALONE_ACCURACY

    def confusion(self, prior: Array) -> Array:
        """The LLM's matrix; `prior` (texts, labels) is what is thought without it.

        Where all that is known of the labels comes from its answers, they cannot be measured by
        that: only those that people checked count.
        """
        answers = self.answers
        if not self.taught:
            checked = np.flatnonzero(answers.by_llm & answers.by_people)
            prior, answers = prior[checked], answers.rows(checked)
        return confusion(prior, answers, self.before, self.first_accuracy)


class _Fit:
    """Heads and weights in turn, each to what the other makes of the answers."""

    def __init__(
        self, task: _Task, seen: Evidence | None, lesson: Lesson | None, admitted: bool
    ) -> None:
        """`admitted` says whether the live member is, as long as the texts do not tell."""
        self._task, self._lesson = task, lesson
        self._scores = member_scores(task.evidence)
        texts, labels, members = self._scores.shape
        # Where nobody else votes, or has learned anything here, it is heard.
        self._admitted = admitted or not members or not task.learns
        self._temperature, self._matrix = _temper(task, self._scores)
        self._views = _views(task, seen) if task.learns else []
        weights = [
            np.full(members, self._temperature / max(1, members)),
            np.full(len(self._views), _first_weight(texts, labels)),
            np.full(1 if lesson else 0, _first_weight(lesson.size if lesson else 0, labels)),
        ]
        self._first = np.concatenate(weights)

    def run(self) -> tuple[RuleState, Array]:
        """The state, and the leave-one-out log-probabilities (texts, labels) of the texts."""
        answers, members = self._task.answers, self._scores.shape[2]
        mix = mixing.fixed(self._scores, self._first[:members])
        member: Live | None = None
        pairs: list[tuple[Head, Array]] = []
        for _ in range(ROUNDS):
            truth = answers.truth(fuse(np.exp(mix.log_p), answers.llm, self._matrix))
            pairs = [view.fit(truth) for view in self._views]
            said = (left_out[:, :, None] for _, left_out in pairs)
            mix, member = self._mix(np.concatenate([self._scores, *said], axis=2), truth)
            self._matrix = self._task.confusion(np.exp(mix.log_p))
        state = RuleState(
            member_weights=mix.weights[:members],
            confusion=self._matrix,
            head_weights=mix.weights[members : members + len(pairs)],
            heads=tuple(head for head, _ in pairs),
            verdicts=self._lesson.size if self._lesson else len(answers.llm),
            live=member,
        )
        return state, mix.log_p

    def _mix(self, voices: Array, truth: Array) -> tuple[Mix, Live | None]:
        """Pool the voices, with the live member among them if that is better."""
        without = self._weighed(voices, truth, self._first[: voices.shape[2]])
        if self._lesson is None:
            return without, None
        head, said = self._lesson.learn(truth, self._matrix)
        voices = np.concatenate([voices, said[:, :, None]], axis=2)
        with_it = self._weighed(voices, truth, self._first)
        admitted, gain = live.admit(with_it, without, truth, self._admitted)
        weight = float(with_it.weights[-1])
        member = Live(head, weight, admitted, self._lesson.size, len(truth), gain)
        return with_it if admitted else without, member

    def _weighed(self, voices: Array, truth: Array, first: Array) -> Mix:
        if not self._task.learns or not len(first):
            return mixing.fixed(voices, first)
        return mixing.fitted(
            voices, truth, self._task.answers.counts, first, alike=self._scores.shape[2]
        )


def _first_weight(verdicts: int, labels: int) -> float:
    """What a head counts at first, by the verdicts that it was fitted to."""
    return _HEAD_PRIOR * verdicts / (verdicts + _HEAD_ROWS * labels)


def _temper(task: _Task, scores: Array) -> tuple[float, Array]:
    """How far to believe the members' mean log-vote, and what that says of the LLM.

    The exponent that makes the answers likeliest; it starts from belief in the members, since a
    useless LLM and useless members explain a disagreement equally well.
    """
    answers = task.answers
    if not scores.shape[2] or not task.learns:
        return 1.0, task.confusion(first_probabilities(task.evidence))
    mean = scores.mean(axis=2)
    people, alone = answers.by_people, answers.by_llm & ~answers.by_people
    first = symmetric(task.first_accuracy, scores.shape[1])
    matrix = first if task.before is None else task.before

    def loss(log_exponent: float) -> float:
        log_p = log_softmax(np.exp(log_exponent) * mean)
        told = log_p[people, answers.human[people]].sum() * HUMAN_WEIGHT
        said = (np.exp(log_p[alone]) * matrix[:, answers.llm[alone]].T).sum(axis=1)
        return float(_TEMPERATURE_RIDGE * log_exponent**2 - told - np.log(said).sum())

    found = minimize_scalar(loss, bounds=_LOG_TEMPERATURES, method="bounded")
    temperature = float(np.exp(found.x))
    return temperature, task.confusion(np.exp(log_softmax(temperature * mean)))


def _views(task: _Task, seen: Evidence | None) -> list[View]:
    """The members' views, each about its mean over all texts that are at hand."""
    parts = [task.evidence] if seen is None else [task.evidence, seen]
    texts = zip(*(part.features for part in parts), strict=True)
    centres = [np.concatenate(view).mean(axis=0, dtype=np.float64) for view in texts]
    views = zip(task.evidence.features, centres, strict=True)
    return [View.of(view, task.answers.counts, centre) for view, centre in views]
