"""Refitting learns whom to believe; an LLM that is of no use is found out and not followed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest

from specialists.chances import Array, first_probabilities, unit
from specialists.evidence import Evidence
from specialists.value_rule import ValueRule
from training.heads import View
from training.refit import Known, Refit, refit
from training.reliability import ODDS, PATIENCE, Answers, compare, confusion, evidence_for

Ints = npt.NDArray[np.int64]


@dataclass
class World:
    """Texts with a truth, members that are right with given chances, and features that tell."""

    truth: Ints
    evidence: Evidence

    @classmethod
    def of(
        cls, texts: int, labels: int = 2, right: tuple[float, ...] = (0.6, 0.5, 0.4), seed: int = 0
    ) -> World:
        random = np.random.default_rng(seed)
        truth = random.integers(0, labels, texts)
        votes = np.zeros((texts, len(right), labels), dtype=np.float32)
        for member, chance in enumerate(right):
            sure = random.uniform(1.0 / labels, 1.0, texts)
            says = np.where(random.random(texts) < chance, truth, random.integers(0, labels, texts))
            votes[:, member] = ((1.0 - sure) / max(1, labels - 1))[:, None]
            votes[np.arange(texts), member, says] = sure
        centres = random.normal(size=(labels, 16))
        view = (centres[truth] + 2.0 * random.normal(size=(texts, 16))).astype(np.float32)
        return cls(truth, Evidence(votes, (view,)))

    def llm(self, accuracy: float, seed: int = 1) -> Ints:
        random = np.random.default_rng(seed)
        labels = self.evidence.votes.shape[2]
        wrong = (self.truth + random.integers(1, max(2, labels), len(self.truth))) % labels
        return np.where(random.random(len(self.truth)) < accuracy, self.truth, wrong)

    def refit(self, llm: Ints, human: Ints | None = None) -> Refit:
        people = np.full(len(llm), -1) if human is None else human
        return refit(Known(self.evidence, Answers(llm, people, np.ones(len(llm), dtype=bool))))

    def accuracy(self, probabilities: Array) -> float:
        return float((probabilities.argmax(axis=1) == self.truth).mean())


def test_fused_labels_are_better_than_the_llm_and_than_the_committee() -> None:
    world = World.of(600)
    llm = world.llm(0.85)
    found = world.refit(llm)
    alone = world.accuracy(first_probabilities(world.evidence))
    assert found.state.trust == "both"
    assert world.accuracy(found.posterior) > (llm == world.truth).mean() + 0.01
    assert world.accuracy(found.probabilities) > alone + 0.02
    assert found.state.llm_accuracy == pytest.approx(0.85, abs=0.1)


def test_the_better_member_gets_the_greater_weight() -> None:
    found = World.of(800, right=(0.9, 0.1, 0.1)).refit(
        World.of(800, right=(0.9, 0.1, 0.1)).llm(0.9)
    )
    weights = found.state.member_weights
    assert weights[0] > 2 * max(weights[1:])


def test_what_was_learned_holds_for_texts_not_yet_seen() -> None:
    world = World.of(1000, right=(0.6,))
    known, rest = np.arange(300), np.arange(300, 1000)
    llm = world.llm(0.9)[known]
    answers = Answers(llm, np.full(300, -1), np.ones(300, dtype=bool))
    state = refit(Known(world.evidence.rows(known), answers), world.evidence.rows(rest)).state
    fresh = world.evidence.rows(rest)
    after = (ValueRule(state).probabilities(fresh).argmax(axis=1) == world.truth[rest]).mean()
    before = (first_probabilities(fresh).argmax(axis=1) == world.truth[rest]).mean()
    assert after > before + 0.02


USELESS = {
    "at random": lambda world: np.random.default_rng(3).integers(0, 2, len(world.truth)),
    "always the same": lambda world: np.ones(len(world.truth), dtype=int),
    "the opposite": lambda world: 1 - world.truth,
}


@pytest.mark.parametrize("how", USELESS)
def test_an_llm_that_answers_nonsense_is_not_trusted_even_without_people(how: str) -> None:
    world = World.of(400)
    found = world.refit(USELESS[how](world))
    assert found.state.trust == "committee"
    committee = world.accuracy(first_probabilities(world.evidence))
    assert world.accuracy(found.posterior) >= committee - 0.001
    assert ValueRule(found.state).gains(found.probabilities).max() == 0.0


@pytest.mark.parametrize("how", USELESS)
def test_people_unmask_an_llm_that_answers_nonsense(how: str) -> None:
    world = World.of(400)
    human = np.where(np.arange(400) < 60, world.truth, -1)
    found = world.refit(USELESS[how](world), human)
    assert found.state.trust == "committee"
    texts, committee, llm = found.compared
    assert texts == 60
    assert committee > llm
    committee_alone = world.accuracy(first_probabilities(world.evidence))
    assert world.accuracy(found.posterior) > committee_alone - 0.02


def test_an_llm_is_heard_but_unproven_until_its_answers_say_enough() -> None:
    world = World.of(9)
    found = world.refit(world.llm(0.6))
    assert found.state.trust == "unproven"
    assert (found.posterior != found.probabilities).any()


@pytest.mark.parametrize("seed", range(12))
def test_patience_with_random_answers_ends(seed: int) -> None:
    world = World.of(PATIENCE, right=(0.8, 0.8, 0.8), seed=seed)
    found = world.refit(np.random.default_rng(seed + 100).integers(0, 2, PATIENCE))
    assert found.state.trust == "committee"
    assert found.posterior == pytest.approx(first_probabilities(world.evidence))


@pytest.mark.parametrize("seed", range(12))
def test_a_good_llm_is_proven_by_as_many_answers(seed: int) -> None:
    world = World.of(PATIENCE, right=(0.8, 0.8, 0.8), seed=seed)
    assert world.refit(world.llm(0.85, seed)).state.trust == "both"


def test_a_proven_llm_stays_proven_when_hard_texts_follow() -> None:
    world = World.of(400)
    first = world.refit(world.llm(0.9)).state
    committee = first_probabilities(world.evidence).argmax(axis=1)
    against = Answers(1 - committee, np.full(400, -1), np.ones(400, dtype=bool))
    assert refit(Known(world.evidence, against)).state.trust == "committee"
    assert refit(Known(world.evidence, against), before=first).state.trust == "both"


def test_people_show_that_the_committee_is_the_worse_one() -> None:
    world = World.of(200, right=(0.05, 0.05))
    world.evidence = Evidence(world.evidence.votes)  # nothing to learn from either
    found = world.refit(world.llm(0.95), np.where(np.arange(200) < 80, world.truth, -1))
    assert found.state.trust == "llm"


def test_people_are_the_truth() -> None:
    world = World.of(50)
    found = world.refit(world.llm(0.9), world.truth)
    assert world.accuracy(found.posterior) == 1.0


def test_forty_percent_without_an_answer_are_left_to_the_committee() -> None:
    world = World.of(600)
    llm = np.where(np.random.default_rng(4).random(600) < 0.4, -1, world.llm(0.9))
    found = world.refit(llm)
    assert found.state.answered == pytest.approx(0.6, abs=0.05)
    committee = world.accuracy(first_probabilities(world.evidence))
    assert world.accuracy(found.posterior) > committee + 0.03


@pytest.mark.parametrize("texts", [0, 1, 2, 7])
def test_a_handful_of_answers_changes_nothing(texts: int) -> None:
    world = World.of(texts)
    found = world.refit(world.llm(0.9))
    assert found.state.verdicts == 0
    assert found.probabilities == pytest.approx(first_probabilities(world.evidence))


def test_one_label_only_in_the_stream() -> None:
    world = World.of(100)
    world.truth[:] = 1
    found = world.refit(np.ones(100, dtype=int), np.where(np.arange(100) < 30, 1, -1))
    assert np.isfinite(found.posterior).all()
    assert world.accuracy(found.posterior) == 1.0


def test_seventy_seven_labels() -> None:
    world = World.of(400, labels=77)
    llm = world.llm(0.8)
    found = world.refit(llm)
    assert np.isfinite(found.posterior).all()
    assert world.accuracy(found.posterior) >= (llm == world.truth).mean()


def test_equal_texts_whose_gold_differs_stay_undecided() -> None:
    votes = np.full((100, 2, 2), 0.5, dtype=np.float32)
    evidence = Evidence(votes, (np.ones((100, 5), dtype=np.float32),))
    human = np.arange(100) % 2
    answers = Answers(np.full(100, -1), human, np.zeros(100, dtype=bool))
    found = refit(Known(evidence, answers))
    chances = ValueRule(found.state).probabilities(evidence)
    assert chances == pytest.approx(np.full((100, 2), 0.5), abs=0.02)


def test_a_committee_without_members_learns_from_the_llm_alone() -> None:
    world = World.of(300, labels=3)
    world.evidence = Evidence(np.zeros((300, 0, 3), dtype=np.float32), world.evidence.features)
    found = world.refit(world.llm(0.9))
    assert found.state.trust == "both"
    assert world.accuracy(found.probabilities) > 0.7


def test_leave_one_out_equals_fitting_without_that_text() -> None:
    random = np.random.default_rng(2)
    for texts, width in ((12, 30), (40, 6)):  # by the kernel, and by the covariance
        view = random.normal(size=(texts, width)).astype(np.float32)
        target = np.eye(3)[random.integers(0, 3, texts)]
        weights, centre = random.uniform(1, 3, texts), np.zeros(width)
        head, log_p = View.of(view, weights, centre).fit(target)
        rows = unit(view) * np.sqrt(weights)[:, None]
        best = None
        for penalty in (1.0, 4.0):
            others = np.arange(texts) != 5
            offset = (weights[:, None] * target).sum(axis=0) / weights.sum()
            inputs, outputs = rows[others], ((target - offset) * np.sqrt(weights)[:, None])[others]
            solved = np.linalg.solve(
                inputs.T @ inputs + penalty * np.eye(width), inputs.T @ outputs
            )
            scores = 5.0 * (unit(view)[5] @ solved + offset)
            expected = scores - np.log(np.exp(scores).sum())
            best = min(best or 9.0, float(np.abs(log_p[5] - expected).max()))
        assert best is not None
        assert best < 1e-3
        assert head.weights.shape == (width, 3)


def test_evidence_for_an_llm_is_taken_where_the_members_are_sure() -> None:
    world = World.of(200)
    chances = first_probabilities(world.evidence)
    nobody, all_asked = np.full(200, -1), np.ones(200, dtype=bool)
    for llm in (1 - world.truth, np.ones(200, dtype=int)):
        assert evidence_for(chances, Answers(llm, nobody, all_asked)) < -ODDS
    assert evidence_for(chances, Answers(world.llm(0.95), nobody, all_asked)) > ODDS
    assert evidence_for(chances, Answers(nobody, nobody, all_asked)) == 0.0


def test_a_confusion_that_people_checked_is_learned_class_by_class() -> None:
    random = np.random.default_rng(6)
    truth = random.integers(0, 2, 400)
    llm = np.where((truth == 1) & (random.random(400) < 0.5), 0, truth)  # misses half of the ones
    flat = np.full((400, 2), 0.5)
    everyone = np.ones(400, dtype=bool)
    checked = confusion(flat, Answers(llm, truth, everyone))
    assert checked[0, 0] > 0.95
    assert checked[1, 1] == pytest.approx(0.5, abs=0.1)


def test_a_comparison_needs_more_than_a_few_differences() -> None:
    sure = np.tile([0.1, 0.9], (10, 1))
    everyone = np.ones(10, dtype=bool)
    ones, zeros = np.ones(10, dtype=int), np.zeros(10, dtype=int)
    assert compare(sure, Answers(zeros, ones, everyone)) == ("committee", 10, 10, 0)
    assert compare(sure, Answers(zeros, zeros, everyone)) == ("llm", 10, 0, 10)
    few = Answers(zeros[:4], ones[:4], everyone[:4])
    assert compare(sure[:4], few) == ("both", 4, 4, 0)
