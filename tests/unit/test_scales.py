"""Thresholds of multiple choice: learned label by label, one half without verdicts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from scipy.special import expit
from tiny_models import WORDS, publish

from specialists.committee import Committee
from specialists.decision import PaperRule, Scales, scaled
from specialists.evidence import Evidence
from specialists.rule_state import RuleState
from specialists.types import Label, LabelSet, SpecialistRef
from training.label_change import compare, rule
from training.scales import LEAST, fit

LABELS = LabelSet((Label("sport"), Label("art"), Label("news")), multiple=True)
NAMES = ("ada", "ben")
SHIFT = np.array([2.0, 0.0, -2.0])  # sport is said too seldom, news too often


def made(texts: int, seed: int = 0) -> tuple[Evidence, npt.NDArray[np.bool_]]:
    """Votes of two members that agree, and which labels are right."""
    random = np.random.default_rng(seed)
    odds = random.normal(0, 2, (texts, 3))
    votes = expit(odds - SHIFT).astype(np.float32)
    return Evidence(np.stack([votes, votes], axis=1)), random.random((texts, 3)) < expit(odds)


def learned(texts: int, seed: int = 0) -> Scales:
    evidence, truth = made(texts, seed)
    found = fit(evidence, truth, np.ones(texts))
    assert found is not None
    return found


def errors(scales: Scales | None) -> npt.NDArray[np.float64]:
    """The share of wrong labels, by label, on texts of which nothing was learned."""
    evidence, truth = made(3000, seed=1)
    chosen = scaled(evidence.votes[:, 0].astype(np.float64), scales) >= 0.5
    return np.asarray((chosen != truth).mean(axis=0))


def test_labels_said_too_seldom_or_too_often_are_put_right() -> None:
    before, after = errors(None), errors(learned(200))
    assert (after[[0, 2]] < before[[0, 2]] - 0.1).all()
    assert after[1] < before[1] + 0.02


def test_few_verdicts_move_thresholds_a_little_and_never_for_the_worse() -> None:
    few, many = learned(LEAST), learned(500)
    assert 0 < few[0, 1] < many[0, 1] and many[2, 1] < few[2, 1] < 0
    mean = np.mean([errors(learned(LEAST, seed)) for seed in range(10, 20)], axis=0)
    assert (mean < errors(None) + 0.02).all()


def test_below_the_least_verdicts_every_threshold_is_one_half() -> None:
    evidence, truth = made(LEAST - 1)
    assert fit(evidence, truth, np.ones(LEAST - 1)) is None
    assert errors(None) == pytest.approx(errors(np.tile([1.0, 0.0], (3, 1))))


def test_verdicts_count_by_their_weight() -> None:
    evidence, truth = made(100)
    both = Evidence.join([evidence, evidence])
    weights = np.repeat([1.0, 0.0], 100)
    found = fit(both, np.concatenate([truth, ~truth]), weights)
    np.testing.assert_allclose(found, fit(evidence, truth, np.ones(100)), atol=1e-2)


def test_labels_without_a_voice_or_with_one_answer_only_stay_sane() -> None:
    evidence, truth = made(60)
    evidence.votes[:, :, 1] = np.nan
    truth[:, 0] = True
    found = fit(evidence, truth, np.ones(60))
    assert found is not None and np.isfinite(found).all()
    assert found[1].tolist() == [1.0, 0.0] and found[0, 1] > 0
    assert scaled(np.array([np.nan, 0.5, 0.5]), found)[:2] == pytest.approx(
        [np.nan, 0.5], nan_ok=True
    )


def test_members_differ_by_the_threshold_of_the_label() -> None:
    scales = np.array([[1.0, 2.0], [1.0, 0.0], [1.0, 0.0]])  # sport from 0.12 on
    votes = np.array([[[0.3, 0.1, 0.1], [0.4, 0.2, 0.1]]], dtype=np.float32)
    (plain,) = PaperRule().decide(Evidence(votes), NAMES, LABELS)
    assert not plain.labels and plain.hard
    (found,) = PaperRule(scales).decide(Evidence(votes), NAMES, LABELS)
    assert found.labels == ("sport",) and not found.hard and found.reason == "2 of 2 agree"
    assert found.confidence == pytest.approx(expit(2 + np.log(0.35 / 0.65)), abs=1e-4)
    votes[0, 1, 0] = 0.05
    (found,) = PaperRule(scales).decide(Evidence(votes), NAMES, LABELS)
    assert found.hard and found.reason == "members differ on sport"


def test_the_state_travels_as_json_and_follows_its_labels() -> None:
    scales = np.array([[1.0, 2.0], [0.5, 0.25], [1.0, -1.0]])
    state = RuleState.from_json(replace(RuleState.first(2, 3), scales=scales).to_json())
    np.testing.assert_array_equal(state.scales, scales)
    assert RuleState.from_json(RuleState.first(2, 3).to_json()).scales is None
    now = LabelSet((LABELS.labels[2], LABELS.labels[0]), multiple=True)
    (change,) = compare({"topic": LABELS}, {"topic": now}).values()
    np.testing.assert_array_equal(
        rule(state, LABELS.names, change, now.names).scales, scales[[2, 0]]
    )


def test_a_real_committee_learns_to_say_a_label_that_it_never_reached(tmp_path: Path) -> None:
    own = ("sport", "art", "news")
    members = [
        SpecialistRef(name, str(publish(tmp_path / name, own, seed=seed, spread=0.05,
                      problem_type="multi_label_classification")), {one: one for one in own})
        for seed, name in enumerate(NAMES)
    ]  # fmt: skip
    committee = Committee.load(members, LABELS, {})
    texts = [" ".join(WORDS[n % 7 : n % 7 + 1 + n % 5]) for n in range(30)]
    seen = committee.observe(texts)
    truth = np.zeros((30, 3), dtype=bool)
    truth[:, 0] = True  # people say sport of each text, and nothing else
    rule = PaperRule(fit(seen, truth, np.ones(30)))
    said = rule.decide(seen, committee.names, LABELS)
    assert [one.labels for one in said] == [("sport",)] * 30
    plain = PaperRule().decide(seen, committee.names, LABELS)
    assert any(one.labels != ("sport",) for one in plain)
