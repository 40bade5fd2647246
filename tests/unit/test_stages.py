"""What people see of a project's stages: the table, one card, the plots."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from backend import stages
from backend.chart import chart
from training.card import Card

SVG = "{http://www.w3.org/2000/svg}"
FIRST = Card("stage-0-a", None, 0, "initial", "first committee of this project", at=0.0)
ONE = Card(
    "stage-1-b", "stage-0-a", 1, "promoted", "Promoted: ...", 0.5, 0.7, 20, "human",
    {"human": 50, "llm": 9, "replay": 0}, at=3600.0, hard_share=0.4, llm_usd=0.25,
)  # fmt: skip
BAD = Card("stage-2-c", "stage-1-b", 2, "refused", "Refused: ...", 0.7, 0.6, 24, "human", at=7200.0)
TWO = Card(
    "stage-2-d", "stage-1-b", 2, "promoted", "Promoted: ...", 0.7, 0.8, 25, "human",
    {"human": 50}, at=9000.0, hard_share=0.2, llm_usd=0.3,
)  # fmt: skip
CARDS = [TWO, BAD, ONE, FIRST]  # newest first, as the history has them


def test_the_table_has_every_stage_with_its_numbers() -> None:
    head, *rows = stages.table(CARDS).splitlines()
    assert head.split() == "stage tag when (UTC) accuracy measured on learned hard LLM USD".split()
    assert [row.split()[1] for row in rows] == [card.tag for card in CARDS]
    assert "refused" in rows[1] and "70.0% -> 60.0%" in rows[1] and "24 human" in rows[1]
    assert "50 human, 9 llm" in rows[2] and "40.0%" in rows[2] and "0.2500" in rows[2]
    assert len({row.index("%") for row in rows[:3]}) == 1, "columns stand in line"
    assert "None" not in "".join(rows)


def test_a_stage_is_shown_whole_and_an_unknown_one_names_the_others() -> None:
    assert stages.whole(CARDS, "stage-2-c").startswith("# stage-2-c: refused")
    with pytest.raises(stages.UnknownStage, match="'stage-9-x' .*: stage-2-d, stage-2-c, stage-1"):
        stages.whole(CARDS, "stage-9-x")


def test_plots_show_promoted_stages_in_their_order(tmp_path: Path) -> None:
    written = stages.plot(CARDS, tmp_path / "plots")
    assert [path.name for path in written] == ["accuracy.svg", "hard.svg", "spend.svg"]
    told = [[one.text for one in ElementTree.parse(path).iter(f"{SVG}title")] for path in written]
    assert told == [
        ["1: 0.70", "2: 0.80"],
        ["1: 40%", "2: 20%"],
        ["1: 0.250", "2: 0.300"],
    ]
    assert stages.plot([FIRST], tmp_path) == []


def test_a_chart_draws_higher_values_higher_and_escapes_its_words() -> None:
    root = ElementTree.fromstring(chart("a < b", [("1", 1.0), ("2", 3.0), ("3", 2.0)]))
    heights = [float(str(one.get("cy"))) for one in root.iter(f"{SVG}circle")]
    assert heights[0] > heights[2] > heights[1]
    assert "a < b" in [one.text for one in root.iter(f"{SVG}text")]
    ElementTree.fromstring(chart("one", [("1", 0.0)]))
