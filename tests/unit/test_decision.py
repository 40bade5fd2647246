"""The paper's rule: majority, hard when not unanimous, and safe with labels nobody knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from specialists.decision import PaperRule, pool
from specialists.evidence import Evidence
from specialists.types import Decision, Label, LabelSet

Array = npt.NDArray[np.float32]
NAN = float("nan")
SENTIMENT = LabelSet((Label("negative"), Label("neutral"), Label("positive")))
NAMES = ("reviews", "tweets", "finance")


def decide_one(votes: Array, names: Sequence[str], labels: LabelSet) -> Decision:
    return PaperRule().decide(Evidence(votes[None]), names, labels)[0]


def decide(*votes: list[float], labels: LabelSet = SENTIMENT) -> Decision:
    return decide_one(np.array(votes, dtype=np.float32), NAMES[: len(votes)], labels)


def test_all_agree() -> None:
    found = decide([0.2, NAN, 0.8], [0.1, 0.1, 0.8], [0.0, 0.4, 0.6])
    assert (found.labels, found.hard, found.reason) == (("positive",), False, "3 of 3 agree")
    assert [vote.member for vote in found.votes] == list(NAMES)
    assert found.votes[0].labels == ("positive",)
    assert found.votes[0].probability == pytest.approx(0.8)


def test_a_majority_against_one_is_hard_and_the_reason_names_the_one() -> None:
    found = decide([0.9, NAN, 0.1], [0.1, 0.1, 0.8], [0.0, 0.4, 0.6])
    assert (found.labels, found.hard) == (("positive",), True)
    assert found.reason == "2 of 3 say positive; reviews says negative"


def test_two_who_dissent_alike_are_named_together() -> None:
    found = decide([0.6, NAN, 0.4], [0.01, 0.98, 0.01], [0.6, 0.1, 0.3])
    assert found.reason == "2 of 3 say negative; tweets says neutral"
    labels = LabelSet((Label("a"), Label("b"), Label("c")))
    found = decide([0.9, 0.1, 0.0], [0.0, 0.4, 0.6], [0.3, 0.6, 0.1], labels=labels)
    assert found.reason == "1 of 3 say a; finance says b; tweets says c"


def test_a_member_that_knows_no_neutral_neither_makes_nor_breaks_a_neutral_majority() -> None:
    found = decide([0.01, NAN, 0.99], [0.1, 0.8, 0.1], [0.1, 0.7, 0.2])
    assert (found.labels, found.hard, found.reason) == (("neutral",), False, "2 of 2 agree")
    alone = decide([0.5, NAN, 0.5], [0.05, 0.9, 0.05])
    assert (alone.labels, alone.hard) == (("neutral",), True)
    assert alone.reason == "only tweets knows neutral"


def test_a_tie_goes_to_the_larger_pooled_probability() -> None:
    assert decide([0.45, NAN, 0.55], [0.9, 0.05, 0.05]).labels == ("negative",)
    assert decide([0.05, NAN, 0.95], [0.5, 0.1, 0.4]).labels == ("positive",)


def test_a_missing_label_is_filled_with_what_the_others_give_it() -> None:
    pooled = pool(np.array([[0.25, NAN, 0.75], [0.1, 0.6, 0.3], [0.4, 0.4, 0.2]]))
    # The first member gets 0.5 neutral, and its own votes are halved.
    assert pooled == pytest.approx([(0.125 + 0.1 + 0.4) / 3, 0.5, (0.375 + 0.3 + 0.2) / 3])


def test_a_single_member_is_always_hard() -> None:
    assert decide([0.0, 0.0, 1.0]).hard


def test_a_member_with_one_known_label_has_no_choice_and_no_vote() -> None:
    found = decide([NAN, NAN, 1.0], [0.9, 0.05, 0.05], [0.8, 0.1, 0.1])
    assert (found.labels, found.hard) == (("negative",), False)
    assert [vote.member for vote in found.votes] == ["tweets", "finance"]


def test_without_any_known_label_the_committee_abstains_and_the_text_is_hard() -> None:
    for votes in ([NAN, NAN, NAN],), ([NAN] * 3, [NAN] * 3):
        found = decide(*votes)
        assert (found.labels, found.hard, found.confidence) == ((), True, 0.0)
        assert found.reason == "no member knows these labels"


MULTIPLE = replace(SENTIMENT, multiple=True)


def test_multiple_choice_takes_each_label_from_one_half_on() -> None:
    found = decide([0.9, 0.2, 0.7], [0.8, 0.1, 0.6], labels=MULTIPLE)
    assert (found.labels, found.hard) == (("negative", "positive"), False)
    assert found.confidence == pytest.approx(0.65)
    assert found.votes[0].labels == ("negative", "positive")


def test_multiple_choice_is_hard_when_members_differ_on_any_label() -> None:
    found = decide([0.9, 0.2, 0.4], [0.8, 0.1, 0.9], labels=MULTIPLE)
    assert (found.labels, found.hard) == (("negative", "positive"), True)
    assert found.reason == "members differ on positive"


def test_multiple_choice_is_hard_when_no_label_fits_or_one_member_alone_says_it() -> None:
    nothing = decide([0.1, 0.2, 0.4], [0.2, 0.1, 0.3], labels=MULTIPLE)
    assert (nothing.labels, nothing.hard, nothing.reason) == ((), True, "no label reaches 0.5")
    alone = decide([NAN, 0.2, 0.8], [0.1, 0.1, NAN], labels=MULTIPLE)
    assert (alone.labels, alone.hard) == (("positive",), True)
    assert alone.reason == "only one member knows positive"


@st.composite
def committees(draw: st.DrawFn) -> tuple[Array, LabelSet]:
    """Votes of 0 to 5 members over 1 to 5 labels with any pattern of unknown labels."""
    width, height = draw(st.integers(1, 5)), draw(st.integers(0, 5))
    multiple = draw(st.booleans())
    rows = np.full((height, width), np.nan, dtype=np.float32)
    for row in rows:
        known = draw(st.lists(st.booleans(), min_size=width, max_size=width))
        raw = draw(st.lists(st.floats(0.01, 1.0), min_size=width, max_size=width))
        row[known] = np.array(raw)[known]
        if not multiple:
            row /= np.nansum(row) or 1.0
    return rows, LabelSet(tuple(Label(f"label {i}") for i in range(width)), multiple)


@given(committee=committees(), order=st.randoms(use_true_random=False))
def test_the_order_of_the_members_changes_nothing(
    committee: tuple[Array, LabelSet], order: object
) -> None:
    votes, labels = committee
    names = [f"member {i}" for i in range(len(votes))]
    shuffled = list(range(len(votes)))
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    first = decide_one(votes, names, labels)
    second = decide_one(votes[shuffled], [names[i] for i in shuffled], labels)
    assert set(first.votes) == set(second.votes)
    assert replace(first, votes=()) == replace(second, votes=())


@given(committee=committees())
def test_decisions_are_sound_for_any_votes(committee: tuple[Array, LabelSet]) -> None:
    votes, labels = committee
    found = decide_one(votes, [str(i) for i in range(len(votes))], labels)
    assert set(found.labels) <= set(labels.names)
    assert 0.0 <= found.confidence <= 1.0 + 1e-9
    assert not np.isnan(found.probabilities).any()
    if found.labels and not labels.multiple:
        assert sum(found.probabilities) == pytest.approx(1.0)
    if not found.labels:
        assert found.hard


@given(committee=committees())
def test_unanimous_committees_are_never_hard(committee: tuple[Array, LabelSet]) -> None:
    votes, labels = committee
    single = replace(labels, multiple=False)
    full = votes[~np.isnan(votes).any(axis=1)]
    found = decide_one(full, [str(i) for i in range(len(full))], single)
    unanimous = len(full) >= 2 and len(labels.names) >= 2 and len(set(full.argmax(axis=1))) == 1
    assert found.hard != unanimous
