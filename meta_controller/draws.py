"""Ask every question several times: where answers differ, the model is not sure.

For providers that tell no likelihoods. The label given most often stands, and the share of askings
that gave it is the confidence (self-consistency: Wang et al., arXiv 2203.11171). Every asking is
stored and paid like any other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import replace

from meta_controller.language_model import Question
from meta_controller.ledger import Ledger, Transaction
from meta_controller.reviewer import Outcome, Reviewer


class Draws:
    """Reviews as its reviewer does, asking `times` times."""

    def __init__(self, reviewer: Reviewer, times: int) -> None:
        self._reviewer = reviewer
        self._times = times

    @property
    def ledger(self) -> Ledger:
        """What the calls are paid through."""
        return self._reviewer.ledger

    def review(
        self, questions: Sequence[Question], transaction: Transaction, run: str = ""
    ) -> Generator[Outcome]:
        """Yield one outcome per question; see `Reviewer.review`."""
        draws = {
            id(draw): (question, draw)
            for question in questions
            for draw in (replace(question, draw=number) for number in range(self._times))
        }
        found: dict[int, list[Outcome]] = {id(question): [] for question in questions}
        asked = [draw for _, draw in draws.values()]
        with closing(self._reviewer.review(asked, transaction, run)) as outcomes:
            for outcome in outcomes:
                question, _ = draws[id(outcome.question)]
                mine = found[id(question)]
                mine.append(outcome)
                if len(mine) == self._times:
                    yield _together(question, mine)


def _together(question: Question, outcomes: Sequence[Outcome]) -> Outcome:
    """What several askings of one question come to; failed ones agree with nobody."""
    askings, cached = sum(one.askings for one in outcomes), all(one.cached for one in outcomes)
    replies = [one.reply for one in outcomes if one.reply]
    if not replies:
        return replace(outcomes[0], question=question, askings=askings)
    labels, times = Counter(reply.labels for reply in replies).most_common(1)[0]
    first = next(reply for reply in replies if reply.labels == labels)
    reply = replace(first, confidence=times / len(outcomes))
    kind = "verdict" if labels else "unsure"
    return Outcome(question, reply, None, kind, cached, askings)
