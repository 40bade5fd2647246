"""The pace: a budget of calls lasts for all expected tasks, and none is overspent."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.pace import MAX_PROBES, ROUNDS, Pace, budget_calls


def test_the_budget_is_the_share_of_the_expected_tasks() -> None:
    assert budget_calls(1000, 0.25) == 250
    assert budget_calls(1000, 0.0) == 0


def test_what_the_caps_leave_limits_the_budget() -> None:
    assert budget_calls(1000, 0.25, calls_left=100, spent=20) == 120
    assert budget_calls(1000, 0.25, calls_left=10_000, spent=20) == 250


def test_money_that_is_overspent_leaves_no_call() -> None:
    budget = budget_calls(1000, 0.25, calls_left=-50, spent=20)
    assert Pace(budget).when_complete(20) == 0


def test_an_import_may_spend_what_its_share_of_the_tasks_allows() -> None:
    pace = Pace(100)
    assert [pace.while_importing(seen, 0) for seen in (0.0, 0.1, 0.5, 1.0, 7.0)] == [
        0,
        7,
        35,
        70,
        70,
    ]
    assert pace.while_importing(0.5, 30) == 5
    assert pace.while_importing(0.5, 60) == 0


def test_the_rest_is_spent_in_rounds() -> None:
    pace, spent, rounds = Pace(100), 70, []
    for number in range(ROUNDS):
        rounds.append(pace.when_complete(spent, number))
        spent += rounds[-1]
    assert rounds == [8, 8, 7, 7]
    assert pace.when_complete(spent) == 0


@given(
    budget=st.floats(0, 1e5),
    seen=st.lists(st.floats(0, 1), max_size=20),
    used=st.lists(st.floats(0, 1), min_size=24, max_size=24),
)
def test_no_more_is_spent_than_the_budget_and_the_last_round_may_spend_it_all(
    budget: float, seen: list[float], used: list[float]
) -> None:
    pace, spent = Pace(budget), 0
    for share, part in zip(sorted(seen), used, strict=False):
        spent += int(part * pace.while_importing(share, spent))
        assert spent <= 0.7 * budget + 1e-6
    for number in range(ROUNDS):
        spent += pace.when_complete(spent, number)
        assert spent <= budget + 1e-6
    assert spent > budget - 1


@pytest.mark.parametrize(
    ("budget", "made", "more"), [(0, 0, 0), (2, 0, 1), (40, 3, 7), (1e4, 0, MAX_PROBES), (8, 9, 0)]
)
def test_probes_are_a_small_part_of_the_budget(budget: float, made: int, more: int) -> None:
    assert Pace(budget).probes(made) == more
