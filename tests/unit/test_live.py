"""The live member learns from all verdicts, keeps that over promotions, and serves if it helps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from specialists.chances import first_probabilities
from specialists.evidence import Evidence
from specialists.rule_state import RuleState
from specialists.types import Label, LabelSet
from specialists.value_rule import LIVE, ValueRule
from training.refit import Known, Refit, refit
from training.reliability import Answers

WIDTH = 16
LABELS = LabelSet((Label("no"), Label("yes")))


def texts(
    count: int, *, right: float = 0.3, tells: float = 0.9, seed: int = 0
) -> tuple[Evidence, np.ndarray]:
    """Evidence of two members that know the answer so often, and a frozen view that tells it."""
    random = np.random.default_rng([seed, count])
    truth = random.integers(0, 2, count)
    votes = np.full((count, 2, 2), 0.3, dtype=np.float32)
    for member in range(2):
        knows = random.random(count) < right
        said = np.where(knows, truth, random.integers(0, 2, count))
        votes[np.arange(count), member, said] = 0.7
    side = np.where(truth, 1.0, -1.0)[:, None] * tells / np.sqrt(WIDTH)
    frozen = (side + random.normal(size=(count, WIDTH))).astype(np.float32)
    return Evidence(votes, (), frozen), truth


def people(evidence: Evidence, truth: np.ndarray) -> Known:
    none = np.full(len(truth), -1)
    return Known(evidence, Answers(none, truth, none >= 0))


def accuracy(found: Refit, evidence: Evidence, truth: np.ndarray) -> float:
    chances = ValueRule(found.state).probabilities(evidence)
    return float((chances.argmax(axis=1) == truth).mean())


def test_verdicts_that_the_members_have_learned_teach_it_and_nobody_else() -> None:
    """After a promotion a few texts are honest; the members' votes on the others are not."""
    learned, gold = texts(200, right=1.0)
    honest, told = texts(12, seed=1)
    fresh, truth = texts(1000, seed=2)
    least = 40
    alone = refit(people(honest, told), least=least)
    found = refit(people(honest, told), least=least, trained=people(learned, gold))
    live = found.state.live
    assert live is not None and live.admitted
    assert (live.verdicts, live.checked) == (212, 12)
    np.testing.assert_allclose(found.state.member_weights, 0.5, err_msg="they are believed as ever")
    assert accuracy(found, fresh, truth) > accuracy(alone, fresh, truth) + 0.05


def test_without_one_honest_text_it_still_knows_what_it_knew() -> None:
    learned, gold = texts(200)
    fresh, truth = texts(1000, seed=2)
    nothing = people(learned.rows([]), gold[:0])
    found = refit(nothing, least=40, trained=people(learned, gold))
    assert len(found.probabilities) == 0
    bare = (first_probabilities(fresh).argmax(axis=1) == truth).mean()
    assert accuracy(found, fresh, truth) > bare + 0.1


def test_a_view_that_tells_nothing_is_not_admitted_and_changes_nothing() -> None:
    evidence, truth = texts(300, right=0.8, tells=0.0)
    admitted = replace(RuleState.first(2, 2), verdicts=9)
    found = refit(people(evidence, truth), before=admitted)
    assert found.state.live is not None and not found.state.live.admitted
    blind = refit(people(Evidence(evidence.votes), truth))
    np.testing.assert_allclose(found.probabilities, blind.probabilities)
    (decision, *_) = ValueRule(found.state).decide(evidence, ("a", "b"), LABELS)
    assert [vote.member for vote in decision.votes] == ["a", "b"]


def test_admitted_it_votes_under_its_name() -> None:
    evidence, truth = texts(300)
    found = refit(people(evidence, truth))
    assert found.state.live is not None and found.state.live.gain > 0
    (decision, *_) = ValueRule(found.state).decide(evidence, ("a", "b"), LABELS)
    assert [vote.member for vote in decision.votes] == ["a", "b", LIVE]
    assert decision.votes[2].labels == (LABELS.names[int(truth[0])],)


@pytest.mark.parametrize("trained", [0, 150])
def test_no_text_is_answered_by_its_own_verdict(trained: int) -> None:
    """Labels at random on views at random: who remembers is right, who was left out is not."""
    evidence, _ = texts(150, right=0.0, tells=0.0)
    others, gold = texts(trained, right=0.0, tells=0.0, seed=3)
    at_random = np.random.default_rng(5).integers(0, 2, 150)
    found = refit(people(evidence, at_random), trained=people(others, gold))
    remembered = (found.probabilities.argmax(axis=1) == at_random).mean()
    assert remembered < 0.6


def test_texts_from_before_the_frozen_view_count_as_they_did() -> None:
    new, truth = texts(200)
    old, earlier = texts(100, right=0.9, seed=4)
    both = Evidence.join([new, Evidence(old.votes)])
    found = refit(people(both, np.concatenate([truth, earlier])))
    assert found.state.live is not None and found.state.live.verdicts == 200
    assert np.isfinite(found.probabilities).all()
    decisions = ValueRule(found.state).decide(both, ("a", "b"), LABELS)
    assert len(decisions[0].votes) == 3 and len(decisions[-1].votes) == 2
    assert accuracy(found, Evidence(old.votes), earlier) > 0.8


def test_the_state_with_it_survives_json() -> None:
    evidence, truth = texts(100)
    state = refit(people(evidence, truth)).state
    again = RuleState.from_json(state.to_json())
    assert again.live is not None and state.live is not None
    assert (again.live.admitted, again.live.verdicts) == (state.live.admitted, 100)
    np.testing.assert_allclose(
        ValueRule(again).probabilities(evidence),
        ValueRule(state).probabilities(evidence),
        atol=0.02,
    )
