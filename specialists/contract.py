"""The contract of generated code, and the test that it must pass before anybody believes it.

The code has `load(model_dir)` and `annotate(model, texts)`, which returns for each text a dict from
each label of the project to its probability. The test runs it in the sandbox and reports what was
seen, check by check. It knows no model: what the built-in path does with it comes in as data.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from specialists.errors import SandboxError
from specialists.sandbox import FORM, Answers, Sandbox
from specialists.types import LabelSet

Votes = npt.NDArray[np.float64]  # (texts, labels)
Annotate = Callable[[Sequence[str]], Answers]

MIN_SPEED = 0.2
"""Share of the built-in path's speed that is enough."""
MIN_AGREEMENT = 0.99
"""Share of texts that get the label of the built-in path; as for other runtimes (parity.py)."""
_SUM_TOLERANCE = 1e-3
_SAME_TOLERANCE = 1e-6  # two runs of the same batch
_BATCH_TOLERANCE = 1e-3  # padding changes the order of sums
_CHOSEN = 0.5  # multiple choice: a label is said from this probability on
_BATCH = 16  # what a batch holds when a committee is asked, more or less
_RUNS = 3  # the fastest counts: others disturb
_LONG = "This sentence is said again and again. " * 2600

PROBES = (
    "I love this film, it made my day.",
    "The worst service that I have ever had; nobody answered and the food was cold.",
    "The train leaves at ten past eight from platform four.",
    "Are you serious? You people never learn.",
    "It was fine, I guess. Nothing special, nothing bad.",
    "Thanks a lot for the quick help!",
    "Profits fell by a third in the second quarter, the company said on Monday.",
    "ok",
    "Ich weiß nicht, ob mir das gefällt.",
    "C'est une très bonne idée, merci beaucoup !",
    "これは素晴らしい映画です。",
    "😀😀😀 so happy right now",
    "@someone see https://example.org/a?b=c #wow",
    'He said "no" and then {left} <the> room\\n\ttwice.',
    "Please stop sending me these messages, or I will report you.",
    "A long day at the office, a short walk home, a cup of tea, and then to bed with a good book.",
)
"""Texts of many kinds, used beside the project's own."""


@dataclass(frozen=True)
class BuiltIn:
    """What the built-in path does with the same model and texts.

    `votes` (texts, labels) are None where it cannot vote on the project's labels.
    """

    texts_per_s: float
    votes: Votes | None = None


@dataclass(frozen=True)
class Check:
    """One point of the contract: whether it holds, and what was seen."""

    name: str
    passed: bool
    seen: str


@dataclass(frozen=True)
class Report:
    """All that was tested."""

    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether every check did."""
        return all(check.passed for check in self.checks)

    @property
    def problems(self) -> str:
        """What to correct, a paragraph each."""
        return "\n".join(f"{one.name}: {one.seen}" for one in self.checks if not one.passed)

    def to_json(self) -> list[dict[str, Any]]:
        """A plain JSON form."""
        return [asdict(check) for check in self.checks]


def examine(
    code: str,
    model_dir: Path,
    labels: LabelSet,
    texts: Sequence[str],
    built_in: Callable[[Sequence[str]], BuiltIn],
) -> Report:
    """Run a module in the sandbox and test it; `texts` are the project's own, any number.

    Whatever goes wrong is in the report. Raises NoIsolation, and what `built_in` raises.
    """
    try:
        sandbox = Sandbox(code, model_dir)
    except SandboxError as error:
        return Report((Check("syntax", False, str(error)),))
    try:
        return examine_answers(sandbox.annotate, labels, texts, built_in)
    finally:
        sandbox.close()


def examine_answers(
    annotate: Annotate,
    labels: LabelSet,
    texts: Sequence[str],
    built_in: Callable[[Sequence[str]], BuiltIn],
) -> Report:
    """Test whatever annotates by what it answers; as `examine`."""
    probes = list(dict.fromkeys([*PROBES, *texts]))
    test = _Test(annotate, labels, probes)
    checks = [test.form()]
    if checks[0].passed:
        checks.append(test.all_texts())
    if checks[-1].passed:
        checks += [test.extremes(), test.repetition(), test.batches(), test.order()]
        checks += [test.difference()]
        theirs = built_in(probes)
        checks.append(test.speed(theirs.texts_per_s))
        if theirs.votes is not None:
            checks.append(test.agreement(theirs.votes))
    return Report(tuple(checks))


class _Test:
    """The checks, over one set of probes."""

    def __init__(self, annotate: Annotate, labels: LabelSet, probes: Sequence[str]) -> None:
        self._annotate = annotate
        self._labels = labels
        self._probes = probes
        self._votes: Votes = np.empty((0, 0))

    def form(self) -> Check:
        """One result a text, over exactly the labels."""

        def seen() -> tuple[bool, str]:
            self._ask(PROBES)
            return True, f"{len(PROBES)} texts answered over {', '.join(self._labels.names)}"

        return _check("form", seen, words=True)

    def all_texts(self) -> Check:
        """The same of the project's texts; keeps the votes for the other checks."""

        def seen() -> tuple[bool, str]:
            self._votes = self._ask(self._probes)
            return True, f"{len(self._probes)} texts answered, the project's among them"

        return _check("texts of the project", seen)

    def extremes(self) -> Check:
        """Empty and very long texts are answered like others."""

        def seen() -> tuple[bool, str]:
            for text in ("", " \n", _LONG):
                self._ask([text])
            self._ask(["", _LONG, "ok"])
            return True, f"empty, blank and {len(_LONG)} characters answered, alone and together"

        return _check("empty and long texts", seen, words=True)

    def repetition(self) -> Check:
        """The same batch gets the same answer."""
        return self._same("deterministic", _SAME_TOLERANCE, lambda: self._ask(self._probes))

    def batches(self) -> Check:
        """A text gets the same answer alone and among others."""

        def alone() -> Votes:
            return np.concatenate([self._ask([text]) for text in self._probes])

        return self._same("batch size", _BATCH_TOLERANCE, alone)

    def order(self) -> Check:
        """A text gets the same answer at another place."""
        return self._same("order", _BATCH_TOLERANCE, lambda: self._ask(self._probes[::-1])[::-1])

    def difference(self) -> Check:
        """The answer has to do with the text."""
        spread = float(np.ptp(self._votes, axis=0).max())
        return Check(
            "depends on the text",
            spread > _SAME_TOLERANCE,
            f"probabilities of one label differ by {spread:.6f} at most between texts",
        )

    def speed(self, built_in: float) -> Check:
        """Not much slower than the built-in path; both in texts a second."""

        def seen() -> tuple[bool, str]:
            own = texts_per_s(self._ask, self._probes)
            least = MIN_SPEED * built_in
            return own >= least, f"{own:.1f} texts/s, built-in {built_in:.1f}, at least {least:.1f}"

        return _check("speed", seen)

    def agreement(self, built_in: Votes) -> Check:
        """The labels of the built-in path."""
        same = np.all(self._chosen(self._votes) == self._chosen(built_in), axis=1)
        share = float(same.mean())
        return Check(
            "labels of the built-in path",
            share >= MIN_AGREEMENT,
            f"the same on {share:.3f} of {len(same)} texts, at least {MIN_AGREEMENT}",
        )

    def _same(self, name: str, tolerance: float, again: Callable[[], Votes]) -> Check:
        def seen() -> tuple[bool, str]:
            difference = float(np.abs(again() - self._votes).max())
            text = f"probabilities differ by {difference:.6f} at most, allowed is {tolerance:g}"
            return difference <= tolerance, text

        return _check(name, seen)

    def _chosen(self, votes: Votes) -> npt.NDArray[np.bool_]:
        least = _CHOSEN if self._labels.multiple else votes.max(axis=1, keepdims=True)
        chosen: npt.NDArray[np.bool_] = votes >= least
        return chosen

    def _ask(self, texts: Sequence[str]) -> Votes:
        """Votes of any number of texts, a batch at a time."""
        batches = [texts[at : at + _BATCH] for at in range(0, len(texts), _BATCH)]
        return np.concatenate([to_votes(self._annotate(one), self._labels) for one in batches])


def to_votes(answers: Answers, labels: LabelSet) -> Votes:
    """Answers as votes (texts, labels); raises SandboxError when they break the contract."""
    for row in answers:
        _look(row, labels)
    rows = [[row[name] for name in labels.names] for row in answers]
    return np.array(rows, dtype=np.float64).reshape(len(rows), len(labels.names))


def texts_per_s(ask: Callable[[Sequence[str]], object], texts: Sequence[str]) -> float:
    """The speed of whatever answers texts, in batches, at its best of some runs."""
    taken = []
    for _ in range(_RUNS):
        started = time.perf_counter()
        for at in range(0, len(texts), _BATCH):
            ask(texts[at : at + _BATCH])
        taken.append(time.perf_counter() - started)
    return len(texts) / min(taken)


def _look(row: Mapping[str, float], labels: LabelSet) -> None:
    if set(row) != set(labels.names):
        raise SandboxError(
            f"a result has the labels {sorted(row)[:20]}, it must have exactly "
            f"{sorted(labels.names)}",
            FORM,
        )
    if not all(0 <= one <= 1 for one in row.values()):
        worst = max(row.values(), key=abs)
        raise SandboxError(f"a probability lies outside 0 to 1: {worst:g}", FORM)
    total = sum(row.values())
    if not labels.multiple and abs(total - 1) > _SUM_TOLERANCE:
        raise SandboxError(f"the probabilities of a text sum to {total:g}, not to 1", FORM)


def _check(name: str, seen: Callable[[], tuple[bool, str]], *, words: bool = False) -> Check:
    """Run a check; `words` of the code are told only where it read no text of the project."""
    try:
        return Check(name, *seen())
    except SandboxError as error:
        return Check(name, False, str(error) if words else error.kind)
