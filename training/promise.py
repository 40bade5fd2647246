"""The promise "at most so many of the accepted labels are wrong": from which confidence it is kept.

Audits are random tasks that a person answered unaided and that nothing was learned from. Thresholds
are tested on them one after the other, the strictest first, until one fails (Learn then Test with
fixed sequence testing: Angelopoulos, Bates, Candes, Jordan and Lei, arXiv 2110.01052). The product
tests again after every few audits, so each test is one that may be repeated at will
(training/intervals.py:evidence_below). It knows confidences, and right from wrong; no texts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.errors import TrainingError
from training.intervals import evidence_below

Array = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

CONFIDENCE = 0.9
"""How sure a verified promise is: one project in ten may break it."""
ACCEPT_NOTHING = 2.0
"""A threshold above every confidence."""

_STEPS = 50  # thresholds, at equal shares of the tasks
_SUREST = 0.1  # of the audits the first test takes at least, so that it does not drift with time
_AUDITS_MAX = 100_000  # a need beyond that is no use to anyone


@dataclass(frozen=True)
class Promise:
    """What can be said about the labels that are accepted without a person.

    Labels with a confidence of `accept_above` or more are accepted, `accepted_share` of the tasks;
    ACCEPT_NOTHING when audits show too many wrong labels among the surest. Not `verified`, it rests
    on the committee's own confidence. `audits` and `errors` count the audited tasks among the
    accepted ones (among the surest when nothing is accepted). `needed` more audited answers of any
    tasks would verify it if they turn out as the ones so far did: 0 when verified, None when more
    answers like these cannot.
    """

    target: float
    confidence: float
    accept_above: float
    verified: bool
    audits: int
    errors: int
    needed: int | None
    accepted_share: float

    def sentence(self) -> str:
        """Say it for people, in one sentence."""
        promise = f"At most {_percent(self.target)} of the accepted labels wrong"
        accepts = f"accepts {_percent(self.accepted_share)} of the tasks"
        if self.verified:
            return (
                f"{promise}, with {_percent(self.confidence)} confidence: verified on "
                f"{self.audits} audits ({self.errors} wrong); {accepts}."
            )
        if self.accept_above == ACCEPT_NOTHING:
            return (
                f"{promise}: not kept, {self.errors} of {self.audits} audited labels are wrong "
                "where the committee is surest; nothing is accepted."
            )
        if self.needed is None:
            need = f"{self.errors} of {self.audits} audited labels are wrong, too many"
        else:
            need = f"about {self.needed} more audited answers needed"
        return f"{promise}: not verified, {need}; {accepts} on the committee's own confidence."


def certify(
    population: npt.ArrayLike,
    audited: npt.ArrayLike,
    right: npt.ArrayLike,
    target: float,
    confidence: float = CONFIDENCE,
) -> Promise:
    """Choose the confidence from which labels are accepted so that at most `target` are wrong.

    `population` (tasks,) are the confidences of all decided tasks, audits among them; `audited`
    (audits,) those of the audits, `right` (audits,) whether the person gave the committee's label
    (the label that the task would show). The audits must be a random sample of the population.
    Raises TrainingError for a target or confidence outside (0, 1), NaN, or lengths that disagree.
    """
    for name, share in (("target", target), ("confidence", confidence)):
        if not 0 < share < 1:
            raise TrainingError(
                f"The {name} is {share}; give a share between 0 and 1, such as .05."
            )
    everyone, asked = _confidences("population", population), _confidences("audited", audited)
    correct = np.asarray(right, dtype=bool)
    if correct.shape != asked.shape:
        raise TrainingError(
            f"{correct.size} answers for {asked.size} audits; give one answer an audit."
        )
    return _Ladder(everyone, asked, correct, target, confidence).promise()


def first_needed(target: float, confidence: float = CONFIDENCE) -> int:
    """Count the audits that verify a promise when none of them is wrong.

    Raises TrainingError for a target or confidence outside (0, 1).
    """
    return _more(0, 0, target, confidence) or 0


class _Ladder:
    """Thresholds from the strictest down, with what was counted above each of them."""

    def __init__(
        self,
        population: Array,
        audited: Array,
        right: npt.NDArray[np.bool_],
        target: float,
        confidence: float,
    ) -> None:
        self._target, self._confidence = target, confidence
        self._everyone = np.sort(population)
        self._steps = _thresholds(population)
        self._audits = _at_least(audited, self._steps)
        self._errors = _at_least(audited[~right], self._steps)
        self._believed = np.flatnonzero(self._expected_errors() <= target)
        self._start = self._first_test(_SUREST * len(audited))

    def promise(self) -> Promise:
        """Test, or fall back on what the committee believes of itself."""
        if not len(self._everyone):
            # Labels that are each right with 1 - target keep the target together.
            needed = first_needed(self._target, self._confidence)
            above = 1.0 - self._target
            return Promise(self._target, self._confidence, above, False, 0, 0, needed, 0.0)
        verified = self._last_verified()
        if verified is not None:
            return self._promise(float(self._steps[verified]), verified, True)
        return self._unverified()

    def _first_test(self, surest: float) -> int | None:
        """The strictest threshold with enough audits; chosen without looking at the answers."""
        if len(self._believed):
            surest = min(surest, float(self._audits[self._believed[-1]]))
        least = max(first_needed(self._target, self._confidence), surest)
        enough = np.flatnonzero(self._audits >= least)
        return int(enough[0]) if len(enough) else None

    def _last_verified(self) -> int | None:
        """The lowest threshold that passes before the first that fails."""
        if self._start is None:
            return None
        passed = None
        for step in range(self._start, len(self._steps)):
            counts = int(self._errors[step]), int(self._audits[step])
            if not _verifies(*counts, self._target, self._confidence):
                break
            passed = step
        return passed

    def _unverified(self) -> Promise:
        """Accept what the committee believes to keep the target, unless audits deny it."""
        believed = self._believed
        if not len(believed):
            shown = len(self._steps) - 1 if self._start is None else self._start
            return self._promise(1.0 - self._target, shown, False)
        if self._start is not None and self._start in believed:
            believed = believed[believed == self._start]  # what failed its test is not stretched
        fits = believed[self._errors[believed] <= self._target * self._audits[believed]]
        if not len(fits):
            return self._promise(ACCEPT_NOTHING, int(believed[-1]), False)
        return self._promise(float(self._steps[fits[-1]]), int(fits[-1]), False)

    def _expected_errors(self) -> Array:
        """The share of wrong labels above each threshold, by the confidences themselves."""
        doubts = np.cumsum(1.0 - self._everyone[::-1])
        above = _at_least(self._everyone, self._steps)
        expected: Array = doubts[above - 1] / above
        return expected

    def _promise(self, accept_above: float, step: int, verified: bool) -> Promise:
        """Put together; `step` is where audits are counted."""
        errors, audits = int(self._errors[step]), int(self._audits[step])
        share = float((self._everyone >= self._steps[step]).mean())
        more = 0 if verified else _more(errors, audits, self._target, self._confidence)
        return Promise(
            target=self._target,
            confidence=self._confidence,
            accept_above=accept_above,
            verified=verified,
            audits=audits,
            errors=errors,
            needed=None if more is None else math.ceil(more / share),
            accepted_share=float((self._everyone >= accept_above).mean()),
        )


def _thresholds(population: Array) -> Array:
    """Confidences that occur, from the highest down, at equal shares of the tasks."""
    if not len(population):
        return np.zeros(0)
    shares = np.linspace(0.0, 1.0, _STEPS + 1)
    found: Array = np.unique(np.quantile(population, shares, method="inverted_cdf"))[::-1]
    return found


def _at_least(values: Array, thresholds: Array) -> Counts:
    """How many values are at or above each threshold, shape (thresholds,)."""
    return len(values) - np.searchsorted(np.sort(values), thresholds, side="left")


def _verifies(errors: int, audits: int, target: float, confidence: float) -> bool:
    return evidence_below(errors, audits, target) >= 1 / (1 - confidence)


def _more(errors: int, audits: int, target: float, confidence: float) -> int | None:
    """How many more audits verify it at the error rate so far; None when they never would."""

    def enough(n: int) -> bool:
        expected = math.ceil(errors * n / audits) if errors else 0
        return _verifies(expected, n, target, confidence)

    if errors >= target * audits and errors:
        return None
    high = max(audits, 1)
    while not enough(high):
        high *= 2
        if high > _AUDITS_MAX:
            return None
    low = max(audits - 1, high // 2 if high > audits else 0)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high - audits


def _confidences(name: str, values: npt.ArrayLike) -> Array:
    found = np.asarray(values, dtype=np.float64)
    if found.ndim != 1 or not ((found >= 0) & (found <= 1 + 1e-6)).all():  # NaN is neither
        raise TrainingError(f"The {name} holds something other than confidences; give 0 to 1 each.")
    return found


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
