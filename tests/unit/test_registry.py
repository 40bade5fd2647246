"""References to specialists: defaults that fit, names that people know."""

from __future__ import annotations

import pytest

from specialists.errors import SpecialistUnavailable
from specialists.registry import (
    PAPER_MEMBERS,
    default_members,
    embedded_labels,
    embedded_names,
    member,
    pinned,
    short_name,
)
from specialists.types import Label, LabelSet


def labels(*names: str) -> LabelSet:
    return LabelSet(tuple(Label(name) for name in names))


def test_a_sentiment_project_gets_the_sentiment_committee() -> None:
    refs = default_members(labels("Positive", "Negative", "Neutral"))
    assert [ref.source for ref in refs] == [
        "embedded:sentiment-reviews",
        "embedded:sentiment-tweets",
        "embedded:sentiment-finance",
    ]
    assert refs[0].label_map == {"positive": "Positive", "negative": "Negative"}
    assert refs[1].name == "tweets"
    assert refs[1].label_map["neutral"] == "Neutral"


def test_a_toxicity_project_gets_the_toxicity_committee() -> None:
    refs = default_members(labels("clean", "toxic", "spam"))
    assert [ref.name for ref in refs] == ["comments", "tweets", "implicit"]
    assert all(set(ref.label_map.values()) == {"clean", "toxic"} for ref in refs)


def test_a_member_with_one_fitting_label_is_left_out() -> None:
    assert [ref.name for ref in default_members(labels("positive", "neutral"))] == [
        "tweets",
        "finance",
    ]


def test_a_project_that_nothing_fits_gets_no_committee() -> None:
    assert default_members(labels("sports", "politics")) == []


def test_six_adapters_and_the_papers_six_are_known_by_name() -> None:
    assert len(embedded_names()) == 6
    ids = [hub_id for family in PAPER_MEMBERS.values() for hub_id in family.values()]
    assert len(set(ids)) == 6
    ref = member(PAPER_MEMBERS["toxicity"]["toxic-comment"], labels("ok", "toxic"), ["toxic"])
    assert (ref.name, ref.source) == ("toxic-comment", "garak-llm/toxic-comment-model")


def test_any_hub_id_or_folder_is_named_by_its_last_part() -> None:
    wanted, own = labels("positive", "negative"), ["NEG", "POS"]
    assert member("someone/my-model", wanted, own).name == "my-model"
    assert member("models/my-model/", wanted, own).name == "my-model"
    assert member("embedded:sentiment-tweets", wanted, own).name == "tweets"


def test_a_model_without_a_matching_label_is_refused_with_both_label_lists() -> None:
    with pytest.raises(
        SpecialistUnavailable, match=r"a/b .*\(joy, anger\).*\(toxic, clean\); name"
    ):
        member("a/b", labels("toxic", "clean"), ["joy", "anger"])


def test_an_unknown_adapter_is_refused_with_the_known_ones() -> None:
    with pytest.raises(SpecialistUnavailable, match="use one of sentiment-reviews, "):
        embedded_labels("sentiment-poems")


def test_a_hub_id_may_be_pinned_to_a_commit_and_keeps_its_name_and_meaning() -> None:
    commit = "0123456789abcdef" * 2 + "01234567"
    paper = "cardiffnlp/twitter-roberta-base-sentiment-latest"
    assert pinned("org/one") == ("org/one", "main")
    assert pinned(f"org/one@{commit}") == ("org/one", commit)
    assert short_name(f"org/one@{commit}") == "one"
    moods = labels("negative", "neutral", "positive")
    ref = member(f"{paper}@{commit}", moods, ("LABEL_0", "LABEL_1", "LABEL_2"))
    assert ref.name == "twitter-roberta" and ref.source.endswith(commit)
    assert dict(ref.label_map) == {
        "LABEL_0": "negative",
        "LABEL_1": "neutral",
        "LABEL_2": "positive",
    }
