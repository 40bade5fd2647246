"""The card: what it keeps, and how people read it."""

from __future__ import annotations

from dataclasses import replace

from training.card import Card

CARD = Card(
    tag="stage-3-9f8e7d6c",
    parent="stage-2-11223344",
    stage=3,
    decision="refused",
    reason="Refused: 6 of 10 held-out human verdicts right (60.0%), 8 (80.0%) before.",
    before=0.8,
    after=0.6,
    held_out=10,
    held_out_source="human",
    samples={"human": 30, "llm": 20, "replay": 50},
    dropped=2,
    duration_s=31.4,
    method="lora",
    at=1_764_000_000.0,
    p_value=0.3438,
    labels={"good": (6, 5, 5), "a|b": (4, 3, 1)},
    learned={"a|b": 40, "good": 60},
    parameters={"epochs": 3, "learning_rate": 5e-4},
    checkpoints={"mood/tweets": "0123456789abcdef"},
    hard_share=0.123,
    llm_usd=0.5,
    llm_calls=250,
)


def test_it_is_read_back_as_it_was_written() -> None:
    assert Card.from_json(CARD.to_json()) == CARD


def test_a_card_of_an_earlier_version_is_read() -> None:
    old = '{"tag": "stage-0-1", "parent": null, "stage": 0, "decision": "initial", "reason": "r"}'
    assert Card.from_json(old) == Card("stage-0-1", None, 0, "initial", "r")


def test_the_page_tells_why_on_what_and_how() -> None:
    page = CARD.to_markdown()
    for told in (
        "# stage-3-9f8e7d6c: refused",
        "Refused: 6 of 10 held-out human verdicts right",
        "2025-11-24 16:00:00 UTC",
        "| good | 6 | 5 | 5 |",
        "| a\\|b | 4 | 3 | 1 |",
        "| all | 10 | 8 | 6 |",
        "nothing had changed: 0.3438",
        "| llm | 20 |",
        "| label good | 60 |",
        "does not fit the labels | 2 |",
        "Trained by lora: epochs 3, learning_rate 0.0005.",
        "- mood/tweets: checkpoint 0123456789abcdef",
        "12.3% of the tasks",
        "250 calls, 0.5000 USD",
    ):
        assert told in page, told


def test_a_first_committee_has_a_short_page() -> None:
    page = Card("stage-0-1", None, 0, "initial", "first committee", at=0.0).to_markdown()
    assert "after nothing" in page
    assert "|" not in page and "None" not in page


def test_a_selected_committee_was_not_trained() -> None:
    selected = Card("stage-0-2", "stage-0-1", 0, "promoted", "selected", 0.5, 0.8, 60, "human")
    page = replace(selected, method="selection").to_markdown()
    assert "| all | 60 | 30 | 48 |" in page
    assert "Trained by" not in page and "None" not in page
