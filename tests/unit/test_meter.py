"""The graduation meter: what it tells by stage, and when it says "enough"."""

from __future__ import annotations

from typing import Any

import pytest

from backend.meter import STEADY, advice, advise, points, render
from backend.report import BASIS
from training.card import Card


def card(stage: int, hard: float | None, after: float | None, held_out: int = 100) -> Card:
    return Card(
        f"stage-{stage}-x", None, stage, "promoted", "", after, after, held_out, hard_share=hard
    )


def cards(*measured: tuple[float | None, float | None]) -> list[Card]:
    """Promoted stages, newest first, as the history has them."""
    return [card(i, hard, after) for i, (hard, after) in enumerate(measured, start=1)][::-1]


def now(
    low: float | None = 0.8, basis: str = "audits", target: float | None = 0.05
) -> dict[str, Any]:
    accuracy = None if low is None else low + 0.03
    high = None if low is None else low + 0.05
    return {
        "control": "mood",
        "hard": 0.2,
        "target": target,
        "basis": basis,
        "n": 60,
        "accuracy": accuracy,
        "low": low,
        "high": high,
    }


ALIKE = cards((0.31, 0.80), (0.30, 0.83), (0.305, 0.81))
MOVING = cards((0.50, 0.60), (0.40, 0.70), (0.30, 0.80))


def test_only_promoted_stages_count_the_oldest_first() -> None:
    refused = Card("stage-2-y", None, 2, "refused", "", 0.7, 0.6, 50)
    found = points([refused, *MOVING])
    assert [one.stage for one in found] == [1, 2, 3]
    assert found[0].hard == 0.5 and found[0].answers == 100
    assert found[0].low is not None and found[0].high is not None
    assert 0.49 < found[0].low < 0.6 < found[0].high < 0.71


@pytest.mark.parametrize("basis", BASIS)
def test_whatever_an_estimate_rests_on_is_said(basis: str) -> None:
    meter = {"stages": [], "now": [now(basis=basis)], "enough": False, "why": ""}
    told, _ = render(meter).splitlines()
    assert BASIS[basis] in told and ("60 answers" in told) == (basis != "committee")


@pytest.mark.parametrize("basis", ["audits", "people", "both"])
def test_a_measured_accuracy_above_the_target_is_enough(basis: str) -> None:
    enough, why = advise([], [now(0.95, basis)])
    assert enough and "0.05" in why


@pytest.mark.parametrize(
    ("state", "why"),
    [
        (now(0.949), "94.9% at worst are right, 95.0% wanted"),
        (now(0.99, "committee"), "too few answers of people"),
        (now(None, "committee"), "too few answers of people"),
        (now(0.99, target=None), "TARGET_ERROR is not set"),
    ],
)
def test_without_a_kept_target_it_takes_stages_to_compare(state: dict[str, Any], why: str) -> None:
    enough, told = advise(points(ALIKE[1:]), [state])
    assert not enough and why in told and f"2 of {STEADY} stages" in told
    enough, told = advise(points(ALIKE), [state])
    assert enough and "neither" in told and why in told


def test_the_weakest_control_decides() -> None:
    assert advise([], [now(0.96), now(0.97)])[0]
    assert not advise([], [now(0.96), now(0.90)])[0]


def test_what_moves_by_more_than_chance_is_not_enough() -> None:
    enough, why = advise(points(MOVING), [now()])
    assert not enough and "50.0% -> 30.0%" in why
    better = points(cards((0.30, 0.60), (0.30, 0.70), (0.30, 0.80)))
    enough, why = advise(better, [now()])
    assert not enough and "60.0% -> 80.0%" in why


def test_few_held_out_verdicts_hide_a_move_and_none_say_nothing() -> None:
    few = points([card(i, 0.3, after, 5) for i, after in ((3, 0.8), (2, 0.8), (1, 0.6))])
    assert advise(few, [now()])[0]
    assert "not measured" in advise(points(cards(*[(0.3, None)] * 3)), [now()])[1]
    assert "not counted" in advise(points(cards(*[(None, 0.8)] * 3)), [now()])[1]


def test_nothing_measured_yet_is_said() -> None:
    meter = {"stages": [], "now": [], "enough": False, "why": advise([], [])[1]}
    assert (
        render(meter)
        == advice(meter)
        == ("Not enough yet: nothing was measured yet: that begins with the first answers.")
    )


def test_the_meter_is_told_by_stage() -> None:
    stages = [one.__dict__ for one in points([card(2, 0.125, 0.9, 40), card(1, None, None, 0)])]
    enough, why = advise(points([]), [now()])
    meter = {"stages": stages, "now": [now()], "enough": enough, "why": why}
    first, second, third, last = render(meter).splitlines()
    assert "not counted of the tasks need" in first and "accuracy unknown" in first
    assert "12.5% of the tasks need an LLM or a person; 90.0%" in second
    assert "40 held-out verdicts" in second
    assert third.startswith("now, mood: 20.0%") and "60 answers, on audits" in third
    assert last.startswith("Not enough yet: ")
