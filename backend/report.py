"""The report: how good a project's labels are, as far as that is known, and what that rests on.

Written after each refit, read by `status`. Sentences for people; task ids, never task text.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

from redis.client import Pipeline

from backend.wiring import Wiring
from specialists.rule_state import Live
from training.intervals import prediction_powered, wilson

LEAST_ANSWERS = 10
"""Fewer answers of people say nothing about a rate."""

_SIGMAS = 1.96  # 95 % of a normal distribution, which a sum of many chances resembles
BASIS = {
    "both": "on audits, of people and of the LLM as far as people confirm it",
    "audits": "on audits",
    "people": "on people's answers, not a random sample",
    "committee": "if the committee's own confidence holds, which no person has checked",
}
"""What an estimate rests on, in words."""


def report_key(project_id: int) -> str:
    """Hash: control -> JSON of its last report."""
    return f"aa:project:{project_id}:report"


def read(wiring: Wiring, project_id: int) -> list[dict[str, Any]]:
    """The last report of each control."""
    rows = wiring.redis.hgetall(report_key(project_id))
    return [json.loads(rows[control]) for control in sorted(rows)]


def write(wiring: Wiring, project_id: int, report: Mapping[str, Any]) -> None:
    """Keep the report of one control."""
    row = json.dumps({**report, "at": time.time()})
    wiring.redis.hset(report_key(project_id), str(report["control"]), row)


def forget(wiring: Wiring, project_id: int, control: str, via: Pipeline) -> None:
    """Drop the report of a control whose rule measures nothing."""
    via.hdel(report_key(project_id), control)


def estimate(
    audits: tuple[int, int],
    people: tuple[int, int],
    accepted: int,
    sureness: float,
    spread: float,
    pairs: Sequence[tuple[bool, bool]] = (),
    llm: tuple[int, int] = (0, 0),
) -> dict[str, Any]:
    """The accuracy of accepted labels, its interval (95 %), and what it rests on.

    `audits` and `people` are (answered, right) among the `accepted`; `sureness` is the sum of the
    committee's confidences p in those, `spread` of p (1 - p). `pairs` and `llm` are what people and
    the LLM found right of the audits, as `prediction_powered` takes them; they count where they
    tell more than people's audits alone.
    """
    if len(pairs) >= LEAST_ANSWERS and llm[1] >= LEAST_ANSWERS:
        accuracy, low, high = prediction_powered(pairs, llm)
        alone = wilson(audits[1], audits[0])
        if high - low < alone[1] - alone[0]:
            n = len(pairs) + llm[1]
            return {"basis": "both", "n": n, "accuracy": accuracy, "low": low, "high": high}
    for basis, (n, right) in (("audits", audits), ("people", people)):
        if n >= LEAST_ANSWERS:
            low, high = wilson(right, n)
            return {"basis": basis, "n": n, "accuracy": right / n, "low": low, "high": high}
    if not accepted:
        return {"basis": "committee", "n": 0, "accuracy": None, "low": None, "high": None}
    accuracy, margin = sureness / accepted, _SIGMAS * math.sqrt(max(0.0, spread)) / accepted
    low, high = max(0.0, accuracy - margin), min(1.0, accuracy + margin)
    return {"basis": "committee", "n": accepted, "accuracy": accuracy, "low": low, "high": high}


def live(member: Live | None) -> str:
    """Say whether the live member is admitted, and why; empty while there is none."""
    if member is None:
        return ""
    found = "is admitted" if member.admitted else "is not admitted"
    better = "smaller" if member.gain >= 0 else "greater"
    why = f"with it the log-loss is {abs(member.gain):.3f} {better} on {member.checked} texts"
    if member.admitted != (member.gain > 0):
        why += ", too little to change that"
    return (
        f"the live member, trained on {member.verdicts} verdicts, {found}: "
        f"{why if member.checked else 'no text yet that the members have not learned'}"
    )


def sentences(report: Mapping[str, Any]) -> list[str]:
    """Say a control's report for people."""
    lines = [
        f"{report['control']}: the committee's label is accepted on {report['accepted']} of "
        f"{report['tasks']} tasks; {_accuracy(report['estimate'])}"
    ]
    if report["promise"]:
        lines.append(report["promise"])
    lines.append(_trust(report))
    if report.get("live"):
        lines.append(report["live"])
    for key, words in (
        ("llm_overrode", "the LLM overrode a unanimous committee"),
        ("llm_overridden", "the committee overrode the LLM"),
    ):
        if report[key]:
            ids = ", ".join(map(str, report[key]))
            lines.append(f"{words}, for example in tasks {ids}")
    return lines


def _accuracy(found: Mapping[str, Any]) -> str:
    basis = BASIS[found["basis"]]
    if found["accuracy"] is None:
        return "accuracy unknown"
    count = "" if found["basis"] == "committee" else f"{found['n']} "
    return (
        f"about {found['accuracy']:.1%} of them right, {found['low']:.1%} to {found['high']:.1%} "
        f"({count}{basis})"
    )


def _trust(report: Mapping[str, Any]) -> str:
    n, committee, llm = report["compared"]
    guessed = report["trust"] == "unproven" or report.get("llm_guessed")
    guess = " (a first guess)" if guessed else ""
    said = f"the LLM is taken to be right in {report['llm_accuracy']:.1%}{guess}"
    checked, agreed = report["llm_checked"]
    if checked:
        said += f"; it agrees with {agreed} of {checked} accepted labels that it was asked about"
    if n:
        said += f"; where people answered too: committee {committee}, LLM {llm} of {n} right"
    return (
        said
        + {
            "both": "",
            "unproven": "",
            "committee": "; the LLM is worse than the committee and not asked any more",
            "llm": "; the committee is worse than the LLM and abstains where it is less sure",
        }[report["trust"]]
    )
