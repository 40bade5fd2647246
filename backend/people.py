"""`python -m backend people`: how reliable each annotator is, as far as answers tell.

People are compared with each other and with ground truth, never with the committee or the LLM: who
accepts whatever is shown must not look reliable for it. Task ids and counts only.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping
from itertools import combinations
from typing import Any

from backend.errors import LabelStudioError
from backend.wiring import Wiring
from training.annotators import reliability
from training.consensus import Panel, panels

LEAST = 10
"""Compared answers, of a person or to one label, below which nothing is said of them."""


def collect(wiring: Wiring, project_id: int) -> list[dict[str, Any]]:
    """A row a control and person, as plain JSON; reads Redis only.

    `reliability` (0..1) is the share of right answers with its 95 % interval `low` to `high`,
    `agreement` the share of others' answers to the same tasks that are the same; both None where
    nothing was compared. `by_label` has (share, low, high, compared) of labels with enough answers.
    """
    found = panels(wiring.pool(project_id).verdicts())
    return [
        {"control": control, **row} for control in sorted(found) for row in _rows(found[control])
    ]


def _rows(panel: Panel) -> list[dict[str, Any]]:
    answers = Counter(v.author for same in panel.given.values() for v in same)
    rows = [{"person": person, "answers": answers[person], **_NOTHING} for person in panel.people]
    if panel.comparable:
        agreed, met = _agreement(panel)
        right, of = panel.consensus.hits()  # (people, labels)
        for i, row in enumerate(rows):
            person = row["person"]
            if met[person]:
                row["agreement"] = agreed[person] / met[person]
            row |= _reliability(panel, i, right[i], of[i])
    for row in rows:
        row["stands_out"] = _stands_out(row, [one for one in rows if one is not row])
    return rows


_NOTHING: dict[str, Any] = {
    "compared": 0,
    "agreement": None,
    "reliability": None,
    "low": None,
    "high": None,
    "by_label": {},
}


def _reliability(panel: Panel, person: int, right: Any, of: Any) -> dict[str, Any]:
    compared, known = float(of.sum()), float(panel.consensus.known[person])
    if not compared:
        return {}
    share, low, high = reliability(float(right.sum()), compared, known)
    labels = () if panel.multiple else panel.labels  # of several labels each is a yes or no
    by_label = {
        label: (*reliability(float(r), float(n), float(n) * known / compared), round(float(n)))
        for label, r, n in zip(labels, right, of, strict=bool(labels))
        if n >= LEAST
    }
    return {
        "compared": round(compared),
        "reliability": share,
        "low": low,
        "high": high,
        "by_label": by_label,
    }


def _agreement(panel: Panel) -> tuple[Counter[str], Counter[str]]:
    """How often each person's answer met another's, and how often they were the same."""
    agreed, met = Counter[str](), Counter[str]()
    for same in panel.given.values():
        for one, other in combinations(same, 2):
            met.update((one.author, other.author))
            if set(one.labels) == set(other.labels):
                agreed.update((one.author, other.author))
    return agreed, met


def _stands_out(row: Mapping[str, Any], others: list[dict[str, Any]]) -> bool:
    """Whether a person is surely less reliable than half of the others surely are.

    Intervals that do not meet: in 100 simulated teams of equal people it accused one person.
    """
    known = [one["low"] for one in others if one["compared"] >= LEAST]
    return bool(known and row["compared"] >= LEAST and row["high"] < statistics.median(known))


def names(wiring: Wiring) -> dict[str, str]:
    """Label Studio's names for user ids; empty where it cannot be asked."""
    if not wiring.has_label_studio:
        return {}
    try:
        return {str(one["id"]): str(one.get("email") or "") for one in wiring.label_studio.users()}
    except LabelStudioError:
        return {}


def render(rows: list[dict[str, Any]], named: Mapping[str, str]) -> str:
    """A table, and a sentence about who stands out, for people."""
    if not rows:
        return "Nobody has answered yet."
    lines = []
    for control in sorted({row["control"] for row in rows}):
        its = [row for row in rows if row["control"] == control]
        lines += [control, *(f"  {_line(row, _name(row, named))}" for row in its)]
        lines += [f"  {sentence}" for sentence in _sentences(its, named)]
    return "\n".join(lines)


def _line(row: Mapping[str, Any], name: str) -> str:
    said = f"{name}: {row['answers']} answers"
    if row["reliability"] is None:
        return f"{said}, none of them to a task that others answered"
    if row["agreement"] is not None:
        said += f", {row['agreement']:.0%} as others say"
    by_label = ", ".join(
        f"{label} {share:.0%} of {of}" for label, (share, _, _, of) in row["by_label"].items()
    )
    return (
        f"{said}, {row['reliability']:.0%} right ({row['low']:.0%} to {row['high']:.0%}, "
        f"{row['compared']} compared)" + (f"; by label: {by_label}" if by_label else "")
    )


def _sentences(rows: list[dict[str, Any]], named: Mapping[str, str]) -> list[str]:
    if not any(row["compared"] for row in rows):
        return ["No task has answers of two people, so nobody's answers can be checked."]
    out = [row for row in rows if row["stands_out"]]
    if out:
        return [
            f"{_name(row, named)} stands out: right in {row['reliability']:.0%} of "
            f"{row['compared']} answers, {row['high']:.0%} at most; they count for less."
            for row in out
        ]
    few = sum(row["compared"] < LEAST for row in rows)
    return ["Nobody stands out." + (f" Of {few} too little is known." if few else "")]


def _name(row: Mapping[str, Any], named: Mapping[str, str]) -> str:
    if row["person"] == "0":
        return "unknown person"  # Label Studio no longer knows who
    return named.get(row["person"]) or f"user {row['person']}"
