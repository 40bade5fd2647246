"""Predictions: the JSON that Label Studio stores and the sentences that people read."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.label_config import Control
from backend.predictions import (
    HEAD,
    VERDICT_SCORE,
    Part,
    decision_of,
    prediction,
    rationale,
    shows,
    unaided,
)
from backend.task_text import TextSource
from specialists.types import Decision, Label, LabelSet, MemberVote, Verdict

LABELS = LabelSet((Label("good"), Label("bad")))
CONTROL = Control("mood", "text", LABELS, TextSource("$text"), rationale="why")
SILENT = Control("mood", "text", LABELS, TextSource("$text"), rationale=None)


def decision(
    *says: str, answer: str = "good", confidence: float = 0.97, hard: bool = False
) -> Decision:
    votes = tuple(MemberVote(f"m{i}", (label,), 0.9) for i, label in enumerate(says))
    return Decision((answer,), confidence, hard, "agreed", votes=votes)


def verdict(
    reason: str = "It praises.",
    labels: tuple[str, ...] = ("bad",),
    answer: tuple[str, ...] = (),
    chance: float | None = None,
) -> Verdict:
    return Verdict(1, "mood", "t", labels, "llm", "model-x", 0.0, reason, None, answer, chance)


def learned(*says: str, heads: tuple[str, ...] = ("good", "bad", "good")) -> Decision:
    """A decision with the voices of live heads beside the members'."""
    return replace(
        decision(*says),
        gain=0.03,
        heads=tuple(MemberVote(f"head {i}", (label,), 0.8) for i, label in enumerate(heads)),
    )


def test_a_decision_becomes_one_region_with_its_votes() -> None:
    built = prediction("tag-1", [Part(SILENT, decision("good", "bad"))])
    (region,) = built["result"]
    assert built["model_version"] == "tag-1" and built["score"] == region["score"] == 0.97
    assert (region["from_name"], region["to_name"], region["type"]) == ("mood", "text", "choices")
    assert region["value"] == {"choices": ["good"]}
    assert region["meta"]["votes"][1] == {"member": "m1", "labels": ["bad"], "probability": 0.9}
    assert region["meta"]["source"] == "committee"


def test_an_abstention_is_an_empty_result_and_comes_right_after_the_head_of_the_queue() -> None:
    abstains = Decision((), 0.6, True, "no agreement")
    built = prediction("tag", [Part(CONTROL, abstains)])
    assert built == {"model_version": "tag", "score": HEAD, "result": []}


def test_a_verdict_wins_and_is_served_last() -> None:
    built = prediction("tag", [Part(CONTROL, decision("good", "bad", hard=True), verdict())])
    choices, why = built["result"]
    assert choices["value"] == {"choices": ["bad"]}
    assert built["score"] == choices["score"] == VERDICT_SCORE
    assert choices["meta"]["model"] == "model-x" and choices["meta"]["source"] == "llm"
    assert choices["meta"]["reason"] == "It praises." and len(choices["meta"]["votes"]) == 2
    assert why["value"] == {"text": ["It praises. — model-x"]}
    assert shows(built["result"], "mood", ("bad",)) and not shows(built["result"], "mood", ())


def test_the_weakest_control_gives_the_score() -> None:
    parts = [
        Part(SILENT, decision("good", confidence=0.9)),
        Part(SILENT, decision("good", confidence=0.4)),
    ]
    assert prediction("tag", parts)["score"] == 0.4


def test_no_controls_give_a_score_as_well() -> None:
    assert prediction("tag", []) == {"model_version": "tag", "score": HEAD, "result": []}


def test_a_place_in_the_queue_is_the_score_and_the_region_s_stays_the_confidence() -> None:
    built = prediction("tag", [Part(SILENT, decision("good"))], 0.0123)
    assert built["score"] == 0.0123 and built["result"][0]["score"] == 0.97


def test_a_task_keeps_its_place_until_every_answer_is_a_verdict() -> None:
    open_part, done = Part(SILENT, decision("good")), Part(SILENT, decision("good"), verdict())
    assert prediction("tag", [open_part, done], 0.01)["score"] == 0.01
    assert prediction("tag", [done, done], 0.01)["score"] == VERDICT_SCORE


@pytest.mark.parametrize("confidence", [0.0, 0.01, float("nan"), -1.0])
def test_no_confidence_is_served_before_the_head_of_the_queue(confidence: float) -> None:
    assert prediction("tag", [Part(SILENT, decision("good", confidence=confidence))])["score"] == (
        HEAD
    )


@pytest.mark.parametrize(
    ("part", "sentence"),
    [
        (
            Part(CONTROL, decision("good", "good", "good")),
            "Committee: 3 of 3 specialists agree (0.97)",
        ),
        (
            Part(CONTROL, decision("good", "good", "bad")),
            "Committee: 2 of 3 specialists agree (0.97)",
        ),
        (
            Part(CONTROL, decision("good", "good", "bad", hard=True)),
            "Committee unsure: 2 of 3 say good; waiting for review",
        ),
        (Part(CONTROL, decision()), "agreed"),
        (Part(CONTROL, decision("good"), verdict(" ")), "Reviewed — model-x"),
        (Part(CONTROL, Decision((), 0.1, True, "abstained")), ""),
        (
            Part(CONTROL, learned("good", "bad")),
            "Committee: 1 of 2 specialists and 2 of 3 heads learned here agree (0.97)",
        ),
        (Part(CONTROL, learned()), "Committee: 2 of 3 heads learned here agree (0.97)"),
        (
            Part(CONTROL, replace(learned(), hard=True)),
            "Committee unsure: 2 of 3 say good; waiting for review",
        ),
        (
            Part(CONTROL, decision("good", "good"), verdict()),
            "It praises. — model-x, overrode a unanimous committee",
        ),
        (Part(CONTROL, decision("good"), verdict()), "It praises. — model-x"),
        (Part(CONTROL, decision("bad", "bad"), verdict()), "It praises. — model-x"),
        (
            Part(CONTROL, decision("good", "good"), verdict(labels=("good",), answer=("bad",))),
            "The committee overrode the reviewer, which said bad: It praises. — model-x",
        ),
        (
            Part(CONTROL, decision("good", "bad"), verdict(answer=("bad",))),
            "It praises. — model-x",
        ),
    ],
)
def test_the_rationale_is_one_short_sentence(part: Part, sentence: str) -> None:
    assert rationale(part) == sentence


def test_controls_that_share_a_rationale_field_share_one_entry() -> None:
    other = Control("tone", "text", LABELS, TextSource("$text"), rationale="why")
    built = prediction(
        "tag", [Part(CONTROL, decision("good")), Part(other, decision("bad"), verdict())]
    )
    (why,) = [region for region in built["result"] if region["type"] == "textarea"]
    assert why["value"]["text"] == [
        "mood: Committee: 1 of 1 specialists agree (0.97)\ntone: It praises. — model-x"
    ]


def test_region_ids_are_stable_and_tell_answers_apart() -> None:
    def ids(answer: str) -> list[str]:
        built = prediction("tag", [Part(CONTROL, decision("good", answer=answer))])
        return [region["id"] for region in built["result"]]

    assert ids("good") == ids("good")
    assert len({*ids("good"), *ids("bad")}) == 4
    assert {len(one) for one in ids("good")} == {10}


def test_a_lone_surrogate_in_a_reason_does_not_stop_the_prediction() -> None:
    assert prediction("tag", [Part(CONTROL, decision("good"), verdict("\ud800"))])["result"]


@given(st.floats())
def test_scores_are_numbers_between_zero_and_one(confidence: float) -> None:
    built: dict[str, Any] = prediction("t", [Part(SILENT, decision("good", confidence=confidence))])
    assert isinstance(built["score"], float) and 0.0 <= built["score"] <= 1.0


def test_a_decision_can_be_read_back_from_its_region() -> None:
    made = decision("good", "bad", hard=True)
    assert decision_of(prediction("tag", [Part(SILENT, made)])["result"], SILENT) == made


def test_what_the_heads_say_and_a_call_would_add_travels_along() -> None:
    made = learned("good", "bad")
    (region,) = prediction("tag", [Part(SILENT, made)])["result"]
    meta = region["meta"]
    assert (meta["chance"], meta["gain"], meta["hard"]) == (0.97, 0.03, False)
    assert meta["heads"][1] == {"member": "head 1", "labels": ["bad"], "probability": 0.8}
    assert decision_of([region], SILENT) == made


def test_a_verdict_keeps_both_answers_and_its_chance() -> None:
    made = learned("bad", "bad")
    said = verdict(labels=("good",), answer=("bad",), chance=0.81)
    built = prediction("tag", [Part(SILENT, made, said)])
    (region,) = built["result"]
    assert region["value"]["choices"] == ["good"]
    assert (region["meta"]["answer"], region["meta"]["chance"]) == (["bad"], 0.81)
    assert region["meta"]["committee"]["labels"] == ["good"]
    assert built["score"] == 0.81
    assert decision_of([region], SILENT) == made, "the committee's own answer survives"
    assert shows([region], "mood", ("good",))


def test_a_patched_prediction_is_the_one_made_at_once() -> None:
    made, said = learned("bad", "bad"), verdict(answer=("bad",), chance=0.9)
    at_once = prediction("tag", [Part(CONTROL, made, said)])
    first = prediction("tag", [Part(CONTROL, made)])
    patched = prediction("tag", [Part(CONTROL, decision_of(first["result"], CONTROL), said)])
    again = prediction("tag", [Part(CONTROL, decision_of(patched["result"], CONTROL), said)])
    assert at_once == patched == again


def test_an_audit_shows_nothing_and_is_served_first() -> None:
    assert unaided("tag") == {"model_version": "tag", "score": 0.0, "result": []}
