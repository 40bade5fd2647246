"""The file of a selection: written, edited, read back, and refused with the place of the fault."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backend import selection_file
from backend.selection_file import SelectionFileError
from backend.selection_table import Table, render, row
from meta_controller.candidates import Candidate
from meta_controller.label_maps import Mapped
from meta_controller.selection import Finding
from specialists.errors import SpecialistUnavailable
from specialists.types import Label, LabelSet

MOODS = LabelSet((Label("positive"), Label("negative")))
MAP = {"POS": "positive", "NEG": "negative"}
COMMIT = "a" * 40


def finding(name: str, chosen: bool) -> Finding:
    return Finding(name, chosen, "helps the others", 0.81, 0.2, 0.1, 0.03, 0.9)


def table() -> Table:
    hub = Candidate(
        f"org/one@{COMMIT}", "hub", ("POS", "NEG"), MAP, downloads=1234, parameters=7_000_000
    )
    own = Candidate("embedded:x", "embedded", ("POS", "NEG"), MAP, checkpoint="0123456789abcdef")
    better = Mapped(MAP, "LLM", np.zeros((1, 2)), better={"POS": "negative", "NEG": "positive"})
    rows = (
        row("one", hub, better, finding("one", True), "knows reviews"),
        row("x", own, Mapped(MAP, "rules", np.zeros((1, 2))), finding("x", False), ""),
    )
    return Table(
        "mood", "It rests on 60 texts.", rows, {"gone": "no such model"}, 60, "human", accuracy=0.9
    )


def own_labels(source: str) -> tuple[str, ...]:
    if "nowhere" in source:
        raise SpecialistUnavailable(source, "it is not there", "choose another")
    return ("POS", "NEG")


def read(file: Path) -> dict[str, list[tuple[str, Candidate]]]:
    return selection_file.read(file, 5, {"mood": MOODS}, own_labels)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    selection_file.write(tmp_path / "made" / "project-5.json", 5, [table()])
    return tmp_path / "made" / "project-5.json"


def test_what_was_written_is_read_back(file: Path) -> None:
    ((name, one),) = read(file)["mood"]
    assert (name, one.source, dict(one.label_map)) == ("one", f"org/one@{COMMIT}", MAP)
    assert (one.mapped_by, one.origin, one.labels, one.downloads) == (
        "person",
        "hub",
        ("POS", "NEG"),
        1234,
    )


def test_a_candidate_that_was_left_out_can_be_moved_over(file: Path) -> None:
    data = json.loads(file.read_text())
    control = data["controls"]["mood"]
    control["members"] += control["left_out"]
    file.write_text(json.dumps(data))
    assert [(n, one.checkpoint) for n, one in read(file)["mood"]] == [
        ("one", None),
        ("x", "0123456789abcdef"),
    ]


def change(file: Path, **fields: Any) -> None:
    data = json.loads(file.read_text())
    data["controls"]["mood"]["members"][0].update(fields)
    file.write_text(json.dumps(data))


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"label_map": {"JOY": "positive"}}, "no label 'JOY', but POS, NEG"),
        ({"label_map": {"POS": "great"}}, "'great' is no label of the project; they are positive"),
        ({"label_map": {"POS": "positive"}}, "reaches 1 label"),
        ({"label_map": "POS"}, "expected name, source and label_map"),
        ({"source": ""}, "must be texts"),
        ({"checkpoint": 7}, "must be texts"),
        ({"source": "org/nowhere"}, "org/nowhere is not available"),
    ],
)
def test_a_fault_is_told_with_its_place(file: Path, fields: dict[str, Any], why: str) -> None:
    change(file, **fields)
    with pytest.raises(SelectionFileError, match="control mood, member 1") as caught:
        read(file)
    assert why in str(caught.value)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "no selection"),
        ("[]", "no selection"),
        ('{"project": 5, "controls": {"mood": {}}}', "no selection"),
        ('{"project": 5, "controls": {}}', "no control; they are mood"),
        ('{"project": 6, "controls": {"mood": {"members": []}}}', "of project 6, not 5"),
        ('{"project": 5, "controls": {"topic": {"members": []}}}', "topic is none of mood"),
        ('{"project": 5, "controls": {"mood": {"members": []}}}', "has no member"),
    ],
)
def test_what_is_no_selection_of_this_project_is_refused(
    tmp_path: Path, text: str, why: str
) -> None:
    (tmp_path / "f.json").write_text(text)
    with pytest.raises(SelectionFileError) as caught:
        read(tmp_path / "f.json")
    assert why in str(caught.value)


def test_two_members_of_one_name_are_refused(file: Path) -> None:
    data = json.loads(file.read_text())
    data["controls"]["mood"]["members"] *= 2
    file.write_text(json.dumps(data))
    with pytest.raises(SelectionFileError, match="two members are called one"):
        read(file)


def test_the_table_shows_what_was_told_measured_and_mapped() -> None:
    text = "\n".join(render(table()))
    for shown in (
        "org/one  ",
        "7.0 M",
        "1,234",
        "81.0%",
        "20.0%",
        "LLM: knows reviews",
        "one: labels mapped by LLM: POS -> positive, NEG -> negative",
        "agrees better with the verdicts as POS -> negative",
        "embedded:x (trained)",
        "gone could not be measured: no such model",
        "90.0% of the 60 texts.",
    ):
        assert shown in text
    assert COMMIT not in text
