"""Refit of the value rule: from verdicts to weights, live heads and the LLM's reliability.

Pure arrays in, a `RuleState` out, in well under a second for thousands of verdicts. Texts that the
members were trained on must not be among the known ones: votes on them say nothing about others.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from scipy.optimize import minimize, minimize_scalar

from specialists.chances import (
    Array,
    first_probabilities,
    fuse,
    log_softmax,
    member_scores,
    symmetric,
)
from specialists.evidence import Evidence
from specialists.rule_state import FIRST_ACCURACY, Head, RuleState, Trust
from specialists.value_rule import ValueRule
from training.calibration import calibrate
from training.heads import View
from training.reliability import Answers, answered, compare, confusion, proven

LEAST = 8
"""Verdicts below which the first state stays."""
HUMAN_WEIGHT = 3.0  # of a person's answer beside an inferred one
ROUNDS = 2  # heads and weights in turn
_RIDGE = 5.0  # towards the first weights
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
) -> Refit:
    """Fit the rule's state to all known answers; weights and heads to no fewer than `least`.

    `seen` is evidence of other texts of the project, for the centre of the features; `before` this
    tag's last state: an LLM that has proved itself stays so; `earlier` the state of an earlier tag,
    for what it knew of the LLM.
    """
    evidence, answers = known.evidence, known.answers
    _, members, labels = evidence.votes.shape
    matrix = None if earlier is None else earlier.confusion
    trust: Trust = "both"
    if members and labels > 1 and not any(s and s.proven for s in (before, earlier)):
        trust = proven(first_probabilities(evidence), answers)
    none = np.full(len(evidence), -1)
    heard = replace(answers, llm=none) if trust == "committee" else answers
    useful = np.flatnonzero(heard.by_llm | heard.by_people)
    if len(useful) < least or labels < 2:
        state = RuleState.first(members, labels)
        probabilities = first_probabilities(evidence)
        state = replace(state, confusion=confusion(probabilities, heard, matrix))
    else:
        task = _Task(evidence.rows(useful), heard.rows(useful), _centres(evidence, seen), matrix)
        state, log_p = _fit(task)
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


def _accuracy(matrix: Array, posterior: Array) -> float:
    """The LLM's accuracy on texts with these posteriors, on any text without them."""
    shares = posterior.mean(axis=0) if len(posterior) else np.full(len(matrix), 1 / len(matrix))
    return float(shares @ np.diag(matrix))


@dataclass(frozen=True, eq=False)
class _Task:
    """What is fitted to: evidence and answers of the useful texts, a centre a view."""

    evidence: Evidence
    answers: Answers
    centres: list[Array]
    before: Array | None

    @property
    def weights(self) -> Array:
        """What each text counts, shape (texts,)."""
        return np.where(self.answers.by_people, HUMAN_WEIGHT, 1.0)


def _fit(task: _Task) -> tuple[RuleState, Array]:
    """The state, and the leave-one-out log-probabilities (texts, labels) of the texts."""
    answers, views = task.answers, task.evidence.features
    scores = member_scores(task.evidence)
    texts, labels, members = scores.shape
    temperature, matrix = _temper(task, scores)
    first = np.concatenate(
        [
            np.full(members, temperature / max(1, members)),
            np.full(len(views), _HEAD_PRIOR * texts / (texts + _HEAD_ROWS * labels)),
        ]
    )
    log_p = _pooled(scores, first[:members])
    seen = [
        View.of(view, task.weights, centre)
        for view, centre in zip(views, task.centres, strict=True)
    ]
    fitted: list[Head] = []
    weights = first
    for _ in range(ROUNDS):
        truth = answers.truth(fuse(np.exp(log_p), answers.llm, matrix))
        pairs = [view.fit(truth) for view in seen]
        fitted = [head for head, _ in pairs]
        voices = np.concatenate([scores, *(left_out[:, :, None] for _, left_out in pairs)], axis=2)
        weights = _weigh(voices, truth, task.weights, first)
        log_p = _pooled(voices, weights)
        matrix = confusion(np.exp(log_p), answers, task.before)
    state = RuleState(
        member_weights=weights[:members],
        confusion=matrix,
        head_weights=weights[members:],
        heads=tuple(fitted),
        verdicts=texts,
    )
    return state, log_p


def _temper(task: _Task, scores: Array) -> tuple[float, Array]:
    """How far to believe the members' mean log-vote, and what that says of the LLM.

    The exponent that makes the answers likeliest; it starts from belief in the members, since a
    useless LLM and useless members explain a disagreement equally well.
    """
    answers, temperature = task.answers, 1.0
    if not scores.shape[2]:
        flat = np.full(scores.shape[:2], 1.0 / scores.shape[1])
        return 1.0, confusion(flat, answers, task.before)
    mean = scores.mean(axis=2)
    people, alone = answers.by_people, answers.by_llm & ~answers.by_people
    matrix = symmetric(FIRST_ACCURACY, scores.shape[1]) if task.before is None else task.before

    def loss(log_exponent: float) -> float:
        log_p = log_softmax(np.exp(log_exponent) * mean)
        told = log_p[people, answers.human[people]].sum() * HUMAN_WEIGHT
        said = (np.exp(log_p[alone]) * matrix[:, answers.llm[alone]].T).sum(axis=1)
        return float(_TEMPERATURE_RIDGE * log_exponent**2 - told - np.log(said).sum())

    found = minimize_scalar(loss, bounds=_LOG_TEMPERATURES, method="bounded")
    temperature = float(np.exp(found.x))
    matrix = confusion(np.exp(log_softmax(temperature * mean)), answers, task.before)
    return temperature, matrix


def _weigh(voices: Array, truth: Array, counts: Array, first: Array) -> Array:
    """Weights (voices,) >= 0 of a log-linear pool: cross-entropy to soft truth, ridge to `first`.

    Convex in the weights (log-linear pool: Genest and Zidek, Statistical Science 1986).
    """
    target = counts[:, None] * truth

    def loss(weights: Array) -> tuple[float, Array]:
        log_p = log_softmax(voices @ weights)
        slope = np.exp(log_p) * counts[:, None] - target
        pull = weights - first
        value = -float((target * log_p).sum()) + _RIDGE * float(pull @ pull)
        return value, np.einsum("tk,tkv->v", slope, voices) + 2 * _RIDGE * pull

    bounds = [(0.0, None)] * len(first)
    found = minimize(loss, first, jac=True, method="L-BFGS-B", bounds=bounds)
    weights: Array = found.x
    return weights


def _pooled(voices: Array, weights: Array) -> Array:
    return log_softmax(voices @ weights)


def _centres(evidence: Evidence, seen: Evidence | None) -> list[Array]:
    """The mean of each view over all texts that are at hand, shape (width,)."""
    parts = [evidence] if seen is None else [evidence, seen]
    views = zip(*(part.features for part in parts), strict=True)
    return [np.concatenate(view).mean(axis=0, dtype=np.float64) for view in views]
