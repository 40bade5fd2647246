"""Candidates: which are not even looked at, and in which order they are without an LLM."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meta_controller.candidates import Candidate, is_mapped, is_nameless, refused, score
from specialists.types import Label, LabelSet

MOODS = LabelSet((Label("positive"), Label("neutral"), Label("negative")))
GOOD = Candidate(
    "org/good@abc",
    "hub",
    ("NEG", "POS"),
    {"NEG": "negative", "POS": "positive"},
    downloads=1000,
    parameters=100_000_000,
    licence="mit",
    languages=("en",),
)
ROOM = 500e6


def test_a_plain_model_of_a_free_licence_passes_every_filter() -> None:
    assert refused(GOOD, ROOM) == ""


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"safetensors": False}, "no safetensors"),
        ({"remote_code": True}, "code of its own"),
        ({"gated": True}, "gated"),
        ({"licence": "cc-by-nc-4.0"}, "licence is cc-by-nc-4.0"),
        ({"licence": ""}, "licence is not stated"),
        ({"parameters": None}, "how large"),
        ({"parameters": 200_000_000}, "800 MB, at most 500"),
    ],
)
def test_what_is_refused_says_why(change: dict[str, object], why: str) -> None:
    assert why in refused(replace(GOOD, **change), ROOM)  # type: ignore[arg-type]


def test_a_map_that_reaches_one_label_is_none() -> None:
    assert is_mapped(GOOD, MOODS)
    assert not is_mapped(replace(GOOD, label_map={"NEG": "negative", "POS": "negative"}), MOODS)
    assert not is_mapped(replace(GOOD, label_map={"NEG": "negative", "POS": "joy"}), MOODS)


def test_only_numbered_labels_as_many_as_the_project_s_are_nameless() -> None:
    numbered = replace(GOOD, labels=("LABEL_0", "LABEL_1", "LABEL_2"))
    assert is_nameless(numbered, MOODS)
    assert not is_nameless(replace(GOOD, labels=("LABEL_0", "LABEL_1")), MOODS)
    assert not is_nameless(replace(GOOD, labels=("joy", "LABEL_1", "LABEL_2")), MOODS)


def test_knowing_all_labels_counts_more_than_a_hundred_times_the_downloads() -> None:
    three = {"a": "positive", "b": "neutral", "c": "negative"}
    known = replace(GOOD, label_map=three)
    assert score(known, MOODS) > score(replace(GOOD, downloads=100_000), MOODS)
    assert score(replace(GOOD, downloads=2000), MOODS) > score(GOOD, MOODS)
    assert score(replace(GOOD, parameters=50_000_000), MOODS) > score(GOOD, MOODS)


@given(
    labels=st.lists(st.text(), max_size=4),
    counts=st.tuples(st.none() | st.integers(0), st.none() | st.integers(0)),
    checkpoint=st.none() | st.text(),
)
def test_a_candidate_survives_json(
    labels: list[str], counts: tuple[int | None, int | None], checkpoint: str | None
) -> None:
    one = replace(
        GOOD,
        labels=tuple(labels),
        label_map={label: "positive" for label in labels},
        checkpoint=checkpoint,
        downloads=counts[0],
        parameters=counts[1],
    )
    assert Candidate.from_json(one.to_json()) == one


def test_a_hub_model_is_known_without_its_commit() -> None:
    assert GOOD.id == "org/good"
    assert Candidate("/models/a@b", "local").id == "/models/a@b"
