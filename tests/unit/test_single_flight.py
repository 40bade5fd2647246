"""Single flight: requests at the same time share one computation, and errors reach all of them."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from backend.single_flight import SingleFlight
from specialists.types import Decision


def answer(text: str) -> Decision:
    return Decision((text,), 1.0, False, "")


def test_equal_texts_at_once_are_computed_once() -> None:
    flights, computed = SingleFlight(), []
    entered, leave = threading.Event(), threading.Event()

    def decide(texts: list[str]) -> list[Decision]:
        computed.append(texts)
        entered.set()
        leave.wait(10)
        return [answer(text) for text in texts]

    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(flights.run, "tag", ["a", "b"], decide)
        assert entered.wait(10)
        others = [pool.submit(flights.run, "tag", ["b", "a"], decide) for _ in range(3)]
        leave.set()
        assert all(one.result(10) == first.result(10) for one in others)
    assert computed[0] == ["a", "b"]
    assert flights.run("tag", ["a"], lambda texts: [answer("new")])["a"] == answer("new")


def test_an_error_reaches_everybody_who_waits_and_is_not_kept() -> None:
    flights = SingleFlight()
    entered, leave = threading.Event(), threading.Event()

    def fail(texts: list[str]) -> list[Decision]:
        entered.set()
        leave.wait(10)
        raise ValueError("broken")

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(flights.run, "tag", ["a"], fail)
        assert entered.wait(10)
        second = pool.submit(flights.run, "tag", ["a"], fail)
        leave.set()
        for one in (first, second):
            with pytest.raises(ValueError, match="broken"):
                one.result(10)
    assert flights.run("tag", ["a"], lambda texts: [answer("a")]) == {"a": answer("a")}


def test_a_committee_that_answers_too_little_is_an_error_for_all() -> None:
    with pytest.raises(ValueError):
        SingleFlight().run("tag", ["a", "b"], lambda texts: [answer("a")])
