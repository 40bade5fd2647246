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
from meta_controller.attempt import Result, prompt_for
from meta_controller.batch_store import RUN, Batch, BatchStore, Sent
from meta_controller.errors import Fatal, LanguageModelError, Retryable
from meta_controller.injection import suspicion
from meta_controller.language_model import Completion, LanguageModel, Prompt, Question
from meta_controller.ledger import Call, Ledger, Transaction, about
from meta_controller.packing import arranged, fits_others, goes_along, prefix_of, together
from meta_controller.prices import Price
from meta_controller.wire import to_replies, to_reply
from specialists.types import LabelSet

POLL_S = 60.0
"""Between two looks at a batch; most end within an hour."""
FIND_AFTER_S = 120.0
"""A batch whose id is not known is looked for no sooner: it may be on its way."""
GIVE_UP_S = 48 * 3600.0
"""Batches end within 24 hours; what is not told by then is charged as lost."""
TOGETHER = 100
"""Answers that are stored in one transaction."""

Brought = Completion | LanguageModelError
"""What a provider gives for one prompt."""
_New = tuple[Question, Sent]


class BatchApi(Protocol):
    """A provider's batches; every method asks the provider, and raises what `ask` raises."""

    def create(self, batch: Batch, prompts: Mapping[str, Prompt]) -> str:
        """Send prompts by custom id; returns the provider's id."""

    def find(self, batch: Batch) -> str | None:
        """The id of a batch that may have been created; None when it was not.

        Raises:
            Retryable: It cannot be told yet.
        """

    def results(self, batch: Batch) -> Iterator[tuple[str, Brought]] | None:
        """Results by custom id, once it has ended; None until then."""


@dataclass(frozen=True)
class Ended:
    """How one question ended: with a stored answer, with an error, or to be asked by itself."""

    sent: Sent
    answered: bool
    error: LanguageModelError | None


@dataclass
class Batches:
    """Sends questions of one project in batches, up to `pack` in a prompt, and gets their answers.

    `clock` is in Unix seconds.
    """

    model: LanguageModel
    api: BatchApi
    store: BatchStore
    ledger: Ledger
    answers: Answers
    price: Price
    pack: int = 1
    clock: Callable[[], float] = time.time

    def submit(
        self, questions: Sequence[tuple[Question, Mapping[str, Any]]], transaction: Transaction
    ) -> int:
        """Send questions, each with the asker's own note; returns how many prompts were allowed.

        Raises:
            LanguageModelError: Fatal or NoVerdict; nothing was sent, and nothing is reserved.
        """
        batch, calls, prompts = self._plan(self._new(questions))
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
            found = self.api.create(batch, {i: prompts[i] for i in batch.sent})
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
            return self._keep(batch, {}, transaction)
        known: Batch | None = batch
        failure: LanguageModelError | None = None
        try:
            self._check_provider(batch)
            known = batch if batch.id else self._found(batch, transaction)
            results = self.api.results(known) if known else None
            if known and results is not None:
                return self._keep(known, dict(results), transaction)
        except LanguageModelError as error:
            failure = error
        if known:
            later = self._later(self.store.get(known.key) or known)
            transaction(lambda pipe: self.store.put(pipe, later))
        if failure and not isinstance(failure, Retryable):
            raise failure
        return None

    def _check_provider(self, batch: Batch) -> None:
        if batch.provider != self.model.provider:
            who = f"{batch.provider} {batch.model}"
            raise Fatal(f"{who}: has a batch: set LLM_PROVIDER back to fetch it", "other provider")

    def forget(self, batch: Batch, transaction: Transaction) -> None:
        """Drop a batch whose answers were taken up."""
        transaction(lambda pipe: self.store.drop(pipe, batch))

    def _new(self, questions: Sequence[tuple[Question, Mapping[str, Any]]]) -> list[_New]:
        """What is to be sent: no question twice, none that is answered, no clear attack."""
        known = {one.answer_key for one in self.store.questions()}
        new = []
        for question, cargo in questions:
            key = answer_key(self.model, question)
            attack = suspicion(question.text, question.labels.names).level == "clear"
            if key not in known and not attack and self.answers.get(key) is None:
                known.add(key)
                new.append((question, Sent(key, question.control, question.text, cargo)))
        return new

    def _plan(self, new: Sequence[_New]) -> tuple[Batch, list[Call], dict[str, Prompt]]:
        """Describe the batch, its calls and its prompts."""
        key, now, price = uuid.uuid4().hex, self.clock(), self.price.in_batches()
        calls, prompts, sent = [], {}, {}
        notes = {id(question): one for question, one in new}
        for questions in packed([question for question, _ in new], self.pack):
            prompt = prompt_for(questions)
            call = self.ledger.plan(
                about(questions), self.model, price, prompt.most_tokens, RUN + key
            )
            calls.append(call)
            prompts[call.id] = prompt
            sent[call.id] = [notes[id(question)] for question in questions]
        labels = {question.control: question.labels.to_json() for question, _ in new}
        provider, model = self.model.provider, self.model.model
        return Batch(key, provider, model, now, now + FIND_AFTER_S, sent, labels), calls, prompts

    def _found(self, batch: Batch, transaction: Transaction) -> Batch | None:
        """The batch with its id; None, with all given back, when it was never created."""
        found = self.api.find(batch)
        if found is None:
            self._undo(batch, transaction)
            return None
        known = replace(batch, id=found)
        transaction(lambda pipe: self.store.put(pipe, known))
        return known

    def _keep(
        self, batch: Batch, brought: Mapping[str, Brought], transaction: Transaction
    ) -> list[Ended]:
        """Keep the answers, some at a time; what the provider does not mention is lost."""
        held = {call.id: call for call in self.ledger.held(batch.run)}
        results = {i: self._result(batch, i, brought.get(i)) for i in batch.sent}
        ids = list(batch.sent)
        for start in range(0, len(ids), TOGETHER):
            some = ids[start : start + TOGETHER]

            def write(pipe: Pipeline, some: Sequence[str] = some) -> None:
                for one in some:
                    self._settle(pipe, batch.sent[one], results[one], held.get(one))

            transaction(write)
        return [
            Ended(one, reply is not None, results[i].error)
            for i, prompt in batch.sent.items()
            for one, reply in zip(prompt, results[i].replies, strict=True)
        ]

    def _result(self, batch: Batch, custom_id: str, brought: Brought | None) -> Result:
        """Read one prompt's answers as those of a direct call are read."""
        questions = [
            Question(one.control, one.text, LabelSet.from_json(batch.labels[one.control]))
            for one in batch.sent[custom_id]
        ]
        who, waited_s = f"{batch.provider} {batch.model}", self.clock() - batch.at
        if brought is None:
            text = f"{who}: a batch without a result: ask again"
            brought = Retryable(text, "lost", maybe_billed=True)
        if isinstance(brought, LanguageModelError):
            return Result((None,) * len(questions), brought, brought.tokens, waited_s)
        if len(questions) > 1:
            return Result(to_replies(questions, brought), None, brought.tokens, waited_s)
        try:
            return Result((to_reply(questions[0], brought, who),), None, brought.tokens, waited_s)
        except LanguageModelError as error:
            return Result((None,), error, error.tokens, waited_s)

    def _settle(
        self, pipe: Pipeline, sent: Sequence[Sent], result: Result, call: Call | None
    ) -> None:
        for one, reply in zip(sent, result.replies, strict=True):
            if reply:
                self.answers.put(pipe, one.answer_key, reply)
        if call:  # else it was settled before a crash
            in_full = bool(result.error and result.error.maybe_billed)
            self.ledger.settle(pipe, call, result.kind, result.tokens, result.latency_s, in_full)
            self.ledger.count_more(pipe, result.more)

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


def packed(questions: Sequence[Question], most: int) -> list[list[Question]]:
    """Share questions out to prompts of up to `most`, as direct calls are, first ones first."""
    packs: list[list[Question]] = []
    open_packs: dict[Any, list[Question]] = {}
    for group in together(questions, most):
        prefix = prefix_of(group)
        pack = open_packs.get(prefix)
        if pack and goes_along(pack, group, most):
            pack += group
            continue
        packs.append(list(group))
        if all(map(fits_others, group)):
            open_packs[prefix] = packs[-1]
    return [arranged(pack) for pack in packs]
