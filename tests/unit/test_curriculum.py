"""The curriculum: weights of verdicts, replay with people first, texts the committee is sure of."""

from __future__ import annotations

from dataclasses import replace

import pytest
from verdicts import LABELS, texts, verdict

from specialists.types import Decision
from training.curriculum import LLM_WEIGHT, Curriculum
from training.plan import plan

SURE = Decision(("good",), 0.9, False, "all agree", (0.9, 0.1))
SPLIT = replace(SURE, hard=True)


def test_a_verdict_counts_by_who_gave_it_and_by_its_chance_to_be_right() -> None:
    weigh = Curriculum().weight
    text = texts(False, 1)[0]
    assert weigh(verdict(text, "good", "human")) == 1.0
    assert weigh(verdict(text, "good", "llm")) == LLM_WEIGHT
    assert weigh(replace(verdict(text, "good", "llm"), chance=0.55)) == 0.55


@pytest.mark.parametrize(("focus", "wrong", "right"), [(1.0, 1.9, 1.1), (-1.0, 0.1, 0.9)])
def test_the_focus_turns_to_what_the_committee_has_wrong_or_away(
    focus: float, wrong: float, right: float
) -> None:
    one, two = texts(False, 2)
    fresh = [verdict(one, "bad", "human"), verdict(two, "good", "human")]
    found = plan(
        LABELS, fresh, (), "", curriculum=Curriculum(focus=focus), opinions={one: SURE, two: SURE}
    )
    weights = {each.text: each.weight for each in found.examples}
    assert weights == {one: pytest.approx(wrong), two: pytest.approx(right)}


def test_of_each_answer_people_are_replayed_first() -> None:
    fresh = [verdict(text) for text in texts(False, 4)]
    people = [verdict(text, "good", "human") for text in texts(False, 3, "person")]
    llm = [verdict(text, "good", "llm") for text in texts(False, 40, "machine")]
    few = Curriculum(replay=1.0, least_replay=0)
    found = plan(LABELS, fresh, llm + people, "1", curriculum=few)
    assert {v.text for v in people} <= {each.text for each in found.examples}
    assert found.samples["replay"] == 4


def test_sure_texts_without_a_verdict_are_learned_as_the_committee_answers_them() -> None:
    fresh = [verdict(text, "bad", "human") for text in texts(False, 4)]
    sure, split, held = texts(False, 6, "sure"), texts(False, 6, "split"), texts(True, 6, "held")
    opinions = dict.fromkeys([*sure, *held, fresh[0].text], SURE) | dict.fromkeys(split, SPLIT)
    found = plan(LABELS, fresh, (), "1", curriculum=Curriculum(agreed=1.0), opinions=opinions)
    agreed = [each for each in found.examples if each.labels == ("good",)]
    assert len(agreed) == found.samples["agreed"] == 4
    assert {each.text for each in agreed} <= set(sure)
    assert {each.weight for each in agreed} == {0.5}
    assert plan(LABELS, fresh, (), "1", opinions=opinions).samples["agreed"] == 0


def test_texts_to_choose_by_are_neither_learned_nor_held_out() -> None:
    curriculum = Curriculum(tuning=0.1)
    verdicts = [verdict(f"some text {n}") for n in range(400)]
    found = plan(LABELS, verdicts, (), "1", curriculum=curriculum)
    parts = [
        {each.text for each in found.tuning},
        {each.text for each in found.examples},
        {each.text for each in found.held_out},
    ]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 400
    assert 25 <= len(parts[0]) <= 55
    plain = plan(LABELS, verdicts, (), "1")
    assert not plain.tuning
    assert plain.held_out == found.held_out
