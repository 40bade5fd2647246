"""A checker that cannot fail is worthless: each thing that must hold is broken once."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields, replace
from typing import Any

import pytest
from invariants import KINDS, Facts, compare

WELL = Facts(
    annotations={7: "positive"},
    acknowledged={7},
    human={7: "positive"},
    verdicts={"1:human:7", "2:llm:0"},
    seen={"1:human:7", "2:llm:0"},
    asked=[(10.0, "1-1"), (10.2, "1-1")],
    stored={"1-1": 10.5},
    tasks={1, 2},
    predictions=Counter({(1, "b"): 1, (2, "b"): 1, (2, "a"): 1}),
    served="b",
    shown="b",
    hidden=set(),
    waits=(),
)
TWICE = Counter({(1, "b"): 1, (2, "b"): 2})
NONE = Counter({(1, "b"): 1, (2, "a"): 1})


def test_nothing_is_found_where_all_is_well() -> None:
    assert not compare(WELL)


@pytest.mark.parametrize(
    ("kind", "broken"),
    [
        ("lost_annotations", {"human": {}}),
        ("lost_annotations", {"human": {7: "negative"}}),
        ("lost_annotations", {"acknowledged": {7, 8}}),
        ("lost_verdicts", {"verdicts": {"1:human:7"}}),
        ("double_paid", {"asked": [(10.0, "1-1"), (10.6, "1-1")]}),
        ("duplicate_predictions", {"predictions": TWICE}),
        ("unrecovered", {"predictions": NONE}),
        ("unrecovered", {"shown": "a"}),
        ("unrecovered", {"shown": ""}),
        ("unrecovered", {"hidden": {2}}),
        ("unrecovered", {"waits": ["3 to_patch"]}),
    ],
)
def test_what_is_broken_is_found(kind: str, broken: dict[str, Any]) -> None:
    found = compare(replace(WELL, **broken))
    assert [one.name for one in fields(found) if getattr(found, one.name)] == [kind]
    assert len(found.lines()) == 1 and found.lines()[0].startswith(kind)


def test_every_kind_is_counted() -> None:
    assert KINDS == (
        "lost_annotations",
        "lost_verdicts",
        "double_paid",
        "duplicate_predictions",
        "unrecovered",
    )
