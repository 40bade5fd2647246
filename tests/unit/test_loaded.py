"""Committees in memory: loaded once, in the background where wanted, within a bound in bytes."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from backend.loaded import LoadedCommittees
from specialists.committee import Committee
from specialists.evidence import Evidence
from specialists.transformer import Specialist, Verbatim
from specialists.types import Label, LabelSet

LABELS = LabelSet((Label("a"), Label("b")))


class Weighty(Specialist):
    """Takes memory and says nothing."""

    def __init__(self, size_bytes: int) -> None:
        self.encoding = Verbatim()
        self.size_bytes = size_bytes

    def forward(self, batch: list[str]) -> Evidence:
        return Evidence(np.zeros((len(batch), 1, 2), np.float32))


def committee(*members: Specialist) -> Committee:
    return Committee(LABELS, [(str(n), one) for n, one in enumerate(members)])


def until(condition: Callable[[], bool]) -> None:
    """Wait for another thread, at most 10 s."""
    ticks = threading.Event()
    for _ in range(1000):
        if condition():
            return
        ticks.wait(0.01)
    raise AssertionError("it did not come true within 10 s")


def test_a_committee_is_loaded_once_however_many_threads_ask() -> None:
    loads: Counter[str] = Counter()
    go = threading.Event()

    def load(tag: str, control: str) -> Committee:
        go.wait(10)
        loads[tag] += 1
        return committee(Weighty(1))

    loaded = LoadedCommittees(load, 10)
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(loaded.get, "t1", "c") for _ in range(8)]
        go.set()
        found = {id(one.result(10)) for one in asked}
    assert len(found) == 1
    assert loads == {"t1": 1}


def test_the_least_recently_used_leave_at_the_bound_and_the_newest_stays() -> None:
    loaded = LoadedCommittees(lambda tag, control: committee(Weighty(int(tag))), 100)
    for tag in ("40", "41", "10"):
        loaded.get(tag, "c")
    loaded.get("40", "c")
    assert loaded.size_bytes == 91
    loaded.get("30", "c")
    assert [loaded.has(tag, "c") for tag in ("40", "41", "10", "30")] == [True, False, True, True]
    assert loaded.size_bytes == 80
    loaded.get("500", "c")  # alone over the bound: nothing else is kept, and it serves
    assert [loaded.has(tag, "c") for tag in ("40", "10", "30", "500")] == [False] * 3 + [True]


def test_models_that_committees_share_count_once() -> None:
    shared = Weighty(60)
    loaded = LoadedCommittees(lambda tag, control: committee(shared, Weighty(10)), 100)
    loaded.get("t1", "c")
    loaded.get("t2", "c")
    assert loaded.size_bytes == 80
    assert loaded.has("t1", "c")


def test_a_failure_is_told_to_all_that_wait_and_tried_again_later() -> None:
    broken = True

    def load(tag: str, control: str) -> Committee:
        if broken:
            raise ValueError("damaged")
        return committee()

    loaded = LoadedCommittees(load, 10)
    with pytest.raises(ValueError, match="damaged"):
        loaded.get("t1", "c")
    assert loaded.failed("t1", "c")
    assert not loaded.has("t1", "c")
    broken = False
    loaded.get("t1", "c")
    assert not loaded.failed("t1", "c")


def test_warming_loads_beside_what_serves() -> None:
    go = threading.Event()

    def load(tag: str, control: str) -> Committee:
        if tag == "new":
            go.wait(10)
        return committee(Weighty(1))

    loaded = LoadedCommittees(load, 10)
    loaded.get("old", "c")
    loaded.warm("new", "c")
    loaded.warm("new", "c")
    assert not loaded.has("new", "c")
    loaded.get("old", "c")  # does not wait for the other
    go.set()
    until(lambda: loaded.has("new", "c"))


def test_a_warming_that_fails_is_known() -> None:
    def load(tag: str, control: str) -> Committee:
        raise OSError("gone")

    loaded = LoadedCommittees(load, 10)
    loaded.warm("t1", "c")
    until(lambda: loaded.failed("t1", "c"))
    assert not loaded.has("t1", "c")


def test_a_renewed_committee_replaces_the_old_one_when_it_is_ready() -> None:
    made = [committee(Weighty(1)), committee(Weighty(2))]
    go = threading.Event()

    def load(tag: str, control: str) -> Committee:
        if len(made) == 1:
            go.wait(10)
        return made.pop(0)

    first, second = made
    loaded = LoadedCommittees(load, 10)
    assert loaded.get("t1", "c") is first
    loaded.renew("t1", "c")
    assert loaded.get("t1", "c") is first
    go.set()
    until(lambda: loaded.get("t1", "c") is second)
