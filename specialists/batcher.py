"""Texts of parallel requests join into batches of like length; every text gets one answer.

It knows committees as things that encode and forward, and texts by their length in tokens. Each
accepted text gets exactly one row of evidence or its request one exception: also when a forward
pass raises, memory runs out, time is up or the batcher closes. The threads start with the first
request and do not survive a fork: make the batcher in the process that uses it.

SpecialistError
└── BatcherError    the committee answered with a wrong number of rows: report it
    ├── Busy        ask again after `retry_after_s`
    ├── TooLate     ask for fewer texts at once, or give more time
    └── Closed      this process stops; ask another one
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Sequence, Sized
from dataclasses import dataclass

from specialists.batch_meter import BatchMeter, is_out_of_memory
from specialists.errors import SpecialistError
from specialists.evidence import Evidence
from specialists.waiting import Item, Observer, Request, Waiting

_HEAD_START_S = 30.0  # of urgent texts over bulk ones; those that waited longer go first again

_log = logging.getLogger(__name__)


class BatcherError(SpecialistError):
    """A text got no evidence for a reason that lies in the batching."""


class Busy(BatcherError):
    """Too much waits already."""

    def __init__(self, waiting: int, allowed: int, retry_after_s: int) -> None:
        super().__init__(
            f"{waiting} tokens wait, new requests are taken below {allowed}; "
            f"ask again in {retry_after_s} s."
        )
        self.retry_after_s = retry_after_s


class TooLate(BatcherError):
    """The caller's time was up first."""

    def __init__(self, timeout_s: float) -> None:
        super().__init__(
            f"There was no answer within {timeout_s:g} s; ask for fewer texts or give more time."
        )


class Closed(BatcherError):
    """The process stops."""

    def __init__(self) -> None:
        super().__init__("This process stops and takes no texts; ask another one or restart it.")


@dataclass(frozen=True)
class Load:
    """What the batcher does now: `batch_tokens` is its bound, halved when memory ran out."""

    padding_waste: float  # share of the tokens that went through the committee, 0..1
    batch_tokens: int
    waiting_tokens: int


class Batcher:
    """Runs the texts of all requests through their committees, on threads of its own."""

    def __init__(
        self,
        streams: int,
        batch_tokens: int,
        waiting_tokens: int,
        clock: Callable[[], float] = time.monotonic,
        on_start: Callable[[], None] | None = None,
    ) -> None:
        """Bound a batch (texts times the longest) and what waits; `on_start` runs in each thread.

        Urgent texts are bounded by the urgent ones that wait, so that bulk work never shuts them
        out: at most twice `waiting_tokens` wait, and what the last requests brought above that.

        Raises:
            ValueError: A bound is below 1.
        """
        if min(streams, batch_tokens, waiting_tokens) < 1:
            raise ValueError(
                f"streams={streams}, batch_tokens={batch_tokens} and waiting_tokens="
                f"{waiting_tokens} must be at least 1 each; raise the one that is below."
            )
        self._streams = streams
        self._meter = BatchMeter(batch_tokens)
        self._allowed = waiting_tokens
        self._clock = clock
        self._on_start = on_start
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)  # something waits, or the batcher closed
        self._room = threading.Condition(self._lock)  # less waits, or the batcher closed
        self._threads: list[threading.Thread] = []
        self._waiting = Waiting()
        self._closed = False

    def observe(
        self,
        committee: Observer,
        texts: Sequence[str],
        *,
        urgent: bool,
        timeout_s: float | None = None,
        patient: bool = False,
    ) -> list[Evidence]:
        """Observe texts, one row of evidence each, in order; urgent ones overtake bulk ones.

        Raises:
            Busy: Too much waits; never raised to a `patient` caller, who waits for room instead.
            TooLate: Time was up; texts that still waited never reach the committee.
            Closed: The batcher was closed before or meanwhile.
            Exception: What the committee raised for a batch with one of these texts.
        """
        if not texts:
            return []
        limit = math.inf if timeout_s is None else timeout_s
        finished = threading.Condition(self._lock)
        request = Request(len(texts), urgent, limit, self._clock() + limit, finished)
        with self._lock:  # refuse before the work of encoding
            self._wait_for_room(request, patient)
        encoded = committee.encode(texts)
        _check_count(len(encoded), len(texts))
        with self._lock:
            self._wait_for_room(request, patient)
            self._start_threads()
            self._add(committee, request, encoded)
            self._wait_for_rows(request)
        places = (request.rows[index] for index in range(request.count))
        return [evidence.row(row) for evidence, row in places]

    def load(self) -> Load:
        """How full and how wasteful it is now."""
        with self._lock:
            meter = self._meter
            return Load(meter.padding_waste, meter.batch_tokens, self._waiting.tokens())

    def close(self) -> None:
        """Refuse new texts, give `Closed` to those that wait, return when the last batch ended."""
        with self._lock:
            self._closed = True
            self._end((request, Closed()) for request in self._waiting.requests())
            self._work.notify_all()
        for thread in self._threads:
            thread.join()

    # What follows runs in the callers' threads and holds the lock.

    def _wait_for_room(self, request: Request, patient: bool) -> None:
        while True:
            if self._closed:
                raise Closed
            ahead = self._waiting.tokens(urgent_only=request.urgent)
            if ahead < self._allowed:
                return
            if not patient:
                raise Busy(ahead, self._allowed, self._retry_after_s(ahead))
            self._wait(self._room, request)

    def _wait(self, condition: threading.Condition, request: Request) -> None:
        left = request.deadline - self._clock()
        if left <= 0:
            raise TooLate(request.timeout_s)
        condition.wait(min(left, threading.TIMEOUT_MAX))

    def _retry_after_s(self, ahead: int) -> int:
        """Seconds until half of the bound is free, 1 to 60, at the speed measured so far."""
        speed = self._meter.tokens_per_s * self._streams
        seconds = (ahead - self._allowed / 2) / speed if speed else 0.0
        return min(60, max(1, math.ceil(seconds)))

    def _start_threads(self) -> None:
        while len(self._threads) < self._streams:
            name = f"batcher-{len(self._threads)}"
            thread = threading.Thread(target=self._serve, name=name, daemon=True)
            thread.start()
            self._threads.append(thread)

    def _add(self, committee: Observer, request: Request, encoded: Sequence[Sized]) -> None:
        request.due = self._clock() + (0.0 if request.urgent else _HEAD_START_S)
        items = [Item(request, i, one, max(1, len(one))) for i, one in enumerate(encoded)]
        self._waiting.add(committee, items)
        self._work.notify()

    def _wait_for_rows(self, request: Request) -> None:
        try:
            while not request.over:
                self._wait(request.finished, request)
            if request.error is not None:
                raise request.error
        finally:
            if not request.over:  # the caller gives up: late, or interrupted
                self._end([(request, TooLate(request.timeout_s))])
            request.error = None  # its traceback holds this frame

    def _end(self, errors: Iterable[tuple[Request, BaseException]]) -> None:
        """End requests early: their callers get the error, their texts wait no more."""
        for request, error in errors:
            if not request.over:
                request.over, request.error = True, error
                request.finished.notify()
        self._waiting.drop_over()
        self._room.notify_all()

    # What follows runs in the batcher's threads.

    def _serve(self) -> None:
        try:
            if self._on_start is not None:
                self._on_start()
        except Exception:
            _log.exception("batcher: a thread could not be set up and goes on as it is")
        while self._serve_batch():
            pass

    def _serve_batch(self) -> bool:
        """Run the next batch; False when the batcher is closed. Idle threads hold no batch."""
        with self._lock:
            while (batch := self._next_batch()) is None:
                if self._closed:
                    return False
                self._work.wait()
        committee, items = batch
        started = self._clock()
        try:
            evidence = committee.forward([item.encoded for item in items])
            _check_count(len(evidence), len(items))
        except BaseException as error:
            with self._lock:
                self._fail(committee, items, error)
        else:
            with self._lock:
                self._deliver(items, evidence)
                self._meter.passed([item.tokens for item in items], self._clock() - started)
        return True

    def _next_batch(self) -> tuple[Observer, list[Item]] | None:
        while self._waiting:
            committee, batch = self._waiting.take(self._meter.batch_tokens)
            self._room.notify_all()
            now = self._clock()
            late = {item.request for item in batch if item.request.deadline <= now}
            if late:
                self._end((request, TooLate(request.timeout_s)) for request in late)
            live = [item for item in batch if not item.request.over]
            if live:
                if self._waiting:
                    self._work.notify()  # another thread may take the next batch
                return committee, live
        return None

    def _fail(self, committee: Observer, items: Sequence[Item], error: BaseException) -> None:
        if len(items) == 1 or self._closed or not is_out_of_memory(error):
            self._end((item.request, error) for item in items)
            return
        self._meter.ran_out([item.tokens for item in items])
        most = self._meter.batch_tokens
        _log.warning("batcher: out of memory, a batch has at most %d tokens from now", most)
        live = [item for item in items if not item.request.over]
        if live:
            self._waiting.put_back(committee, live)

    def _deliver(self, items: Sequence[Item], evidence: Evidence) -> None:
        for row, item in enumerate(items):
            request = item.request
            request.rows[item.index] = evidence, row
            if len(request.rows) == request.count:
                request.over = True
                request.finished.notify()


def _check_count(given: int, asked: int) -> None:
    if given != asked:
        raise BatcherError(
            f"The committee gave {given} results for {asked} texts; it must give one each: "
            "report this as a bug."
        )
