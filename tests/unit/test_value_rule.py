"""The value rule pools, weighs the LLM's answer, and says what a call is worth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from specialists.chances import expected_gain, fuse, surest_of_each, symmetric
from specialists.evidence import Evidence
from specialists.rule_state import Head, RuleState
from specialists.types import Label, LabelSet
from specialists.value_rule import MIN_GAIN, ValueRule

NAN = float("nan")
LABELS = LabelSet((Label("no"), Label("yes")))
NAMES = ("a", "b")


def state(**changes: object) -> RuleState:
    """A state that has learned something: both members count alike."""
    learned = replace(RuleState.first(2, 2), verdicts=20, trust="both")
    return replace(learned, **changes)  # type: ignore[arg-type]


def seen(*votes: tuple[float, float]) -> Evidence:
    """One text and what each member gives its two labels."""
    return Evidence(np.array([votes], dtype=np.float32))


def test_before_any_verdict_it_is_the_mean_vote() -> None:
    found = ValueRule(RuleState.first(2, 2)).decide(seen((0.1, 0.9), (0.6, 0.4)), NAMES, LABELS)[0]
    assert found.labels == ("yes",)
    assert found.probabilities == pytest.approx((0.35, 0.65))
    assert [(vote.member, vote.labels) for vote in found.votes] == [("a", ("yes",)), ("b", ("no",))]


def test_a_member_that_proved_useless_has_no_say() -> None:
    rule = ValueRule(state(member_weights=np.array([0.0, 1.0])))
    found = rule.decide(seen((0.01, 0.99), (0.7, 0.3)), NAMES, LABELS)[0]
    assert found.labels == ("no",)
    assert found.probabilities == pytest.approx((0.7, 0.3), abs=1e-6)


def test_a_head_can_overrule_the_members() -> None:
    head = Head(np.zeros(2), np.array([[2.0, -2.0], [0.0, 0.0]]), np.full(2, 0.5))
    rule = ValueRule(state(heads=(head,), head_weights=np.array([1.0])))
    evidence = Evidence(seen((0.4, 0.6), (0.4, 0.6)).votes, (np.array([[3.0, 0.0]], np.float32),))
    found = rule.decide(evidence, NAMES, LABELS)[0]
    assert found.labels == ("no",)
    assert found.heads[0].labels == ("no",)


@given(st.floats(0.5, 0.999), st.floats(0.5, 0.999))
def test_a_call_is_worth_what_a_good_llm_adds_to_an_unsure_committee(
    sure: float, accuracy: float
) -> None:
    gain = expected_gain(np.array([[sure, 1.0 - sure]]), symmetric(accuracy, 2))[0]
    # Two labels: the LLM is followed where it is the surer of the two, else it changes nothing.
    assert gain == pytest.approx(max(0.0, accuracy - sure), abs=1e-9)


def test_hard_is_what_a_call_helps_with() -> None:
    evidence = Evidence(np.array([[[0.5, 0.5]] * 2, [[0.02, 0.98]] * 2], dtype=np.float32))
    unsure, sure = ValueRule(state()).decide(evidence, NAMES, LABELS)
    assert unsure.hard
    assert unsure.gain == pytest.approx(0.35)
    assert "a call to the LLM adds 0.35" in unsure.reason
    assert not sure.hard
    assert sure.gain < MIN_GAIN


def test_below_the_accepted_chance_an_answer_is_hard_and_says_from_where_on_it_is_not() -> None:
    rule = ValueRule(state(accept_above=0.99))
    found = rule.decide(seen((0.02, 0.98), (0.02, 0.98)), NAMES, LABELS)[0]
    assert (found.hard, found.labels) == (True, ("yes",))
    assert "accepted from 0.99 on" in found.reason


def test_when_the_llm_is_worse_nothing_is_worth_a_call() -> None:
    found = ValueRule(state(trust="committee")).decide(seen((0.5, 0.5), (0.5, 0.5)), NAMES, LABELS)
    assert (found[0].gain, found[0].hard) == (0.0, False)


def test_when_the_committee_is_worse_it_abstains_below_the_llm() -> None:
    rule = ValueRule(state(trust="llm", llm_accuracy=0.9))
    unsure = rule.decide(seen((0.2, 0.8), (0.2, 0.8)), NAMES, LABELS)[0]
    sure = rule.decide(seen((0.05, 0.95), (0.05, 0.95)), NAMES, LABELS)[0]
    assert (unsure.labels, unsure.hard) == ((), True)
    assert "less than the LLM (0.90)" in unsure.reason
    assert sure.labels == ("yes",)


def test_an_unproven_llm_is_asked_what_the_committee_is_sure_of_label_by_label() -> None:
    sure = np.array([[0.6, 0.4], [0.99, 0.01], [0.98, 0.02], [0.3, 0.7], [0.2, 0.8]])
    assert surest_of_each(sure).tolist() == [1, 4, 2, 3, 0]
    unproven = ValueRule(RuleState.first(2, 2))
    assert unproven.next(sure, 2, proofs=9).tolist() == [1, 4]
    assert unproven.next(sure, 3, proofs=1).tolist() == [1, 0, 3]
    assert ValueRule(state()).next(sure, 2, proofs=9).tolist() == [0, 3]


def test_no_more_is_asked_than_is_worth_it() -> None:
    assert len(ValueRule(state()).next(np.array([[0.999, 0.001], [0.5, 0.5]]), 2, 0)) == 1


def test_an_answer_is_weighed_with_the_votes() -> None:
    prior = np.array([[0.9, 0.1], [0.9, 0.1], [0.9, 0.1]])
    posterior = fuse(prior, np.array([1, 0, -1]), symmetric(0.85, 2))
    assert posterior[0] == pytest.approx([0.9 * 0.15 / 0.22, 0.1 * 0.85 / 0.22])
    assert posterior[1, 0] > 0.98
    assert posterior[2] == pytest.approx(prior[2])


def test_labels_that_a_member_does_not_know_are_filled_in() -> None:
    three = LabelSet((Label("no"), Label("maybe"), Label("yes")))
    votes = np.array([[[0.3, NAN, 0.7], [0.1, 0.8, 0.1]]], dtype=np.float32)
    rule = ValueRule(replace(RuleState.first(2, 3), verdicts=20, trust="both"))
    found = rule.decide(Evidence(votes), NAMES, three)[0]
    assert found.labels == ("maybe",)
    assert sum(found.probabilities) == pytest.approx(1.0)


def test_a_member_that_knows_nothing_is_silent() -> None:
    evidence = Evidence(np.array([[[NAN, NAN], [0.2, 0.8]]], dtype=np.float32))
    for one in (state(), RuleState.first(2, 2)):
        found = ValueRule(one).decide(evidence, NAMES, LABELS)[0]
        assert found.labels == ("yes",)
        assert [vote.member for vote in found.votes] == ["b"]


def test_seventy_seven_labels_and_no_text_and_one_label() -> None:
    labels = LabelSet(tuple(Label(str(n)) for n in range(77)))
    votes = np.random.default_rng(0).dirichlet(np.ones(77), size=(3000, 2)).astype(np.float32)
    rule = ValueRule(replace(RuleState.first(2, 77), verdicts=9, trust="both"))
    assert len(rule.decide(Evidence(votes), NAMES, labels)) == 3000
    assert rule.decide(Evidence(votes[:0]), NAMES, labels) == []
    one = LabelSet((Label("only"),))
    found = ValueRule(RuleState.first(2, 1)).decide(Evidence(votes[:1, :, :1]), NAMES, one)[0]
    assert (found.labels, found.gain, found.hard) == (("only",), 0.0, False)


def test_a_state_survives_packing() -> None:
    head = Head(np.ones(3), np.full((3, 2), 0.25), np.array([0.5, 0.5]))
    before = state(heads=(head,), head_weights=np.array([0.5]), accept_above=0.93, trust="llm")
    after = RuleState.from_json(before.to_json())
    np.testing.assert_array_equal(after.heads[0].weights, head.weights)
    np.testing.assert_allclose(after.confusion, before.confusion, atol=1e-3)
    assert (after.accept_above, after.trust, after.verdicts) == (0.93, "llm", 20)
