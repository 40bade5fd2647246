"""What a selection serves of itself, and what it leaves to a person."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from backend.select import Wish, unservable
from backend.selection_table import Table, row
from meta_controller.candidates import Candidate
from meta_controller.label_maps import Mapped
from meta_controller.selection import Finding

MAP = {"a": "positive", "b": "negative"}
ROW = row(
    "one",
    Candidate("org/one@abc", "hub", ("a", "b"), MAP),
    Mapped(MAP, "rules", np.zeros((1, 2))),
    Finding("one", True, "the best alone", 0.8, None, None, 0.8, 0.9),
    "",
)
FILE = Wish(file=Path("edited.json"), yes=True)


def table(**more: object) -> Table:
    return Table("mood", "It rests on 60 texts.", (ROW,), **{"accuracy": 0.8, **more})  # type: ignore[arg-type]


def test_a_better_committee_and_one_without_a_measure_are_served() -> None:
    assert unservable([table(served=0.7)], Wish(yes=True)) == ""
    assert unservable([table(served=None)], Wish(yes=True)) == ""
    assert unservable([table(accuracy=None)], Wish(yes=True)) == ""


def test_no_member_and_a_worse_committee_are_not() -> None:
    nobody = Table("mood", "", ())
    assert "no candidate is worth a vote" in unservable([table(), nobody], Wish())
    assert "the served members are better" in unservable([table(served=0.9)], Wish())


def test_what_members_learned_is_not_dropped_without_a_person() -> None:
    aside = table(as_published=True)
    assert "--yes is no yes" in unservable([aside], Wish(yes=True))
    assert unservable([aside], Wish()) == "", "who is asked can say yes"


def test_a_person_s_file_is_served_unless_a_member_is_not_there() -> None:
    assert unservable([table(served=0.9, as_published=True)], FILE) == ""
    gone = table(unmeasured={"two": "it is not there"})
    assert unservable([gone], FILE) == "Nothing is served: two could not be measured."
    assert unservable([gone], Wish()) == ""
