"""The judgement: only a committee that is not worse passes, on average and in its parts."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.card import HeldOutSource
from training.judgement import ALPHA, Judgement, Trial, judge, margin

ANSWERS = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=8)


def trial(truth: str, was: bool, now: bool, at: float = 0.0) -> Trial:
    """A verdict, and whether each committee is right; wrong is another label, the same for all."""
    return Trial((truth,), (truth if was else "other",), (truth if now else "other",), at)


def trials(truth: str, kept: int, lost: int = 0, gained: int = 0, at: float = 0.0) -> list[Trial]:
    return [
        *(trial(truth, True, True, at) for _ in range(kept)),
        *(trial(truth, True, False, at) for _ in range(lost)),
        *(trial(truth, False, True, at) for _ in range(gained)),
    ]


@given(ANSWERS, st.sampled_from(["human", "llm"]))
def test_a_few_verdicts_are_judged_by_their_number(
    pairs: list[tuple[bool, bool]], source: HeldOutSource
) -> None:
    before, after = zip(*pairs, strict=True)
    found = judge([trial(f"label {i}", *pair) for i, pair in enumerate(pairs)], source)
    if sum(after) < sum(before):
        assert not found.passed
    assert found.n == len(pairs)
    assert found.before == pytest.approx(sum(before) / len(pairs))
    assert found.after == pytest.approx(sum(after) / len(pairs))


def test_the_reason_is_a_sentence_with_the_numbers() -> None:
    refused = judge(trials("good", kept=1, lost=2, gained=1), "human")
    assert refused.reason == (
        "Refused: 2 of 4 held-out human verdicts right (50.0%), 3 (75.0%) before."
    )
    assert judge(trials("good", kept=0, gained=1), "llm").reason.startswith(
        "Promoted: 1 of 1 held-out llm"
    )


@pytest.mark.parametrize("source", ["none", "human", "llm"])
def test_without_held_out_verdicts_it_passes_and_says_so(source: HeldOutSource) -> None:
    found = judge([], source)
    assert found == Judgement(True, "Promoted unmeasured: no held-out verdicts.", None, None, 0)


def test_a_lost_label_is_not_made_good_by_another_one() -> None:
    found = judge([*trials("rare", 1, lost=7), *trials("common", 90, gained=12)], "human")
    assert not found.passed
    assert found.before is not None and found.after is not None
    assert found.after > found.before
    assert "'rare' is lost: 1 of 8 right, 8 before." in found.reason
    assert found.labels == {"common": (102, 90, 102), "rare": (8, 8, 1)}


def test_a_label_may_lose_what_chance_takes() -> None:
    found = judge([*trials("rare", 6, lost=2), *trials("common", 90, gained=12)], "human")
    assert found.passed, found.reason


def test_many_labels_are_not_many_chances_to_be_refused() -> None:
    five_losses = trials("label 0", 1, lost=5)  # alone: p = 1/32
    assert not judge([*five_losses, *trials("label 0", 0, gained=0)], "human").passed
    others = [one for i in range(1, 6) for one in trials(f"label {i}", 5, gained=1)]
    assert "is lost" not in judge([*five_losses, *others], "human").reason


def test_forgetting_what_came_first_is_refused_however_much_is_gained_since() -> None:
    first = [one for i in range(7) for one in trials(f"l{i}", 1, lost=1, at=1.0)]
    later = [one for i in range(7) for one in trials(f"l{i}", 2, gained=2, at=2.0)]
    found = judge([*later, *first], "human")
    assert not found.passed
    assert "forgotten: 7 of the 14 earliest right, 14 before" in found.reason
    mixed = [Trial(one.labels, one.before, one.after, float(i % 3)) for i, one in
             enumerate([*later, *first])]  # fmt: skip
    assert judge(mixed, "human").passed


def test_the_mean_f1_may_not_fall_while_the_accuracy_stands() -> None:
    """A committee that says the common label more often wins there and loses all rare ones."""
    rare = [Trial((f"rare {i}",), (f"rare {i}",), ("common",)) for i in range(8) for _ in range(4)]
    common = [Trial(("common",), (f"rare {i % 8}",), ("common",)) for i in range(33)]
    found = judge([*rare, *common, *trials("common", 200)], "human")
    assert found.after is not None and found.before is not None
    assert found.after > found.before
    assert not found.passed
    assert "The mean F1 over labels fell from" in found.reason


def test_several_labels_of_a_text_are_right_only_together() -> None:
    both = Trial(("art", "sport"), ("sport", "art"), ("sport",))
    assert both.right == (True, False)
    assert judge([both], "human").labels == {"art": (1, 1, 0), "sport": (1, 1, 0)}


def test_a_harmless_stage_is_refused_for_its_parts_no_more_often_than_said() -> None:
    """Changes that are as often for the better: counted where the average did not fall."""
    dice, parts, passed = random.Random(7), 0, 0
    for _ in range(300):
        found = judge(
            [
                trial(dice.choice("abcd"), dice.random() < 0.8, dice.random() < 0.8, float(i))
                for i in range(120)
            ],
            "human",
        )
        assert found.before is not None and found.after is not None
        if found.after >= found.before:
            passed += found.passed
            parts += not found.passed
    assert passed > 100
    assert parts / (passed + parts) <= 3 * ALPHA


# Few of people's verdicts, and the LLM's beside them


def test_beside_few_of_people_s_verdicts_the_llm_s_must_not_speak_against_it() -> None:
    people = trials("good", kept=9, gained=1)
    against = judge(people, "human", trials("good", kept=80, lost=6, gained=2))
    assert not against.passed
    assert "the LLM's count too: with them 92 of 98 right, 95 before" in against.reason
    assert (against.n, against.before, against.after) == (10, 0.9, 1.0), "people's figures"
    assert judge(people, "human", trials("good", kept=80, lost=2, gained=2)).passed


def test_no_llm_makes_pass_what_people_refuse() -> None:
    people = trials("good", kept=8, lost=2)
    assert not judge(people, "human", trials("good", kept=0, gained=100)).passed


# How far to trust it


@pytest.mark.parametrize(("n", "points"), [(100, 5), (300, 3)])
def test_the_margin_is_as_the_module_says_where_a_tenth_changed(n: int, points: int) -> None:
    changed = n // 20
    found = margin(trials("good", n - 2 * changed, lost=changed, gained=changed))
    assert round(100 * found) == points


def test_the_margin_is_that_of_the_formula() -> None:
    """Agresti and Min: 100 trials, 7 lost and 3 gained, half a trial more of each kind."""
    gain, n = (3.5 - 7.5) / 102, 102
    error = ((7.5 + 3.5 - n * gain**2) ** 0.5) / n
    found = margin(trials("good", 90, lost=7, gained=3))
    assert found == pytest.approx(1.6449 * error - gain, abs=1e-4)
    assert judge(trials("good", 90, lost=7, gained=3), "human").margin == round(found, 4)
    assert margin(trials("good", 50, gained=50)) == 0.0


def test_a_stage_that_is_truly_worse_by_the_margin_passes_in_5_percent_at_most() -> None:
    """A stage that loses 7.5 % of 100 and gains 2.5 %: 5 points worse, as the margin there."""
    dice, passed = random.Random(3), 0
    for _ in range(400):
        rolls = [dice.random() for _ in range(100)]
        lost, gained = sum(roll < 0.075 for roll in rolls), sum(roll > 0.975 for roll in rolls)
        passed += judge(trials("good", 100 - lost - gained, lost, gained), "human").passed
    assert passed / 400 <= ALPHA + 0.02


def test_what_would_be_served_may_be_behind_but_not_surely_worse() -> None:
    members = trials("good", kept=20, gained=2)
    behind = judge(members, "human", as_served=trials("good", kept=18, lost=4))
    assert behind.passed, "4 of 22 may be chance"
    worse = judge(members, "human", as_served=trials("good", kept=17, lost=5))
    assert not worse.passed
    assert "As it would be served, with its rule, it is worse: 17 of 22 right, 22" in worse.reason
    assert (worse.before, worse.after) == (behind.before, behind.after), "of the members alone"
