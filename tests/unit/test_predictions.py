"""Predictions: the JSON that Label Studio stores and the sentences that people read."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.label_config import Control
from backend.predictions import VERDICT_SCORE, Part, decision_of, prediction, rationale, shows
from specialists.types import Decision, Label, LabelSet, MemberVote, Verdict

LABELS = LabelSet((Label("good"), Label("bad")))
CONTROL = Control("mood", "text", LABELS, "text", html=False, rationale="why")
SILENT = Control("mood", "text", LABELS, "text", html=False, rationale=None)


def decision(
    *says: str, answer: str = "good", confidence: float = 0.97, hard: bool = False
) -> Decision:
    votes = tuple(MemberVote(f"m{i}", (label,), 0.9) for i, label in enumerate(says))
    return Decision((answer,), confidence, hard, "agreed", votes=votes)


def verdict(reason: str = "It praises.") -> Verdict:
    return Verdict(1, "mood", "t", ("bad",), "llm", "model-x", 0.0, reason)


def test_a_decision_becomes_one_region_with_its_votes() -> None:
    built = prediction("tag-1", [Part(SILENT, decision("good", "bad"))])
    (region,) = built["result"]
    assert built["model_version"] == "tag-1" and built["score"] == region["score"] == 0.97
    assert (region["from_name"], region["to_name"], region["type"]) == ("mood", "text", "choices")
    assert region["value"] == {"choices": ["good"]}
    assert region["meta"]["votes"][1] == {"member": "m1", "labels": ["bad"], "probability": 0.9}
    assert region["meta"]["source"] == "committee"


def test_an_abstention_is_an_empty_result_with_score_zero() -> None:
    abstains = Decision((), 0.6, True, "no agreement")
    built = prediction("tag", [Part(CONTROL, abstains)])
    assert built == {"model_version": "tag", "score": 0.0, "result": []}


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
    assert prediction("tag", []) == {"model_version": "tag", "score": 0.0, "result": []}


@pytest.mark.parametrize(
    ("part", "sentence"),
    [
        (Part(CONTROL, decision("good", "good", "good")), "Committee: 3 of 3 agree (0.97)"),
        (Part(CONTROL, decision("good", "good", "bad")), "Committee: 2 of 3 agree (0.97)"),
        (
            Part(CONTROL, decision("good", "good", "bad", hard=True)),
            "Committee unsure: 2 of 3 say good; waiting for review",
        ),
        (Part(CONTROL, decision()), "agreed"),
        (Part(CONTROL, decision("good"), verdict(" ")), "Reviewed — model-x"),
        (Part(CONTROL, Decision((), 0.1, True, "abstained")), ""),
    ],
)
def test_the_rationale_is_one_short_sentence(part: Part, sentence: str) -> None:
    assert rationale(part) == sentence


def test_controls_that_share_a_rationale_field_share_one_entry() -> None:
    other = Control("tone", "text", LABELS, "text", html=False, rationale="why")
    built = prediction(
        "tag", [Part(CONTROL, decision("good")), Part(other, decision("bad"), verdict())]
    )
    (why,) = [region for region in built["result"] if region["type"] == "textarea"]
    assert why["value"]["text"] == [
        "mood: Committee: 1 of 1 agree (0.97)\ntone: It praises. — model-x"
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
