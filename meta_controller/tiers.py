"""Two models: a cheap one first, and a stronger one where the cheap one should not decide.

That is where it is unsure, where its confidence is low, and where it contradicts a committee that
is sure. Each call is in the ledger under its own model and price; the stronger answer stands.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Protocol

from meta_controller.language_model import Question
from meta_controller.ledger import Ledger, Transaction
from meta_controller.reviewer import Outcome

LOW_CONFIDENCE = 0.7
"""Below this a label is asked again: a coin would give 0.5 between two labels, and a model that is
not sure of three says about this much. Not calibrated: it only decides who answers."""
SURE_COMMITTEE = 0.9
"""A committee that gives a label this much and is contradicted: one of the two is badly wrong."""


class Reviews(Protocol):
    """Whoever reviews questions and pays through a ledger: `Reviewer`, `Draws`, `Tiers`."""

    @property
    def ledger(self) -> Ledger:
        """What the calls are paid through."""

    def review(
        self, questions: Sequence[Question], transaction: Transaction, run: str = ""
    ) -> Generator[Outcome]:
        """Yield one outcome per question; see `Reviewer.review`."""


class Tiers:
    """Reviews with `cheap`, and with `strong` what needs it."""

    def __init__(self, cheap: Reviews, strong: Reviews) -> None:
        self._cheap = cheap
        self._strong = strong

    @property
    def ledger(self) -> Ledger:
        """What the calls are paid through: one ledger for both."""
        return self._cheap.ledger

    def review(
        self, questions: Sequence[Question], transaction: Transaction, run: str = ""
    ) -> Generator[Outcome]:
        """Yield one outcome per question; those that go to the stronger model come last."""
        open_ones: dict[int, Outcome] = {}
        with closing(self._cheap.review(questions, transaction, run)) as outcomes:
            for outcome in outcomes:
                if needs_stronger(outcome):
                    open_ones[id(outcome.question)] = outcome
                else:
                    yield outcome
        asked = [outcome.question for outcome in open_ones.values()]
        with closing(self._strong.review(asked, transaction, run)) as outcomes:
            for outcome in outcomes:
                yield _final(open_ones[id(outcome.question)], outcome)


def needs_stronger(outcome: Outcome) -> bool:
    """Whether the cheap model's answer should not stand."""
    reply, committee = outcome.reply, outcome.question.committee
    if reply is None:
        return False
    if not reply.labels or _low(reply.confidence):
        return True
    if not committee or max(committee) < SURE_COMMITTEE:
        return False
    sure_of = outcome.question.labels.names[committee.index(max(committee))]
    return sure_of not in reply.labels


def _low(confidence: float | None) -> bool:
    return confidence is not None and confidence < LOW_CONFIDENCE


def _final(first: Outcome, second: Outcome) -> Outcome:
    """The stronger answer; the first where the stronger model gave none and will give none."""
    waits = second.again and second.kind != "budget"
    stands = second if second.reply or waits else first
    cached = first.cached and second.cached
    return replace(stands, cached=cached, askings=first.askings + second.askings)
