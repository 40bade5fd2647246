"""Similarity votes by what labels are called: on any labels, and never surer than it may be."""

from __future__ import annotations

import numpy as np
import pytest

from specialists.chances import expected_gain
from specialists.committee import Committee
from specialists.evidence import Evidence
from specialists.models import Models
from specialists.registry import SIMILARITY, first_members, similarity
from specialists.rule_state import RuleState
from specialists.similarity import CLAIM, words
from specialists.types import Label, LabelSet, SpecialistRef
from specialists.value_rule import MIN_GAIN, ValueRule

GOAL = "The striker scored twice before half-time."
VOTE = "Parliament passed the budget after a long debate."


def labels(*names: str, multiple: bool = False) -> LabelSet:
    return LabelSet(tuple(Label(name) for name in names), multiple)


def committee(wanted: LabelSet, **descriptions: str) -> Committee:
    return Committee.load(first_members(wanted, descriptions), wanted, {})


def votes(wanted: LabelSet, *texts: str, **descriptions: str) -> np.ndarray:
    """Shape (texts, labels)."""
    return committee(wanted, **descriptions).observe(texts).votes[:, 0]


def said(wanted: LabelSet, *texts: str, **descriptions: str) -> list[str]:
    return [wanted.names[i] for i in votes(wanted, *texts, **descriptions).argmax(axis=1)]


def test_a_text_is_nearest_to_what_it_is_about() -> None:
    assert said(labels("sports_news", "domesticPolitics"), GOAL, VOTE) == [
        "sports_news",
        "domesticPolitics",
    ]


def test_synonyms_and_descriptions_tell_what_a_code_means() -> None:
    coded = LabelSet((Label("K1", ("football",)), Label("K2")))
    assert said(coded, GOAL, VOTE, K2="laws, elections and the government") == ["K1", "K2"]


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("card_arrival", "card arrival"),
        ("cardArrival", "card Arrival"),
        ("sci/tech", "sci tech"),
        ("USA", "USA"),
        ("👍", "👍"),
        ("_", "_"),
        ("رياضة، كرة", "رياضة كرة"),
    ],
)
def test_names_are_read_as_words(name: str, written: str) -> None:
    assert words(name) == written


@pytest.mark.parametrize("count", [2, 77, 300])
def test_no_label_is_ruled_out_and_a_call_is_always_worth_it(count: int) -> None:
    wanted = labels(GOAL, *(f"label {number}" for number in range(1, count)))
    (row,) = votes(wanted, GOAL)  # as sure as it gets
    assert row.argmax() == 0 and row.sum() == pytest.approx(1.0, abs=1e-4)
    assert row.max() <= CLAIM + (1 - CLAIM) / count + 1e-6
    assert row.min() >= (1 - CLAIM) / count - 1e-6
    first = RuleState.first(1, count)
    assert expected_gain(row[None].astype(np.float64), first.confusion)[0] > MIN_GAIN


def test_labels_that_differ_in_case_only_are_equally_likely() -> None:
    (row,) = votes(labels("Sports", "sports", "politics"), GOAL)
    assert row[0] == pytest.approx(row[1], abs=1e-4) and row[0] > row[2]


def test_exotic_labels_and_texts_get_finite_votes() -> None:
    wanted = labels("a, b", '"quoted"', "👍", "رياضة", "спорт", " ", "<b>&amp;</b>", "x" * 3000)
    found = votes(wanted, "👎", "", " ", "\ud7ff", "мяч", "x " * 5000)
    assert found.shape == (6, 8) and np.isfinite(found).all()
    np.testing.assert_allclose(found.sum(axis=1), 1.0, atol=1e-4)


def test_a_name_belongs_to_its_own_label() -> None:
    wanted = LabelSet((Label("goal", ("aim", "score")), Label("aim"), Label("win", ("score",))))
    found = similarity(wanted, {"win": "coming first", "aim": ""}).label_map
    assert found == {
        "goal": "goal",
        "aim": "aim",
        "win": "win",
        "score": "goal",
        "coming first": "win",
    }


def test_it_is_picked_where_nobody_knows_the_labels_of_a_single_choice() -> None:
    (ref,) = first_members(labels("invoice", "letter"), {})
    assert ref == SpecialistRef(
        "similarity", "embedded:similarity", {"invoice": "invoice", "letter": "letter"}
    )
    assert first_members(labels("invoice", "letter", multiple=True), {}) == []
    assert len(first_members(labels("positive", "negative"), {})) == 3


def test_it_sees_what_the_live_member_learns_on() -> None:
    wanted = labels("sports", "politics")
    one = committee(wanted)
    assert one.names == (SIMILARITY,) and one.sees and len(one.specialists) == 1
    seen, alone = one.observe([GOAL, VOTE]), Models().embedder(wanted).observe([GOAL, VOTE])
    assert seen.frozen is not None and alone.frozen is not None
    np.testing.assert_allclose(seen.frozen, alone.frozen, atol=1e-5)


def test_named_by_a_person_it_votes_beside_others() -> None:
    wanted = labels("positive", "negative")
    refs = [*first_members(wanted, {}), SpecialistRef(SIMILARITY, "embedded:similarity", {})]
    seen = Committee.load(refs, wanted, {}).observe(["A wonderful film."])
    assert seen.votes.shape == (1, 4, 2) and np.isfinite(seen.votes).all()
    assert seen.votes[0, 3, 0] > 0.5


def test_before_verdicts_it_is_heard_and_not_believed() -> None:
    wanted = labels("sports", "politics")
    (decision,) = committee(wanted).decide([GOAL], ValueRule(RuleState.first(1, 2)))
    assert (decision.labels, decision.hard) == ((), True)
    assert decision.reason == "no member knows these labels yet"
    assert [(vote.member, vote.labels) for vote in decision.votes] == [(SIMILARITY, ("sports",))]
    sure = Evidence(np.array([[[0.95, 0.05]]], dtype=np.float32))
    (taught,) = ValueRule(RuleState.first(1, 2)).decide(sure, ["reviews"], wanted)
    assert taught.labels == ("sports",)
