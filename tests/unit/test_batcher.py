"""The batcher: requests share batches, urgent ones overtake, and every text gets one answer."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specialists.batch_meter import is_out_of_memory
from specialists.batcher import Batcher, BatcherError, Busy, Closed, TooLate
from specialists.evidence import Evidence

WAIT_S = 20.0


class Letters:
    """A committee whose vote tells the text: its length, its sum, and its first letter."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        return [[ord(letter) for letter in text] for text in texts]

    def forward(self, batch: Sequence[list[int]]) -> Evidence:
        self.batches.append(["".join(map(chr, ids)) for ids in batch])
        votes = [[[len(ids), sum(ids), (ids or [0])[0]]] for ids in batch]
        return Evidence(np.array(votes, dtype=np.float32), (np.zeros((len(batch), 2)),))


class Gated(Letters):
    """Its passes begin at once and end one by one, when they are let through."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = threading.Semaphore(0)
        self.gate = threading.Semaphore(0)

    def forward(self, batch: Sequence[list[int]]) -> Evidence:
        evidence = super().forward(batch)
        self.begun.release()
        assert self.gate.acquire(timeout=WAIT_S)
        return evidence

    def wait_for_pass(self) -> None:
        assert self.begun.acquire(timeout=WAIT_S)

    def let_all_through(self) -> None:
        self.gate.release(10_000)


class Failing(Gated):
    """Raises an error in every pass."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self._error = error

    def forward(self, batch: Sequence[list[int]]) -> Evidence:
        super().forward(batch)
        raise self._error


class Small(Letters):
    """Runs out of memory above some padded tokens."""

    def __init__(self, room: int, error: BaseException | None = None) -> None:
        super().__init__()
        self._room = room
        self._error = error or RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")

    def forward(self, batch: Sequence[list[int]]) -> Evidence:
        if len(batch) * max(map(len, batch)) > self._room:
            raise self._error
        return super().forward(batch)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def seen(rows: Sequence[Evidence]) -> list[list[float]]:
    assert all(len(row) == 1 for row in rows)
    return [row.votes[0, 0].tolist() for row in rows]


def expected(texts: Sequence[str]) -> list[list[float]]:
    return [[len(t), sum(map(ord, t)), ord(t[0]) if t else 0] for t in texts]


def until(condition: Callable[[], bool]) -> None:
    """Wait for what no event tells."""
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end, "the condition did not come true"
        time.sleep(0.001)


def until_waiting(batcher: Batcher, tokens: int) -> None:
    until(lambda: batcher.load().waiting_tokens == tokens)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as executor:
        yield executor


@pytest.fixture
def make(pool: ThreadPoolExecutor) -> Iterator[Callable[..., Batcher]]:
    """Makes batchers; afterwards all are closed and have left no thread."""
    made: list[Batcher] = []

    def build(
        streams: int = 1, batch_tokens: int = 100, waiting_tokens: int = 10_000, **more: object
    ) -> Batcher:
        made.append(Batcher(streams, batch_tokens, waiting_tokens, **more))  # type: ignore[arg-type]
        return made[-1]

    yield build
    for batcher in made:
        batcher.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("batcher-")]


@pytest.fixture
def gated() -> Iterator[Gated]:
    committee = Gated()
    yield committee
    committee.let_all_through()


Ask = Callable[..., "Future[list[Evidence]]"]


def asker(pool: ThreadPoolExecutor, batcher: Batcher) -> Ask:
    """Asks in another thread, and returns when the texts wait or run."""

    def ask(committee: Letters, texts: Sequence[str], urgent: bool = False, **more: object):  # type: ignore[no-untyped-def]
        before = batcher.load().waiting_tokens
        future = pool.submit(
            partial(batcher.observe, committee, texts, urgent=urgent, **more)  # type: ignore[arg-type]
        )
        until(lambda: batcher.load().waiting_tokens > before)
        return future

    return ask


def occupy(pool: ThreadPoolExecutor, batcher: Batcher, gated: Gated) -> Future[list[Evidence]]:
    """Keep one stream busy with a pass that does not end before it is let through."""
    future = pool.submit(partial(batcher.observe, gated, ["first"], urgent=True))
    gated.wait_for_pass()
    return future


def test_results_come_in_the_order_of_the_texts(make: Callable[..., Batcher]) -> None:
    texts = ["bbb", "", "a" * 50, "c", "dd", "a" * 300]
    batcher = make(streams=2)
    assert seen(batcher.observe(Letters(), texts, urgent=False)) == expected(texts)
    assert batcher.observe(Letters(), [], urgent=False) == []


def test_parallel_requests_share_a_batch(
    make: Callable[..., Batcher], pool: ThreadPoolExecutor, gated: Gated
) -> None:
    batcher = make()
    first = occupy(pool, batcher, gated)
    asked = [["x" * n] for n in range(1, 9)]
    others = [pool.submit(partial(batcher.observe, gated, t, urgent=True)) for t in asked]
    until_waiting(batcher, sum(range(1, 9)))
    gated.let_all_through()
    assert seen(first.result(WAIT_S)) == expected(["first"])
    assert [seen(one.result(WAIT_S)) for one in others] == [expected(texts) for texts in asked]
    assert [len(batch) for batch in gated.batches] == [1, 8]


def test_batches_keep_to_the_bound_and_join_like_lengths(
    make: Callable[..., Batcher], pool: ThreadPoolExecutor, gated: Gated
) -> None:
    batcher = make(batch_tokens=60)
    first = occupy(pool, batcher, gated)
    texts = ["a" * 3, "b" * 30, "c" * 20, "d" * 29, "e" * 4, "f" * 19, "g" * 21, "h" * 200]
    rest = asker(pool, batcher)(gated, texts)
    gated.let_all_through()
    assert seen(rest.result(WAIT_S)) == expected(texts)
    assert first.result(WAIT_S)
    lengths = [[len(text) for text in batch] for batch in gated.batches[1:]]
    # The oldest text decides which batch is first: "aaa", then those around the next one.
    assert lengths == [[3, 4, 19], [29, 30], [20, 21], [200]]
    assert batcher.load().padding_waste == pytest.approx(1 - 331 / (5 + 57 + 60 + 42 + 200))


def test_committees_and_classes_never_share_a_batch(
    make: Callable[..., Batcher], pool: ThreadPoolExecutor, gated: Gated
) -> None:
    batcher = make()
    occupy(pool, batcher, gated)
    ask, one, two = asker(pool, batcher), Letters(), Letters()
    asked = [(c, [name + tail], u) for c, name in ((one, "1"), (two, "2"))
             for tail, u in (("u", True), ("b", False), ("v", True), ("c", False))]  # fmt: skip
    futures = [ask(*each) for each in asked]
    gated.let_all_through()
    for future, (_, texts, _) in zip(futures, asked, strict=True):
        assert seen(future.result(WAIT_S)) == expected(texts)
    assert one.batches == [["1u", "1v"], ["1b", "1c"]]
    assert two.batches == [["2u", "2v"], ["2b", "2c"]]


def test_an_urgent_text_overtakes_bulk_work_at_the_next_batch(
    make: Callable[..., Batcher], pool: ThreadPoolExecutor, gated: Gated
) -> None:
    batcher = make(batch_tokens=10)
    ask = asker(pool, batcher)
    bulk = pool.submit(partial(batcher.observe, gated, ["bulk!"] * 8, urgent=False))
    gated.wait_for_pass()
    urgent = ask(gated, ["now"], urgent=True)
    gated.gate.release(2)  # the bulk batch that runs, then the urgent one
    assert seen(urgent.result(WAIT_S)) == expected(["now"])
    assert not bulk.done()
    gated.let_all_through()
    assert seen(bulk.result(WAIT_S)) == expected(["bulk!"] * 8)
    assert gated.batches[1] == ["now"]


def test_bulk_work_that_waited_30_seconds_goes_before_new_urgent_texts(
    make: Callable[..., Batcher], pool: ThreadPoolExecutor, gated: Gated
) -> None:
    clock = Clock()
    batcher = make(clock=clock)
    ask = asker(pool, batcher)
    occupy(pool, batcher, gated)
    asked = [ask(gated, ["bulk"])]
    for seconds in (29, 2):
        clock.now += seconds
        asked.append(ask(gated, [f"after {clock.now - 1000:g} s"], urgent=True))
        if seconds == 29:  # still within the head start: it is served first
            gated.gate.release()
            gated.wait_for_pass()
    gated.let_all_through()
    for future in asked:
        future.result(WAIT_S)
    assert gated.batches[1:] == [["after 29 s"], ["bulk"], ["after 31 s"]]


def test_streams_run_batches_at_the_same_time(
    make: Callable[..., Batcher], pool: ThreadPoolExecutor, gated: Gated
) -> None:
    started: list[str] = []
    batcher = make(
        streams=3, batch_tokens=1, on_start=lambda: started.append(threading.current_thread().name)
    )
    batcher.observe(Letters(), ["first"], urgent=True)
    until(lambda: len(batcher._work._waiters) == 3)  # type: ignore[attr-defined]  # all idle
    future = pool.submit(partial(batcher.observe, gated, ["a", "b", "c", "d"], urgent=False))
    for _ in range(3):
        gated.wait_for_pass()
    assert batcher.load().waiting_tokens == 1
    gated.let_all_through()
    assert seen(future.result(WAIT_S)) == expected("abcd")
    assert sorted(started) == ["batcher-0", "batcher-1", "batcher-2"]


def test_a_thread_that_cannot_be_set_up_still_serves(make: Callable[..., Batcher]) -> None:
    def fail() -> None:
        raise OSError("no such setting")

    assert seen(make(on_start=fail).observe(Letters(), ["a"], urgent=True)) == expected(["a"])


def test_a_full_queue_refuses_bulk_but_not_urgent_texts(
    make: Callable[..., Batcher], pool: ThreadPoolExecutor, gated: Gated
) -> None:
    batcher = make(waiting_tokens=10)
    ask = asker(pool, batcher)
    occupy(pool, batcher, gated)
    accepted = [ask(gated, ["x" * 9]), ask(gated, ["y" * 500])]  # less than the bound waited
    with pytest.raises(Busy, match="509 tokens wait, .* below 10; ask again in 1 s"):
        batcher.observe(gated, ["z"], urgent=False)
    accepted.append(ask(gated, ["u" * 10], urgent=True))
    with pytest.raises(Busy, match="10 tokens wait"):
        batcher.observe(gated, ["v"], urgent=True)
    gated.let_all_through()
    assert [len(one.result(WAIT_S)) for one in accepted] == [1, 1, 1]
    assert seen(batcher.observe(gated, ["z"], urgent=False)) == expected(["z"])


@pytest.mark.parametrize(("waiting", "retry_after_s"), [(10, 2), (55, 13), (900, 60)])
def test_busy_tells_when_half_of_the_bound_will_be_free(
    make: Callable[..., Batcher],
    pool: ThreadPoolExecutor,
    gated: Gated,
    waiting: int,
    retry_after_s: int,
) -> None:
    clock = Clock()
    batcher = make(waiting_tokens=10, clock=clock)
    measured = occupy(pool, batcher, gated)
    clock.now += 1.25  # 5 tokens: 4 a second
    gated.gate.release()
    measured.result(WAIT_S)
    occupy(pool, batcher, gated)
    asker(pool, batcher)(gated, ["x" * waiting])
    with pytest.raises(Busy) as caught:
        batcher.observe(gated, ["y"], urgent=False)
    assert caught.value.retry_after_s == retry_after_s
    gated.let_all_through()


def test_a_patient_caller_waits_for_room(
    make: Callable[..., Batcher], pool: ThreadPoolExecutor, gated: Gated
) -> None:
    encoded = threading.Event()
    batcher = make(waiting_tokens=10)
    occupy(pool, batcher, gated)
    asker(pool, batcher)(gated, ["x" * 10])

    class Told(Letters):
        def encode(self, texts: Sequence[str]) -> list[list[int]]:
            encoded.set()
            return super().encode(texts)

    patient = pool.submit(partial(batcher.observe, Told(), ["patient"], urgent=False, patient=True))
    with pytest.raises(TooLate):
        batcher.observe(gated, ["hurry"], urgent=False, patient=True, timeout_s=0.01)
    assert not encoded.is_set() and batcher.load().waiting_tokens == 10
    gated.let_all_through()
    assert seen(patient.result(WAIT_S)) == expected(["patient"])


def test_a_caller_whose_time_is_up_leaves_nothing_behind(
    make: Callable[..., Batcher], pool: ThreadPoolExecutor, gated: Gated
) -> None:
    batcher = make()
    first = occupy(pool, batcher, gated)
    other = asker(pool, batcher)(gated, ["other"])
    late = Letters()
    with pytest.raises(TooLate, match="within 0.01 s; ask for fewer texts or give more time"):
        batcher.observe(late, ["late"] * 100, urgent=False, timeout_s=0.01)
    with pytest.raises(TooLate):
        batcher.observe(gated, ["late"] * 100, urgent=False, timeout_s=0)
    assert batcher.load().waiting_tokens == len("other")
    gone = weakref.ref(late)
    del late
    gc.collect()
    assert gone() is None
    gated.let_all_through()
    assert first.result(WAIT_S) and seen(other.result(WAIT_S)) == expected(["other"])
    assert gated.batches == [["first"], ["other"]]


def test_expired_texts_are_dropped_before_the_pass(
    make: Callable[..., Batcher], pool: ThreadPoolExecutor, gated: Gated
) -> None:
    clock = Clock()
    batcher = make(clock=clock, batch_tokens=20)
    ask = asker(pool, batcher)
    occupy(pool, batcher, gated)
    late = ask(gated, ["late"] * 50, timeout_s=300)
    patient = ask(gated, ["calm"], timeout_s=400)
    clock.now += 300  # nobody is woken by it: the next batch finds out
    gated.let_all_through()
    with pytest.raises(TooLate, match="within 300 s"):
        late.result(WAIT_S)
    assert seen(patient.result(WAIT_S)) == expected(["calm"])
    assert gated.batches == [["first"], ["calm"]]


def test_a_text_that_runs_when_time_is_up_harms_nobody(
    make: Callable[..., Batcher], pool: ThreadPoolExecutor, gated: Gated
) -> None:
    batcher = make()
    with pytest.raises(TooLate):
        batcher.observe(gated, ["late"], urgent=True, timeout_s=0.05)
    gated.let_all_through()
    assert seen(batcher.observe(gated, ["next"], urgent=True)) == expected(["next"])


def test_closing_ends_what_waits_and_delivers_what_runs(
    make: Callable[..., Batcher], pool: ThreadPoolExecutor, gated: Gated
) -> None:
    batcher = make(waiting_tokens=10)
    running = occupy(pool, batcher, gated)
    waiting = asker(pool, batcher)(gated, ["x" * 10])
    patient = pool.submit(partial(batcher.observe, gated, ["p"], urgent=False, patient=True))
    closing = pool.submit(batcher.close)
    for one in (waiting, patient):
        with pytest.raises(Closed, match="stops and takes no texts"):
            one.result(WAIT_S)
    with pytest.raises(Closed):
        batcher.observe(gated, ["new"], urgent=True)
    assert not running.done() and not closing.done()
    gated.let_all_through()
    assert seen(running.result(WAIT_S)) == expected(["first"])
    closing.result(WAIT_S)
    assert gated.batches == [["first"]] and batcher.load().waiting_tokens == 0


@pytest.mark.parametrize("error", [ValueError("broken"), SystemExit(3)])
def test_an_error_reaches_the_texts_of_its_batch_only(
    make: Callable[..., Batcher], pool: ThreadPoolExecutor, gated: Gated, error: BaseException
) -> None:
    batcher = make(batch_tokens=10)
    occupy(pool, batcher, gated)
    ask, failing = asker(pool, batcher), Failing(error)
    failing.let_all_through()
    both = [ask(failing, ["aaaaa", "b" * 10]), ask(failing, ["ccccc"])]
    well = ask(gated, ["well"])
    gated.let_all_through()
    for future in both:
        assert future.exception(WAIT_S) is error
    assert seen(well.result(WAIT_S)) == expected(["well"])
    assert failing.batches == [["aaaaa", "ccccc"]]  # nobody wants the "b" of a failed request
    assert seen(batcher.observe(gated, ["after"], urgent=True)) == expected(["after"])


def test_a_wrong_number_of_rows_is_an_error_for_the_whole_batch(
    make: Callable[..., Batcher],
) -> None:
    class Short(Letters):
        def forward(self, batch: Sequence[list[int]]) -> Evidence:
            return super().forward(batch).rows([0])

    class Mute(Letters):
        def forward(self, batch: Sequence[list[int]]) -> Evidence:
            return None  # type: ignore[return-value]

    class Deaf(Letters):
        def encode(self, texts: Sequence[str]) -> list[list[int]]:
            return []

    batcher = make()
    with pytest.raises(BatcherError, match="gave 1 results for 2 texts"):
        batcher.observe(Short(), ["a", "b"], urgent=False)
    with pytest.raises(TypeError):
        batcher.observe(Mute(), ["a", "b"], urgent=False)
    with pytest.raises(BatcherError, match="gave 0 results for 1 texts"):
        batcher.observe(Deaf(), ["a"], urgent=False)
    assert batcher.load().waiting_tokens == 0


def test_lack_of_memory_halves_the_bound_and_the_work_goes_on(
    make: Callable[..., Batcher],
) -> None:
    small, texts = Small(room=30), [letter * 5 for letter in "abcdefghijklmnopqrst"]
    batcher = make(batch_tokens=100)
    assert seen(batcher.observe(small, texts, urgent=False)) == expected(texts)
    assert batcher.load().batch_tokens == 25
    assert sorted(text for batch in small.batches for text in batch) == texts
    assert small.batches[0] == texts[:5]  # put back to the front, in order
    # Memory that was short once may be there again: after 1,000 batches more is tried.
    for _ in range(1000 - len(small.batches)):
        assert batcher.load().batch_tokens == 25
        batcher.observe(small, ["a"], urgent=True)
    assert batcher.load().batch_tokens == 50


def test_lack_of_memory_for_one_text_is_that_text_s_error(make: Callable[..., Batcher]) -> None:
    class OutOfMemoryError(RuntimeError):
        """As torch names it."""

    small = Small(room=30, error=OutOfMemoryError())
    batcher = make(batch_tokens=100)
    with pytest.raises(OutOfMemoryError):
        batcher.observe(small, ["x" * 40], urgent=False)
    assert batcher.load().batch_tokens == 100
    assert seen(batcher.observe(small, ["x" * 20], urgent=False)) == expected(["x" * 20])


def test_lack_of_memory_while_closing_ends_the_batch(
    make: Callable[..., Batcher], pool: ThreadPoolExecutor
) -> None:
    failing, batcher = Failing(MemoryError()), make()
    future = pool.submit(partial(batcher.observe, failing, ["a", "b"], urgent=False))
    failing.wait_for_pass()
    closing = pool.submit(batcher.close)
    until(lambda: batcher._closed)
    failing.let_all_through()
    assert isinstance(future.exception(WAIT_S), MemoryError)
    closing.result(WAIT_S)
    assert failing.batches == [["a", "b"]]


def test_texts_that_lacked_memory_go_before_those_that_came_later(
    make: Callable[..., Batcher], pool: ThreadPoolExecutor
) -> None:
    class ShortOnce(Gated):
        def forward(self, batch: Sequence[list[int]]) -> Evidence:
            evidence = super().forward(batch)
            if len(self.batches) == 1:
                raise MemoryError
            return evidence

    committee, batcher = ShortOnce(), make(batch_tokens=12)
    first = pool.submit(partial(batcher.observe, committee, ["aaaaaa", "bbbbbb"], urgent=False))
    committee.wait_for_pass()
    later = asker(pool, batcher)(committee, ["c", "d"])
    committee.let_all_through()
    assert seen(first.result(WAIT_S)) == expected(["aaaaaa", "bbbbbb"])
    assert seen(later.result(WAIT_S)) == expected(["c", "d"])
    assert committee.batches[1:] == [["aaaaaa"], ["bbbbbb"], ["c", "d"]]


def test_later_texts_join_an_old_one_only_within_the_look_ahead(
    make: Callable[..., Batcher], pool: ThreadPoolExecutor, gated: Gated
) -> None:
    batcher = make(batch_tokens=10)
    occupy(pool, batcher, gated)
    texts = ["old", *["x" * 10] * 32, "far"]  # 32 batches' worth lie between the two
    rest = asker(pool, batcher)(gated, texts)
    gated.let_all_through()
    assert seen(rest.result(WAIT_S)) == expected(texts)
    assert gated.batches[1] == ["old"] and gated.batches[-1] == ["far"]


@pytest.mark.parametrize(
    ("error", "is_memory"),
    [
        (MemoryError(), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried ..."), True),
        (Exception("BFCArena: Failed to allocate memory for requested buffer"), True),
        (RuntimeError("shapes do not match"), False),
    ],
)
def test_lack_of_memory_is_known_by_its_words(error: Exception, is_memory: bool) -> None:
    assert is_out_of_memory(error) is is_memory


def test_an_idle_batcher_holds_no_committee(make: Callable[..., Batcher]) -> None:
    batcher, committee = make(streams=2), Letters()
    batcher.observe(committee, ["a"] * 500, urgent=False)
    gone = weakref.ref(committee)
    del committee
    until(lambda: gc.collect() >= 0 and gone() is None)


@pytest.mark.parametrize("bounds", [(0, 1, 1), (1, 0, 1), (1, 1, 0)])
def test_bounds_below_one_are_refused(bounds: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="must be at least 1"):
        Batcher(*bounds)


class Moody(Small):
    """Runs out of memory, and raises for batches with a text that has an exclamation mark."""

    def forward(self, batch: Sequence[list[int]]) -> Evidence:
        if any(ord("!") in ids for ids in batch):
            raise ValueError("!")
        return super().forward(batch)


texts_of_a_request = st.lists(st.text("ab!" + "c" * 20, max_size=12), max_size=8)
requests = st.lists(
    st.tuples(st.integers(0, 1), st.booleans(), texts_of_a_request), min_size=1, max_size=8
)


@settings(max_examples=60, deadline=None)
@given(requests, st.integers(1, 3), st.integers(1, 40), st.integers(12, 40))
def test_whatever_is_asked_in_parallel_everybody_gets_their_own(
    asked: list[tuple[int, bool, list[str]]], streams: int, batch_tokens: int, room: int
) -> None:
    batcher = Batcher(streams, batch_tokens, waiting_tokens=20)
    committees = [Moody(room), Moody(room)]
    try:
        with ThreadPoolExecutor(len(asked)) as pool:
            futures = [
                pool.submit(
                    partial(batcher.observe, committees[c], texts, urgent=urgent, patient=True)
                )
                for c, urgent, texts in asked
            ]
            for future, (which, _, texts) in zip(futures, asked, strict=True):
                error = future.exception(WAIT_S)
                if error is None:
                    assert seen(future.result()) == expected(texts)
                    assert not any("!" in text for text in texts)
                else:
                    assert isinstance(error, ValueError)
                    assert any("!" in t for c, _, ts in asked if c == which for t in ts)
        assert batcher.load().waiting_tokens == 0
        if not any("!" in text for _, _, texts in asked for text in texts):
            done = sorted(t for one in committees for batch in one.batches for t in batch)
            assert done == sorted(t for _, _, texts in asked for t in texts)
    finally:
        batcher.close()
