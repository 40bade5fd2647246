"""The slice: each label that people gave often enough has its fifth, and no more than that."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from verdicts import texts, verdict

from specialists.types import Verdict
from training.slice import ONE_IN, HeldOut, lacking, member


def rows(label: str, held: int, others: int, control: str = "sentiment") -> list[Verdict]:
    """People's verdicts on texts of their own, so many of which the hash holds out."""
    chosen = [*texts(True, held, label), *texts(False, others, label)]
    return [verdict(text, label, control=control) for text in chosen]


def counts(held: HeldOut, verdicts: list[Verdict]) -> Counter[str]:
    """Held-out texts by label."""
    return Counter(label for v in verdicts if held.holds(v.control, v.text) for label in v.labels)


@pytest.mark.parametrize(("answers", "held"), [(4, 0), (5, 1), (9, 1), (25, 5)])
def test_a_label_that_the_hash_left_out_gets_its_fifth(answers: int, held: int) -> None:
    verdicts = [*rows("rare", 0, answers), *rows("common", 20, 80)]
    found = HeldOut(frozenset(lacking(HeldOut(), verdicts, ())))
    assert counts(found, verdicts) == Counter(common=20, rare=held)


def test_only_texts_that_no_stage_was_given_are_taken() -> None:
    verdicts = rows("rare", 0, 25)
    given_ = {member(v.control, v.text) for v in verdicts[:23]}
    found = lacking(HeldOut(), verdicts, given_)
    assert found == {member(v.control, v.text) for v in verdicts[23:]}


def test_the_llm_s_verdicts_neither_count_nor_are_taken() -> None:
    llm = [verdict(text, "rare", "llm") for text in texts(False, 50, "rare")]
    assert lacking(HeldOut(), llm, ()) == set()


def test_each_control_has_its_own() -> None:
    one, two = rows("rare", 0, 5, "mood"), rows("rare", 0, 5, "topic")
    found = HeldOut(frozenset(lacking(HeldOut(), [*one, *two], ())))
    assert len(found.more) == 2
    (text,) = (v.text for v in one if found.holds("mood", v.text))
    assert found.holds("mood", f"  {text.upper()} ")
    other = [v for v in rows("rare", 0, 5, "mood") if v.text != text]
    assert not any(found.holds("mood", v.text) for v in other)


VERDICTS = st.lists(
    st.builds(
        verdict,
        text=st.integers(0, 60).map("text number {}".format),
        label=st.lists(st.sampled_from("abc"), max_size=2, unique=True).map(tuple),
        source=st.sampled_from(["human", "human", "llm"]),
        at=st.floats(0, 9),
        task_id=st.integers(0, 99),
    ),
    max_size=80,
    unique_by=lambda v: (v.at, v.task_id),
)


@settings(max_examples=60)
@given(VERDICTS, VERDICTS)
def test_a_rerun_chooses_the_same_and_a_later_stage_only_adds(
    first: list[Verdict], more: list[Verdict]
) -> None:
    chosen = lacking(HeldOut(), first, ())
    assert chosen == lacking(HeldOut(), first[::-1], ())
    held = HeldOut(frozenset(chosen))
    assert lacking(held, first, ()) == set(), "filled once, nothing lacks"
    given_ = {member(v.control, v.text) for v in first} - chosen
    later = lacking(held, [*first, *more], given_)
    assert not later & (chosen | given_)
    latest = {member(v.control, v.text): v for v in sorted(first, key=lambda v: (v.at, v.task_id))
              if v.source == "human"}  # fmt: skip
    people = list(latest.values())
    answers = Counter(label for v in people for label in v.labels)
    for label, count in answers.items():
        assert counts(held, people)[label] >= count // ONE_IN, "every label has its fifth"
    alone = [v for v in people if len(v.labels) == 1]
    if len(alone) == len(people):
        by_hash = counts(HeldOut(), people)
        for label, count in counts(held, people).items():
            assert count <= max(by_hash[label], answers[label] // ONE_IN), "and no more"
