"""Asks a language model about many hard samples at once, pays for each answer once.

Per question: a stored answer, else reserve -> ask -> ONE transaction that stores the answer and
settles the ledger, before anything else happens -> outcome. All writes run in the caller's
thread; only `ask` runs in others. Knows neither tasks nor Label Studio nor leases.
"""

from __future__ import annotations

import logging
import random
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

from redis.client import Pipeline

from meta_controller.answers import Answers, answer_key
from meta_controller.errors import (
    NO_VERDICT_KINDS,
    BudgetExceeded,
    Fatal,
    LanguageModelError,
    NoVerdict,
    Retryable,
)
from meta_controller.language_model import NO_TOKENS, LanguageModel, Question, Reply, Tokens
from meta_controller.ledger import Call, Ledger, Purpose, Transaction
from meta_controller.prices import Price, price_of
from meta_controller.prompt import build_prompt

log = logging.getLogger(__name__)

BACKOFF_S = 1.0
MAX_WAIT_S = 60.0
REJECTIONS_IN_A_ROW = 20
"""So many HTTP 400 without one answer in between are no matter of single samples: stop."""


@dataclass(frozen=True)
class Outcome:
    """How one question ended: a reply, or a failure in words.

    `kind` is "verdict", "unsure" or the failure's kind; `cached` means that no call was made.
    """

    question: Question
    reply: Reply | None
    failure: str | None
    kind: str
    cached: bool = False

    @property
    def again(self) -> bool:
        """Whether asking later can help: what failed was not this question."""
        return self.reply is None and self.kind not in NO_VERDICT_KINDS


@dataclass
class _Job:
    """Equal questions of one run: asked once, answered together."""

    key: str
    questions: list[Question]
    attempts: int = 0
    not_before_s: float = 0.0


@dataclass(frozen=True)
class _Result:
    reply: Reply | None
    error: LanguageModelError | None
    latency_s: float

    @property
    def kind(self) -> str:
        if self.error:
            return self.error.kind
        return "verdict" if self.reply and self.reply.labels else "unsure"

    @property
    def tokens(self) -> Tokens:
        source = self.error or self.reply
        return source.tokens if source else NO_TOKENS


class Reviewer:
    """Reviews questions with one language model, `concurrency` calls in flight.

    `attempts` bounds the calls per question; `clock` and `sleep` (seconds) pace the retries.
    """

    def __init__(
        self,
        model: LanguageModel,
        ledger: Ledger,
        answers: Answers,
        price: Price | None = None,
        concurrency: int = 16,
        attempts: int = 4,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.model = model
        self.ledger = ledger
        self.answers = answers
        self.price = price or price_of(model.provider, model.model, model.base_url)
        self.concurrency = concurrency
        self.attempts = attempts
        self.clock = clock
        self.sleep = sleep

    def review(
        self, questions: Sequence[Question], transaction: Transaction, run: str = ""
    ) -> Iterator[Outcome]:
        """Yield one outcome per question, as they complete.

        `transaction` runs all writes, fenced by the caller's lease; what it raises ends the run
        at once, with nothing else written. `run` names the owner of the reservations (see
        `Ledger.charge_lost`). Closing the iterator starts no new calls; those in flight are
        finished and stored.
        """
        return _Run(self, transaction, run).outcomes(questions)


@dataclass
class _Run:
    """The state of one `review`."""

    reviewer: Reviewer
    transaction: Transaction
    name: str
    waiting: deque[_Job] = field(default_factory=deque)
    in_flight: dict[Future[_Result], tuple[_Job, Call]] = field(default_factory=dict)
    pause_until_s: float = 0.0
    rejections: int = 0
    blocked: bool = False  # by the budget, until a call in flight ends
    stopped: tuple[str, str] | None = None  # kind, message

    def outcomes(self, questions: Sequence[Question]) -> Iterator[Outcome]:
        """Run to the end; see `Reviewer.review`."""
        jobs: dict[str, _Job] = {}
        for question in questions:
            key = answer_key(self.reviewer.model, question)
            jobs.setdefault(key, _Job(key, [])).questions.append(question)
        self.waiting.extend(jobs.values())
        pool = ThreadPoolExecutor(self.reviewer.concurrency, "review")
        try:
            while self.waiting or self.in_flight:
                yield from self._start(pool)
                yield from self._collect()
        except GeneratorExit:
            for future in wait(self.in_flight).done:
                self._settle(future)
            raise
        finally:
            # Not waiting: after a lost lease nothing that is still in flight may be written.
            pool.shutdown(wait=False, cancel_futures=True)

    def _start(self, pool: ThreadPoolExecutor) -> Iterator[Outcome]:
        """Start what may start now; yield what needs no call."""
        for _ in range(len(self.waiting)):
            if self.stopped:
                yield from self._end(self.waiting.popleft(), None, *self.stopped)
                continue
            now_s = self.reviewer.clock()
            if len(self.in_flight) >= self.reviewer.concurrency or now_s < self.pause_until_s:
                return
            job = self.waiting.popleft()
            if job.not_before_s > now_s:
                self.waiting.append(job)
            elif stored := self.reviewer.answers.get(job.key):
                yield from self._end_cached(job, stored)
            elif not self._ask(pool, job):
                return

    def _ask(self, pool: ThreadPoolExecutor, job: _Job) -> bool:
        """Reserve and start one call; False when the budget has no room for it now."""
        question = job.questions[0]
        model = self.reviewer.model
        prompt = build_prompt(question)
        task_ids = tuple(i for q in job.questions for i in q.task_ids)
        purpose = Purpose("review", question.control, task_ids)
        try:
            call = self.reviewer.ledger.reserve(
                purpose,
                model,
                self.reviewer.price,
                prompt.most_tokens,
                self.name,
                self.transaction,
            )
        except BudgetExceeded as error:
            self.waiting.appendleft(job)
            self.blocked = bool(self.in_flight)
            if not self.blocked:
                self.stopped = ("budget", str(error))
            return False
        job.attempts += 1
        self.in_flight[pool.submit(_attempt, model, question)] = (job, call)
        return True

    def _collect(self) -> Iterator[Outcome]:
        """Wait for the next call to end, or for the next retry to fall due."""
        if not self.in_flight:
            if self.waiting and not self.stopped:
                self.reviewer.sleep(max(0.0, self._due_s() - self.reviewer.clock()))
            return
        timeout_s = None
        full = len(self.in_flight) >= self.reviewer.concurrency
        if self.waiting and not (full or self.blocked):
            timeout_s = max(0.0, self._due_s() - self.reviewer.clock())
        self.blocked = False
        for future in wait(self.in_flight, timeout_s, FIRST_COMPLETED).done:
            job, result = self._settle(future)
            yield from self._after(job, result)

    def _due_s(self) -> float:
        return max(self.pause_until_s, min(job.not_before_s for job in self.waiting))

    def _settle(self, future: Future[_Result]) -> tuple[_Job, _Result]:
        """Store the answer and settle the ledger, in one transaction."""
        job, call = self.in_flight.pop(future)
        result = future.result()
        in_full = bool(result.error and result.error.maybe_billed)

        def write(pipe: Pipeline) -> None:
            if result.reply:
                self.reviewer.answers.put(pipe, job.key, result.reply)
                self._count_cached(pipe, len(job.questions) - 1)
            self.reviewer.ledger.settle(
                pipe, call, result.kind, result.tokens, result.latency_s, in_full
            )

        self.transaction(write)
        return job, result

    def _after(self, job: _Job, result: _Result) -> Iterator[Outcome]:
        """Decide on a settled call: outcome, retry, or the end of the run."""
        error = result.error
        self._watch_rejections(result)
        if isinstance(error, Fatal):
            self.stopped = (error.kind, str(error))
        if isinstance(error, Retryable) and job.attempts < self.reviewer.attempts:
            if not self.stopped:
                self._retry_later(job, error)
                return
        yield from self._end(job, result.reply, result.kind, str(error) if error else None)

    def _watch_rejections(self, result: _Result) -> None:
        self.rejections = self.rejections + 1 if result.kind == "rejected" else 0
        if self.rejections >= REJECTIONS_IN_A_ROW:
            self.stopped = ("rejected", f"{self.rejections} rejections in a row: {result.error}")

    def _retry_later(self, job: _Job, error: Retryable) -> None:
        """Exponential backoff with full jitter, never before Retry-After (capped).

        Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
        """
        now_s = self.reviewer.clock()
        if error.retry_after_s is None:
            delay_s = random.uniform(0, min(MAX_WAIT_S, BACKOFF_S * 2**job.attempts))
        else:
            delay_s = min(MAX_WAIT_S, error.retry_after_s)
            # The provider's word is for all of its calls: new ones would only be turned away.
            self.pause_until_s = max(self.pause_until_s, now_s + delay_s)
        job.not_before_s = now_s + delay_s
        self.waiting.append(job)

    def _end(
        self, job: _Job, reply: Reply | None, kind: str, failure: str | None
    ) -> Iterator[Outcome]:
        """One outcome per equal question; all but the first cost nothing."""
        for number, question in enumerate(job.questions):
            yield Outcome(question, reply, failure, kind, cached=bool(reply and number))

    def _end_cached(self, job: _Job, reply: Reply) -> Iterator[Outcome]:
        self.transaction(lambda pipe: self._count_cached(pipe, len(job.questions)))
        kind = "verdict" if reply.labels else "unsure"
        for question in job.questions:
            yield Outcome(question, reply, None, kind, cached=True)

    def _count_cached(self, pipe: Pipeline, questions: int) -> None:
        if questions:
            self.reviewer.ledger.count_cached(pipe, questions)


def _attempt(model: LanguageModel, question: Question) -> _Result:
    """Ask once, in a pool thread; every exception becomes a result, so no call goes unsettled."""
    started_s = time.monotonic()
    try:
        reply, error = model.ask(question), None
    except LanguageModelError as failure:
        reply, error = None, failure
    except Exception as bug:  # its text may hold the task's: only its class is told
        log.error("%s %s: %s while asking", model.provider, model.model, type(bug).__name__)
        message = f"{model.provider} {model.model}: {type(bug).__name__} while asking: report it"
        reply, error = None, NoVerdict(message, "internal error", maybe_billed=True)
    return _Result(reply, error, time.monotonic() - started_s)
