"""Own labels find the project's, and nothing is guessed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specialists.label_map import match
from specialists.types import Label, LabelSet


def labels(*names: str) -> LabelSet:
    return LabelSet(tuple(Label(name) for name in names))


@pytest.mark.parametrize(
    ("own", "names", "expected"),
    [
        (["pos", "neg"], ("Positive", "Negative"), {"pos": "Positive", "neg": "Negative"}),
        (["POS", "NEU", "NEG"], ("positive", "negative"), {"POS": "positive", "NEG": "negative"}),
        (
            ["1 star", "2 stars", "3 stars", "4 stars", "5 stars"],
            ("Good", "Bad"),
            {"1 star": "Bad", "2 stars": "Bad", "4 stars": "Good", "5 stars": "Good"},
        ),
        (["neutral", "toxic"], ("Toxic", "Clean"), {"neutral": "Clean", "toxic": "Toxic"}),
        (
            ["toxic", "non-toxic"],
            ("not toxic", "hate"),
            {"toxic": "hate", "non-toxic": "not toxic"},
        ),
        (
            ["Non_Toxic", "TOXIC"],
            ("toxic", "non-toxic"),
            {"Non_Toxic": "non-toxic", "TOXIC": "toxic"},
        ),
        (["neutral", "positive"], ("toxic", "neutral"), {"neutral": "neutral"}),
    ],
)
def test_known_spellings_find_the_project_label(
    own: list[str], names: tuple[str, ...], expected: dict[str, str]
) -> None:
    assert match(own, labels(*names)) == expected


def test_neutral_of_a_sentiment_model_is_not_harmless() -> None:
    assert match(["negative", "neutral", "positive"], labels("toxic", "non-toxic")) == {}


def test_generic_labels_map_only_for_models_documented_here() -> None:
    wanted = labels("positive", "negative", "neutral")
    own = ["LABEL_0", "LABEL_1", "LABEL_2"]
    assert match(own, wanted) == {}
    assert match(own, wanted, model="someone/else") == {}
    assert match(own, wanted, model="cardiffnlp/twitter-xlm-roberta-base-sentiment") == {
        "LABEL_0": "negative",
        "LABEL_1": "neutral",
        "LABEL_2": "positive",
    }
    toxic = match(["LABEL_1"], labels("Toxic"), model="JungleLee/bert-toxic-comment-classification")
    assert toxic == {"LABEL_1": "Toxic"}


def test_a_declared_synonym_wins_over_the_table() -> None:
    wanted = LabelSet((Label("Cheer"), Label("Praise", ("POS",)), Label("positive")))
    assert match(["POS"], wanted) == {"POS": "Praise"}


def test_a_synonym_lends_its_meaning() -> None:
    wanted = LabelSet((Label("Lob", ("positive",)), Label("Tadel", ("negative",))))
    assert match(["pos", "neg"], wanted) == {"pos": "Lob", "neg": "Tadel"}


def test_a_meaning_that_two_project_labels_share_maps_to_neither() -> None:
    assert match(["toxic", "non-toxic"], labels("hate", "offensive", "normal")) == {
        "non-toxic": "normal"
    }


def test_spellings_that_differ_only_in_case_need_the_exact_one() -> None:
    wanted = labels("US", "us")
    assert match(["us"], wanted) == {"us": "us"}
    assert match(["Us"], wanted) == {}


names = st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=6, unique=True)


@given(own=names, wanted=names)
def test_the_map_stays_within_both_sets_and_exact_names_map_to_themselves(
    own: list[str], wanted: list[str]
) -> None:
    found = match(own, labels(*wanted))
    assert set(found) <= set(own)
    assert set(found.values()) <= set(wanted)
    assert all(found[name] == name for name in set(own) & set(wanted))
