"""The graduation meter: how much a project still needs an LLM or people, and when it is enough.

Reads the cards of its stages and its last report. It says "enough" in two cases. Where TARGET_ERROR
is set: the interval of the accuracy of accepted labels, measured on audits or on people's answers,
lies above the target; the committee's own confidence never suffices. Without a target or below it:
over the last STEADY promotions neither the share of hard tasks nor the accuracy moved by more than
chance, so that more answers are unlikely to change them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from backend import report
from backend.wiring import Wiring
from training.card import Card
from training.intervals import wilson

STEADY = 3
"""Promotions in a row that must be alike."""
STILL = 0.02
"""A share of hard tasks that moved less counts as the same; it is of all tasks, so chance has
little part in it."""

_SIGMAS = 1.96  # 95 %, as the intervals


@dataclass(frozen=True)
class Point:
    """A promoted stage: the share of hard tasks then, and the accuracy on `answers` held-out ones.

    `low` and `high` are the accuracy's interval (95 %), `llm_usd` what the LLM had cost until then;
    None where nobody counted.
    """

    stage: int
    tag: str
    hard: float | None
    accuracy: float | None
    low: float | None
    high: float | None
    answers: int
    llm_usd: float | None = None


def collect(wiring: Wiring, project_id: int) -> dict[str, Any]:
    """The meter as plain JSON: its stages, oldest first, what is known now, and the advice."""
    stages = points(wiring.promotions(project_id).history())
    now = [_now(one) for one in report.read(wiring, project_id)]
    enough, why = advise(stages, now)
    return {"stages": [asdict(one) for one in stages], "now": now, "enough": enough, "why": why}


def points(cards: Sequence[Card]) -> list[Point]:
    """The promoted stages of a history (newest first), oldest first."""
    return [_point(card) for card in reversed(cards) if card.decision == "promoted"]


def advise(stages: Sequence[Point], now: Sequence[Mapping[str, Any]]) -> tuple[bool, str]:
    """Whether it is enough, and why, in a sentence."""
    if not now:
        return False, "nothing was measured yet: that begins with the first answers"
    weakest = [one for one in now if not _keeps_target(one)]
    if not weakest:
        return True, f"accepted labels keep the target of {now[0]['target']:.3g} wrong at most"
    last = stages[-STEADY:]
    if len(last) < STEADY:
        return False, f"{_lacking(weakest[0])}, and {len(last)} of {STEADY} stages to compare"
    moved = _moved(last)
    if moved:
        return False, f"{_lacking(weakest[0])}, and {moved}"
    return True, (
        f"over the last {STEADY} stages neither the share of hard tasks nor the accuracy moved by "
        f"more than chance ({_lacking(weakest[0])})"
    )


def render(meter: Mapping[str, Any]) -> str:
    """The meter as text for a terminal."""
    lines = [_stage_line(one) for one in meter["stages"]]
    lines += [_now_line(one) for one in meter["now"]]
    return "\n".join([*lines, advice(meter)])


def advice(meter: Mapping[str, Any]) -> str:
    """The last line alone."""
    return f"{'Enough' if meter['enough'] else 'Not enough yet'}: {meter['why']}."


def _point(card: Card) -> Point:
    low = high = None
    if card.after is not None and card.held_out:
        low, high = wilson(round(card.after * card.held_out), card.held_out)
    return Point(
        card.stage, card.tag, card.hard_share, card.after, low, high, card.held_out, card.llm_usd
    )


def _now(found: Mapping[str, Any]) -> dict[str, Any]:
    """What a control's report says now."""
    tasks = found["tasks"]
    return {
        "control": found["control"],
        "hard": 1.0 - found["accepted"] / tasks if tasks else None,
        "target": found.get("target"),
        **found["estimate"],
    }


def _keeps_target(now: Mapping[str, Any]) -> bool:
    measured = now["basis"] != "committee" and now["low"] is not None
    return bool(measured and now["target"] and now["low"] >= 1.0 - now["target"])


def _lacking(now: Mapping[str, Any]) -> str:
    """Why the target says nothing, or is not reached."""
    if not now["target"]:
        return "TARGET_ERROR is not set"
    if now["basis"] == "committee":
        return f"{now['control']}: too few answers of people to measure the accuracy"
    return (
        f"{now['control']}: {now['low']:.1%} at worst are right, {1.0 - now['target']:.1%} wanted"
    )


def _moved(last: Sequence[Point]) -> str:
    """What changed over some stages by more than chance; empty for nothing."""
    hard = [one.hard for one in last if one.hard is not None]
    if len(hard) < len(last):
        return "the share of hard tasks was not counted in each of the last stages"
    if max(hard) - min(hard) >= STILL:
        return f"the share of hard tasks still moves ({hard[0]:.1%} -> {hard[-1]:.1%})"
    first, newest = last[0], last[-1]
    if first.accuracy is None or newest.accuracy is None:
        return "the accuracy was not measured in each of the last stages"
    change = newest.accuracy - first.accuracy
    if abs(change) > _SIGMAS * math.hypot(_error(first), _error(newest)):
        return f"the accuracy still moves ({first.accuracy:.1%} -> {newest.accuracy:.1%})"
    return ""


def _error(point: Point) -> float:
    """The standard error of an accuracy: that of its interval, which none of 1.0 makes vanish."""
    if point.low is None or point.high is None:
        return 1.0
    return (point.high - point.low) / (2 * _SIGMAS)


def _stage_line(one: Mapping[str, Any]) -> str:
    count = f"{one['answers']} held-out verdicts"
    return f"stage {one['stage']} ({one['tag']}): {_shares(one, count)}"


def _now_line(one: Mapping[str, Any]) -> str:
    counted = "" if one["basis"] == "committee" else f"{one['n']} answers, "
    return f"now, {one['control']}: {_shares(one, counted + report.BASIS[one['basis']])}"


def _shares(one: Mapping[str, Any], basis: str) -> str:
    hard = "not counted" if one["hard"] is None else f"{one['hard']:.1%}"
    told = f"{hard} of the tasks need an LLM or a person"
    if one["accuracy"] is None or one["low"] is None:
        return f"{told}; accuracy unknown"
    return (
        f"{told}; {one['accuracy']:.1%} of the others right, {one['low']:.1%} to "
        f"{one['high']:.1%} ({basis})"
    )
