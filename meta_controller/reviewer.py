"""Asks a language model about many hard samples at once, pays for each answer once.

Per question: a stored answer, else reserve -> ask, alone or with others in one prompt -> ONE
transaction that stores the answers and settles the ledger, before anything else happens -> outcome.
A text that is clearly an attack on the model is not asked about. All writes run in the caller's
thread; only `attempt` runs in others. Knows neither tasks nor Label Studio nor leases.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

from redis.client import Pipeline

from meta_controller.answers import Answers, answer_key
from meta_controller.attempt import Result, attempt, prompt_for
from meta_controller.errors import (
    NO_VERDICT_KINDS,
    SUSPICIOUS,
    BudgetExceeded,
    Fatal,
    LanguageModelError,
    Retryable,
)
from meta_controller.injection import Suspicion, suspicion
from meta_controller.language_model import LanguageModel, Question, Reply, Tokens
from meta_controller.ledger import Call, Ledger, Transaction, about
from meta_controller.packing import arranged
from meta_controller.prices import Price, price_of
from meta_controller.waiting import Job, Waiting

BACKOFF_S = 1.0
MAX_WAIT_S = 60.0
REJECTIONS_IN_A_ROW = 20
"""So many HTTP 400 without one answer in between are no matter of single samples: stop."""


@dataclass(frozen=True)
class Outcome:
    """How one question ended: a reply, or a failure in words.

    `kind` is "verdict", "unsure" or the failure's kind; `cached` means that a stored answer served;
    `askings` is how often a model was asked for it.
    """

    question: Question
    reply: Reply | None
    failure: str | None
    kind: str
    cached: bool = False
    askings: int = 1

    @property
    def again(self) -> bool:
        """Whether asking later can help: what failed was not this question."""
        return self.reply is None and self.kind not in NO_VERDICT_KINDS


class Reviewer:
    """Reviews questions with one language model, `concurrency` calls in flight.

    `attempts` bounds the calls per question; `pack` the questions per call; `clock` and `sleep`
    (seconds) pace the retries.
    """

    def __init__(
        self,
        model: LanguageModel,
        ledger: Ledger,
        answers: Answers,
        price: Price | None = None,
        concurrency: int = 16,
        attempts: int = 4,
        pack: int = 1,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.model = model
        self.ledger = ledger
        self.answers = answers
        self.price = price or price_of(model.provider, model.model, model.base_url)
        self.concurrency = concurrency
        self.attempts = attempts
        self.pack = pack
        self.clock = clock
        self.sleep = sleep

    def review(
        self, questions: Sequence[Question], transaction: Transaction, run: str = ""
    ) -> Generator[Outcome]:
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
    waiting: Waiting = field(default_factory=Waiting)
    in_flight: dict[Future[Result], tuple[list[Job], Call]] = field(default_factory=dict)
    pause_until_s: float = 0.0
    rejections: int = 0
    blocked: bool = False  # by the budget, until a call in flight ends
    stopped: tuple[str, str] | None = None  # kind, message

    def __post_init__(self) -> None:
        self.pack = self.reviewer.pack  # less once the budget has no room for as many

    def outcomes(self, questions: Sequence[Question]) -> Generator[Outcome]:
        """Run to the end; see `Reviewer.review`."""
        jobs: dict[str, Job] = {}
        for question in questions:
            key = answer_key(self.reviewer.model, question)
            jobs.setdefault(key, Job(key, [])).questions.append(question)
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
            if not self.waiting:  # some went along with others
                return
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
            elif (found := _suspicion(job.question)).level == "clear":
                why = f"Looks like an attack on the LLM ({', '.join(found.signs)})"
                yield from self._end(job, None, SUSPICIOUS, why, askings=0)
            elif not self._ask(pool, [job, *self._company(job, now_s)]):
                return

    def _company(self, job: Job, now_s: float) -> list[Job]:
        answers = self.reviewer.answers
        return self.waiting.company(job, self.pack, now_s, lambda one: bool(answers.get(one.key)))

    def _ask(self, pool: ThreadPoolExecutor, jobs: list[Job]) -> bool:
        """Reserve and start one call; False when the budget has no room for it now."""
        order = {id(job.question): job for job in jobs}
        turn = max(job.attempts for job in jobs)
        questions = arranged([job.question for job in jobs], turn)
        jobs = [order[id(one)] for one in questions]
        prompt = prompt_for(questions)
        try:
            call = self._reserve(jobs, prompt.most_tokens)
        except BudgetExceeded as error:
            self.waiting.extendleft(reversed(jobs))
            self.blocked = bool(self.in_flight)
            if not self.blocked and len(jobs) > 1:
                self.pack = len(jobs) // 2
                return True
            if not self.blocked:
                self.stopped = ("budget", str(error))
            return False
        for job in jobs:
            job.attempts += 1
        self.in_flight[pool.submit(attempt, self.reviewer.model, questions)] = (jobs, call)
        return True

    def _reserve(self, jobs: Sequence[Job], most: Tokens) -> Call:
        reviewer = self.reviewer
        purpose = about([question for job in jobs for question in job.questions])
        return reviewer.ledger.reserve(
            purpose, reviewer.model, reviewer.price, most, self.name, self.transaction
        )

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
            jobs, result = self._settle(future)
            yield from self._after(jobs, result)

    def _due_s(self) -> float:
        return max(self.pause_until_s, min(job.not_before_s for job in self.waiting))

    def _settle(self, future: Future[Result]) -> tuple[list[Job], Result]:
        """Store the answers and settle the ledger, in one transaction."""
        jobs, call = self.in_flight.pop(future)
        result = future.result()
        in_full = bool(result.error and result.error.maybe_billed)

        def write(pipe: Pipeline) -> None:
            for job, reply in zip(jobs, result.replies, strict=True):
                if reply:
                    self.reviewer.answers.put(pipe, job.key, reply)
                    self._count_cached(pipe, len(job.questions) - 1)
            self.reviewer.ledger.settle(
                pipe, call, result.kind, result.tokens, result.latency_s, in_full
            )
            self.reviewer.ledger.count_more(pipe, result.more)

        self.transaction(write)
        return jobs, result

    def _after(self, jobs: Sequence[Job], result: Result) -> Iterator[Outcome]:
        """Decide on a settled call: outcomes, another try, or the end of the run."""
        error = result.error
        self._watch_rejections(result)
        if isinstance(error, Fatal):
            self.stopped = (error.kind, str(error))
        if isinstance(error, Retryable) and not self.stopped:
            again = [job for job in jobs if job.attempts < self.reviewer.attempts]
            self._retry_later(again, error)
            jobs = [job for job in jobs if job.attempts >= self.reviewer.attempts]
            yield from (end for job in jobs for end in self._failed(job, error))
            return
        for job, reply in zip(jobs, result.replies, strict=True):
            if reply:
                yield from self._end(job, reply, "verdict" if reply.labels else "unsure", None)
            elif len(jobs) > 1 and not isinstance(error, Fatal | Retryable):
                job.alone = True
                self.waiting.append(job)
            elif error:
                yield from self._failed(job, error)

    def _failed(self, job: Job, error: LanguageModelError) -> Iterator[Outcome]:
        return self._end(job, None, error.kind, str(error))

    def _watch_rejections(self, result: Result) -> None:
        self.rejections = self.rejections + 1 if result.kind == "rejected" else 0
        if self.rejections >= REJECTIONS_IN_A_ROW:
            self.stopped = ("rejected", f"{self.rejections} rejections in a row: {result.error}")

    def _retry_later(self, jobs: Sequence[Job], error: Retryable) -> None:
        """Exponential backoff with full jitter, never before Retry-After (capped).

        Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
        """
        if not jobs:
            return
        now_s = self.reviewer.clock()
        if error.retry_after_s is None:
            attempts = max(job.attempts for job in jobs)
            delay_s = random.uniform(0, min(MAX_WAIT_S, BACKOFF_S * 2**attempts))
        else:
            delay_s = min(MAX_WAIT_S, error.retry_after_s)
            # The provider's word is for all of its calls: new ones would only be turned away.
            self.pause_until_s = max(self.pause_until_s, now_s + delay_s)
        for job in jobs:
            job.not_before_s = now_s + delay_s
        self.waiting.extend(jobs)

    def _end(
        self, job: Job, reply: Reply | None, kind: str, failure: str | None, askings: int = 1
    ) -> Iterator[Outcome]:
        """One outcome per equal question; all but the first cost nothing."""
        for number, question in enumerate(job.questions):
            cached = bool(reply and number)
            asked = 0 if number else askings
            yield Outcome(question, reply, failure, kind, cached, asked)

    def _end_cached(self, job: Job, reply: Reply) -> Iterator[Outcome]:
        self.transaction(lambda pipe: self._count_cached(pipe, len(job.questions)))
        kind = "verdict" if reply.labels else "unsure"
        for question in job.questions:
            yield Outcome(question, reply, None, kind, cached=True, askings=0)

    def _count_cached(self, pipe: Pipeline, questions: int) -> None:
        if questions:
            self.reviewer.ledger.count_cached(pipe, questions)


def _suspicion(question: Question) -> Suspicion:
    return suspicion(question.text, question.labels.names)
