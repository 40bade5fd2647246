"""The report: what an estimate rests on, and how it is said."""

from __future__ import annotations

from typing import Any

import pytest

from backend.report import LEAST_ANSWERS, estimate, sentences

REPORT: dict[str, Any] = {
    "control": "sentiment",
    "tasks": 100,
    "accepted": 80,
    "estimate": estimate((0, 0), (0, 0), 80, 72.0, 6.4),
    "promise": "",
    "trust": "both",
    "compared": (0, 0, 0),
    "llm_accuracy": 0.85,
    "llm_checked": (0, 0),
    "llm_overrode": [],
    "llm_overridden": [],
}


def test_audits_come_first_then_people_then_the_committee_itself() -> None:
    few, enough = (LEAST_ANSWERS - 1, 1), (LEAST_ANSWERS, 9)
    assert estimate(enough, enough, 2, 1.0, 0.5)["basis"] == "audits"
    assert estimate(few, enough, 2, 1.0, 0.5)["basis"] == "people"
    assert estimate(few, few, 2, 1.0, 0.5)["basis"] == "committee"


def test_an_estimate_has_an_interval_where_people_answered() -> None:
    found = estimate((20, 18), (0, 0), 2, 1.0, 0.5)
    assert found["accuracy"] == 0.9
    assert 0.65 < found["low"] < 0.9 < found["high"] < 1


def test_the_committee_s_own_confidence_is_called_unverified() -> None:
    found = REPORT["estimate"]
    assert found["accuracy"] == 0.9
    # 1.96 standard deviations of a sum of 80 answers, each right with chance 0.9 or near it.
    assert (found["low"], found["high"]) == pytest.approx((0.9 - 0.062, 0.9 + 0.062), abs=1e-3)
    (first, *_) = sentences(REPORT)
    assert first == (
        "sentiment: the committee's label is accepted on 80 of 100 tasks; about 90.0% of them "
        "right, 83.8% to 96.2% "
        "(if the committee's own confidence holds, which no person has checked)"
    )


def test_the_interval_of_sure_answers_stays_within_0_and_1() -> None:
    found = estimate((0, 0), (0, 0), 2, 1.998, 0.002)
    assert found["high"] == 1.0 and found["low"] > 0.9


def test_what_the_llm_said_of_accepted_labels_is_told() -> None:
    said = " ".join(sentences({**REPORT, "llm_checked": (18, 14)}))
    assert "agrees with 14 of 18 accepted labels" in said
    assert "agrees" not in " ".join(sentences(REPORT))


def test_with_nothing_accepted_the_accuracy_is_unknown() -> None:
    found = {**REPORT, "accepted": 0, "estimate": estimate((0, 0), (0, 0), 0, 0.0, 0.0)}
    assert "accuracy unknown" in sentences(found)[0]


def test_where_nobody_can_check_the_llm_what_it_is_taken_for_is_a_guess() -> None:
    assert "first guess" not in " ".join(sentences(REPORT))
    assert "right in 85.0% (a first guess)" in " ".join(sentences({**REPORT, "llm_guessed": True}))


@pytest.mark.parametrize(
    ("trust", "words"),
    [
        ("committee", "not asked any more"),
        ("llm", "the committee is worse than the LLM"),
        ("unproven", "first guess"),
    ],
)
def test_whom_to_believe_is_said_with_the_counts(trust: str, words: str) -> None:
    said = " ".join(sentences({**REPORT, "trust": trust, "compared": (40, 35, 20)}))
    assert words in said
    assert "committee 35, LLM 20 of 40 right" in said


def test_examples_and_the_promise_are_shown() -> None:
    found = {**REPORT, "promise": "At most 5 %.", "llm_overrode": [3, 4], "llm_overridden": [9]}
    said = sentences(found)
    assert "At most 5 %." in said
    assert "the LLM overrode a unanimous committee, for example in tasks 3, 4" in said
    assert "the committee overrode the LLM, for example in tasks 9" in said
