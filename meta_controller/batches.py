"""Questions that can wait go through the provider's batch API: half the price, up to a day.

A batch is in Redis, with the reservation of each question, before the provider hears of it, and
its id there before anybody waits: whoever finds it later goes on. Answers are stored and settled
as those of direct calls are, before anything else happens.

What is NOT covered: when a process dies between the provider's acceptance and our note of the id,
the batch is looked for in the provider's list. OpenAI keeps our key with it; Anthropic keeps
nothing of ours but the questions' ids, which show only once a batch has ended, so that until then
a batch of the same size may be taken for ours and waited for. A provider that lists a new batch
later than FIND_AFTER_S would be paid twice.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from redis.client import Pipeline

from meta_controller.answers import Answers, answer_key
from meta_controller.batch_store import RUN, Batch, BatchStore, Sent
from meta_controller.errors import LanguageModelError, Retryable
from meta_controller.language_model import (
    NO_TOKENS,
    Completion,
    LanguageModel,
    Prompt,
    Question,
    Reply,
)
from meta_controller.ledger import Call, Ledger, Purpose, Transaction
from meta_controller.prices import Price
from meta_controller.prompt import build_prompt
from meta_controller.wire import to_reply
from specialists.types import LabelSet

POLL_S = 60.0
"""Between two looks at a batch; most end within an hour."""
FIND_AFTER_S = 120.0
"""A batch whose id is not known is looked for no sooner: it may be on its way."""
GIVE_UP_S = 48 * 3600.0
"""Batches end within 24 hours; what is not told by then is charged as lost."""
TOGETHER = 100
"""Answers that are stored in one transaction."""

Result = Completion | LanguageModelError


class BatchApi(Protocol):
    """A provider's batches; every method asks the provider, and raises what `ask` raises."""

    def create(self, batch: Batch, prompts: Mapping[str, Prompt]) -> str:
        """Send prompts by custom id; returns the provider's id."""

    def find(self, batch: Batch) -> str | None:
        """The id of a batch that may have been created; None when it was not.

        Raises:
            Retryable: It cannot be told yet.
        """

    def results(self, batch: Batch) -> Iterator[tuple[str, Result]] | None:
        """Results by custom id, once it has ended; None until then."""


@dataclass(frozen=True)
class Ended:
    """How one question ended: a reply, or the error instead of it."""

    sent: Sent
    reply: Reply | None
    error: LanguageModelError | None


@dataclass
class Batches:
    """Sends questions of one project in batches and collects their answers."""

    model: LanguageModel
    api: BatchApi
    store: BatchStore
    ledger: Ledger
    answers: Answers
    price: Price
    clock: Callable[[], float] = time.time

    def submit(
        self, questions: Sequence[tuple[Question, Mapping[str, Any]]], transaction: Transaction
    ) -> int:
        """Send questions, each with the asker's own note; returns how many the caps allowed.

        Raises:
            LanguageModelError: Fatal or NoVerdict; nothing was sent, and nothing is reserved.
        """
        batch, calls, asked = self._plan(questions)
        if not calls:
            return 0

        def reserve(pipe: Pipeline) -> None:
            for call in calls:
                self.ledger.hold(pipe, call)
            self.store.put(pipe, batch)

        transaction(reserve)
        held = {call.id for call in self.ledger.holds(calls)}
        batch = replace(batch, sent={i: one for i, one in batch.sent.items() if i in held})
        transaction(lambda pipe: self._put_or_drop(pipe, batch))
        if not held:
            return 0
        try:
            found = self.api.create(batch, {i: build_prompt(asked[i]) for i in batch.sent})
        except Retryable:
            return len(held)  # it may have come through: it is looked for when it is due
        except LanguageModelError:
            self._undo(batch, transaction)
            raise
        transaction(lambda pipe: self.store.put(pipe, self._later(replace(batch, id=found))))
        return len(held)

    def collect(self, batch: Batch, transaction: Transaction) -> list[Ended] | None:
        """Store what a batch brought, settle it, and tell how its questions ended.

        None when it goes on, or was never sent. The batch is in the store until `forget`.

        Raises:
            LanguageModelError: Fatal: the provider cannot be asked about it.
        """
        if self.clock() - batch.at > GIVE_UP_S:
            return self._store(batch, {}, transaction)
        known: Batch | None = batch
        try:
            known = batch if batch.id else self._found(batch, transaction)
            results = self.api.results(known) if known else None
            if known and results is not None:
                return self._store(known, dict(results), transaction)
        except LanguageModelError as error:
            if not isinstance(error, Retryable):
                raise
        if known:
            later = self._later(self.store.get(known.key) or known)
            transaction(lambda pipe: self.store.put(pipe, later))
        return None

    def forget(self, batch: Batch, transaction: Transaction) -> None:
        """Drop a batch whose answers were taken up."""
        transaction(lambda pipe: self.store.drop(pipe, batch))

    def _plan(
        self, questions: Sequence[tuple[Question, Mapping[str, Any]]]
    ) -> tuple[Batch, list[Call], dict[str, Question]]:
        """Describe the batch and its calls; equal questions and answered ones are left out."""
        key, price, known = uuid.uuid4().hex, self.price.in_batches(), self.store.asked()
        calls, asked, sent = [], {}, {}
        for question, cargo in questions:
            answer = answer_key(self.model, question)
            if answer in known or self.answers.get(answer):
                continue
            known.add(answer)
            purpose = Purpose("review", question.control, question.task_ids)
            most = build_prompt(question).most_tokens
            call = self.ledger.plan(purpose, self.model, price, most, RUN + key)
            calls.append(call)
            asked[call.id] = question
            sent[call.id] = Sent(answer, question.control, cargo)
        now = self.clock()
        labels = {question.control: question.labels.to_json() for question, _ in questions}
        due, provider, model = now + FIND_AFTER_S, self.model.provider, self.model.model
        return Batch(key, provider, model, now, due, sent, labels), calls, asked

    def _found(self, batch: Batch, transaction: Transaction) -> Batch | None:
        """The batch with its id; None, with all given back, when it was never created."""
        found = self.api.find(batch)
        if found is None:
            self._undo(batch, transaction)
            return None
        known = replace(batch, id=found)
        transaction(lambda pipe: self.store.put(pipe, known))
        return known

    def _store(
        self, batch: Batch, brought: Mapping[str, Result], transaction: Transaction
    ) -> list[Ended]:
        """Keep the answers, some at a time; what the provider does not mention is lost."""
        held = {call.id: call for call in self.ledger.held(batch.run)}
        ended = {i: self._end(batch, one, brought.get(i)) for i, one in batch.sent.items()}
        ids = list(batch.sent)
        for start in range(0, len(ids), TOGETHER):
            some = ids[start : start + TOGETHER]

            def write(pipe: Pipeline, some: Sequence[str] = some) -> None:
                for one in some:
                    self._settle(pipe, batch, ended[one], held.get(one))

            transaction(write)
        return list(ended.values())

    def _end(self, batch: Batch, sent: Sent, result: Result | None) -> Ended:
        who = f"{batch.provider} {batch.model}"
        if result is None:
            text = f"{who}: a batch without a result: ask again"
            return Ended(sent, None, Retryable(text, "lost", maybe_billed=True))
        if isinstance(result, LanguageModelError):
            return Ended(sent, None, result)
        labels = LabelSet.from_json(batch.labels[sent.control])
        try:
            return Ended(sent, to_reply(Question(sent.control, "", labels), result, who), None)
        except LanguageModelError as error:
            return Ended(sent, None, error)

    def _settle(self, pipe: Pipeline, batch: Batch, ended: Ended, call: Call | None) -> None:
        reply, error = ended.reply, ended.error
        if reply:
            self.answers.put(pipe, ended.sent.answer_key, reply)
        if call is None:  # settled before a crash
            return
        waited_s = self.clock() - batch.at
        if error:
            self.ledger.settle(pipe, call, error.kind, error.tokens, waited_s, error.maybe_billed)
        else:
            outcome = "verdict" if reply and reply.labels else "unsure"
            tokens = reply.tokens if reply else NO_TOKENS
            self.ledger.settle(pipe, call, outcome, tokens, waited_s)

    def _undo(self, batch: Batch, transaction: Transaction) -> None:
        """Give everything back: the batch was not sent."""
        held = self.ledger.held(batch.run)

        def write(pipe: Pipeline) -> None:
            for call in held:
                self.ledger.release(pipe, call)
            self.store.drop(pipe, batch)

        transaction(write)

    def _put_or_drop(self, pipe: Pipeline, batch: Batch) -> None:
        (self.store.put if batch.sent else self.store.drop)(pipe, batch)

    def _later(self, batch: Batch) -> Batch:
        return replace(batch, due=self.clock() + POLL_S)
