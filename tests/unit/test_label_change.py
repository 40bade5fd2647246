"""Changed labels: what counts as renamed, what members and rules keep, and old names."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from specialists.registry import similarity
from specialists.rule_state import Head, Live, RuleState
from specialists.types import Label, LabelSet, SpecialistRef, Verdict
from training.label_change import Change, alike, compare, migrate, rule
from training.label_names import LabelNames, current, fits
from training.model_store import ControlCommittee


def labels(*names: str | tuple[str, str], multiple: bool = False) -> LabelSet:
    """Labels by name; a pair is a name and its synonym."""
    made = [Label(n) if isinstance(n, str) else Label(n[0], (n[1],)) for n in names]
    return LabelSet(tuple(made), multiple)


def change(before: LabelSet, now: LabelSet) -> Change:
    return compare({"mood": before}, {"mood": now})["mood"]


def facts(one: Change) -> tuple[dict[str, str], tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    return dict(one.renamed), one.by_place, one.added, one.removed


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        (labels("a", "b"), labels("b", "a"), ({}, (), (), ())),
        (labels("a", "b"), labels("a", "b", multiple=True), ({}, (), (), ())),
        (labels("a", "b"), labels("a", "b", "c"), ({}, (), ("c",), ())),
        (labels("a", "b", "c"), labels("a", "c"), ({}, (), (), ("b",))),
        (labels("a", "b", "c"), labels("a", "x", "c"), ({"b": "x"}, ("b",), (), ())),
        (labels("a", "b", "c"), labels("a", "c", "x"), ({}, (), ("x",), ("b",))),
        (labels("a", "b", "c"), labels("x", "y", "c"), ({}, (), ("x", "y"), ("a", "b"))),
        (labels("a", "b"), labels("b", ("x", "a")), ({"a": "x"}, (), (), ())),
        (labels(("x", "a"), "b"), labels("b", "a"), ({"x": "a"}, (), (), ())),
        (
            labels("Non Toxic", "b"),
            labels("b", "non-toxic"),
            ({"Non Toxic": "non-toxic"}, (), (), ()),
        ),
        (labels("++", "b"), labels("b", "--"), ({}, (), ("--",), ("++",))),
        # Declared for two: nothing is guessed.
        (labels("a", "b"), labels("b", ("x", "a"), ("y", "a")), ({}, (), ("x", "y"), ("a",))),
        # One is declared, the other alone took a place.
        (
            labels("a", "b", "c"),
            labels(("x", "a"), "y", "c"),
            ({"a": "x", "b": "y"}, ("b",), (), ()),
        ),
    ],
)
def test_what_became_of_labels(
    before: LabelSet,
    now: LabelSet,
    expected: tuple[dict[str, str], tuple[str, ...], tuple[str, ...], tuple[str, ...]],
) -> None:
    assert facts(change(before, now)) == expected


def test_a_control_that_alone_has_another_name_is_the_same() -> None:
    two, three = labels("a", "b"), labels("a", "b", "c")
    found = compare({"mood": two, "topic": three}, {"feeling": two, "topic": three})
    assert (found["feeling"].before, found["topic"].before) == ("mood", "topic")
    assert compare({"mood": two}, {"feeling": three})["feeling"].before == ""
    assert compare({"a": two, "b": two}, {"c": two, "d": two})["c"].before == ""


TWEETS = SpecialistRef(
    "tweets", "embedded:sentiment-tweets", {"negative": "bad", "positive": "good"}, "0" * 16
)
BEFORE = {"mood": ControlCommittee(labels("good", "bad"), (TWEETS,))}


def unmatched(wanted: LabelSet) -> ControlCommittee:
    return ControlCommittee(wanted, (SpecialistRef("first", "embedded:x", {}),))


def first(control: str) -> ControlCommittee:
    return unmatched(labels(control))


def moved(now: LabelSet) -> SpecialistRef:
    (ref,) = migrate(BEFORE, {"mood": now}, first)["mood"].members
    return ref


def test_members_keep_what_they_learned() -> None:
    assert moved(labels("bad", "good")) == TWEETS
    renamed = moved(labels("fine", "bad"))
    assert renamed == replace(TWEETS, label_map={"negative": "bad", "positive": "fine"})
    # Its third output had no use so far.
    assert moved(labels("good", "bad", "neutral")).label_map == {
        **TWEETS.label_map,
        "neutral": "neutral",
    }
    # A label that is gone stays in the map, for when it is back.
    assert moved(labels("good", "other", "spam")) == TWEETS
    assert moved(labels("letter", "invoice")).name == "first"


def test_a_new_control_gets_a_first_committee_and_a_renamed_one_its_own() -> None:
    now = {"feeling": labels("good", "bad"), "topic": labels("x", "y")}
    found = migrate(BEFORE, now, first)
    assert (found["feeling"].members, found["topic"].members[0].name) == ((TWEETS,), "first")


def test_a_synonym_alone_changes_no_answers() -> None:
    now = {"mood": replace(BEFORE["mood"], labels=labels(("good", "nice"), "bad"))}
    assert alike(now, BEFORE)
    assert not alike({"mood": replace(now["mood"], labels=labels("bad", "good"))}, BEFORE)
    plain = {"mood": unmatched(labels("good", "bad"))}
    assert not alike({"mood": unmatched(labels(("good", "nice"), "bad"))}, plain)


def test_what_was_taught_nothing_gives_way_to_a_first_committee() -> None:
    wanted = labels("letter", "invoice")
    similar = similarity(wanted, {})
    now = {"mood": labels("good", "bad")}
    assert migrate({"mood": ControlCommittee(wanted, (similar,))}, now, first) == {
        "mood": first("mood")
    }
    # Beside members that were taught it is one of them.
    both = (TWEETS, replace(similar, label_map={}))
    kept = migrate({"mood": ControlCommittee(labels("good", "bad"), both)}, now, first)
    assert kept["mood"].members == both


def test_other_words_for_a_label_are_another_similarity() -> None:
    wanted = labels("letter", "invoice")
    plain, told = (
        {"mood": ControlCommittee(wanted, (similarity(wanted, descriptions),))}
        for descriptions in ({}, {"letter": "anything that is signed"})
    )
    assert not alike(told, plain)


def test_a_rule_moves_with_its_labels_and_begins_anew_with_a_new_one() -> None:
    head = Head(np.zeros(2), np.array([[1.0, 2.0, 3.0]] * 2), np.array([4.0, 5.0, 6.0]))
    confusion = np.array([[0.8, 0.1, 0.1], [0.2, 0.6, 0.2], [0.0, 0.5, 0.5]])
    live = Live(head, weight=0.5, admitted=True, verdicts=9, checked=9, gain=0.1)
    state = RuleState(np.ones(2), confusion, np.ones(1), (head,), accept_above=0.9, live=live)
    before = ("a", "b", "c")
    same = rule(state, before, Change("m", "m", {"a": "x"}), ("c", "x", "b"))
    assert same.confusion.tolist() == confusion[np.ix_([2, 0, 1], [2, 0, 1])].tolist()
    assert (same.heads[0].offset.tolist(), same.accept_above) == ([6.0, 4.0, 5.0], 0.9)
    assert same.live is not None and same.live.head.offset.tolist() == [6.0, 4.0, 5.0]
    fewer = rule(state, before, Change("m", "m", removed=("b",)), ("a", "c"))
    np.testing.assert_allclose(fewer.confusion, [[8 / 9, 1 / 9], [0.0, 1.0]])
    assert fewer.heads[0].weights.shape == (2, 2) and fewer.accept_above is None
    with pytest.raises(ValueError):
        rule(state, before, Change("m", "m", added=("d",)), ("a", "b", "c", "d"))


def test_old_names_lead_to_the_newest() -> None:
    names = LabelNames()
    for renamed in ({"a": "b"}, {"b": "c"}):
        names = names.changed([Change("m", "m", renamed)])
    names = LabelNames.from_json(names.to_json())
    assert names.now("m", ("a", "b", "d"), labels("c", "d")) == ("c", "d")
    assert names.now("m", ("a",), labels("a", "c")) == ("a",), "a name in use means itself"
    back = names.changed([Change("m", "m", {"c": "a"})])
    assert back.labels == {"m": {"b": "a", "c": "a"}}
    assert LabelNames.from_json(None) == LabelNames()


def test_old_names_of_controls_take_their_labels_along() -> None:
    names = LabelNames().changed([Change("m", "m", {"a": "b"})])
    names = names.changed([Change("n", "m")]).changed([Change("o", "n")])
    assert (names.control("m"), names.control("n"), names.control("x")) == ("o", "o", "x")
    assert names.now("o", ("a",), labels("b")) == ("b",)
    assert names.changed([Change("m", "o")]).controls == {"n": "m", "o": "m"}


def test_verdicts_in_the_names_of_now() -> None:
    names = LabelNames({"old": "m"}, {"m": {"a": "x"}})
    said = Verdict(1, "old", "t", ("a",), "llm", "model", 1.0, answer=("a",))
    now = {"m": labels("x", "y")}
    found = current(said, names, now)
    assert (found.control, found.labels, found.answer) == ("m", ("x",), ("x",))
    assert fits(found, now["m"])
    assert not fits(replace(found, answer=("gone",)), now["m"]), "the LLM chose what is gone"
    assert not fits(replace(found, labels=("x", "y")), now["m"])
    assert fits(replace(found, labels=("x", "y")), replace(now["m"], multiple=True))
    assert not fits(found, None)
