"""Several people's answers: the truth behind them, and how reliable each person is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from training.annotators import FIRST_ACCURACY, Answers, combine, heed, reliability
from training.errors import TrainingError


def team(
    rng: np.random.Generator, skills: Sequence[float], tasks: int, labels: int, overlap: int
) -> tuple[Answers, np.ndarray]:
    """Answers of people who are right with their skill, and the truth that nobody knows."""
    truth = rng.integers(labels, size=tasks)
    rows = []
    for task in range(tasks):
        for person in rng.permutation(len(skills))[:overlap]:
            wrong = (truth[task] + rng.integers(1, labels)) % labels
            rows.append((task, person, truth[task] if rng.random() < skills[person] else wrong))
    task, person, said = np.array(rows).T
    unknown = np.full(tasks, -1)
    return Answers(task, person, said, unknown, len(skills), labels), truth


def majority(answers: Answers, rng: np.random.Generator) -> np.ndarray:
    counts = rng.random((len(answers.truth), answers.labels)) * 0.1  # ties by lot
    np.add.at(counts, (answers.task, answers.said), 1)
    return counts.argmax(axis=1)


def test_it_beats_the_majority_where_one_is_careless() -> None:
    ours, plain = [], []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        answers, truth = team(rng, [0.9, 0.85, 0.8, 0.75, 0.4], 300, 4, overlap=2)
        ours.append((combine(answers).chances.argmax(axis=1) == truth).mean())
        plain.append((majority(answers, rng) == truth).mean())
    print(f"combined {np.mean(ours):.3f}, majority {np.mean(plain):.3f}")
    assert np.mean(ours) > np.mean(plain) + 0.02


def test_its_confidence_is_about_how_often_it_is_right() -> None:
    sure, right = [], []
    for seed in range(20):
        answers, truth = team(np.random.default_rng(seed), [0.9, 0.8, 0.7, 0.5], 300, 3, overlap=2)
        chances = combine(answers).chances
        sure.append(chances.max(axis=1).mean())
        right.append((chances.argmax(axis=1) == truth).mean())
    assert np.mean(sure) == pytest.approx(np.mean(right), abs=0.05)


def test_intervals_hold_the_true_reliability() -> None:
    skills, held = [0.92, 0.85, 0.8, 0.45], []
    for seed in range(60):
        answers, _ = team(np.random.default_rng(seed), skills, 100, 3, overlap=3)
        found = combine(answers)
        hits, of = (part.sum(axis=1) for part in found.hits())
        for person, skill in enumerate(skills):
            _, low, high = reliability(hits[person], of[person], found.known[person])
            held.append(low <= skill <= high)
    print(f"{np.mean(held):.1%} of {len(held)} intervals hold the truth")
    assert np.mean(held) >= 0.9


def test_single_answers_are_less_sure_than_agreed_ones_and_tell_of_nobody() -> None:
    task, person, said = np.array([(0, 0, 1), (0, 1, 1), (1, 0, 0), (2, 0, 1), (3, 0, 1)]).T
    found = combine(Answers(task, person, said, np.full(4, -1), people=2, labels=2))
    assert found.chances[0, 1] > found.chances[1, 0] > 0.5
    assert found.hits()[1].sum(axis=1).tolist() == [1.0, 1.0], "only task 0 can be compared"


def test_without_anything_to_compare_the_first_belief_stays() -> None:
    task, person, said = np.array([(0, 0, 1), (1, 0, 0)]).T
    found = combine(Answers(task, person, said, np.full(2, -1), people=1, labels=2))
    assert found.chances.max(axis=1).tolist() == pytest.approx([FIRST_ACCURACY] * 2)
    assert reliability(0.0, 0.0, found.known[0]) == (0.5, 0.0, 1.0)


def test_few_wrong_answers_are_believed_less_than_many() -> None:
    found = {}
    for tasks in (5, 500):
        rows = [(task, who, int(who == 2)) for task in range(tasks) for who in range(3)]
        task, person, said = np.array(rows).T
        confusion = combine(Answers(task, person, said, np.zeros(tasks, int), 3, 2)).confusion
        found[tasks] = confusion[2, 0, 0]
    assert found[5] > 0.3 > 0.05 > found[500]


def test_known_truth_overrules_everybody() -> None:
    task, person, said = np.array([(0, who, 1) for who in range(5)]).T
    found = combine(Answers(task, person, said, np.array([0]), people=5, labels=2))
    assert found.chances[0].tolist() == [1.0, 0.0]


def test_a_rare_label_of_one_person_is_not_overruled_by_its_rareness() -> None:
    rows = [(task, who, 0) for task in range(99) for who in (0, 1)] + [(99, 0, 1)]
    task, person, said = np.array(rows).T
    assert combine(Answers(task, person, said, np.full(100, -1), 2, 2)).chances[99, 1] > 0.5


def test_one_more_voice_counts_as_far_as_it_agrees() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(2, size=400)
    chances = np.where(np.eye(2)[truth] > 0, 0.95, 0.05)
    chances[:100] = 0.5  # nobody knows these
    liar = heed(chances, rng.integers(2, size=400))
    assert np.abs(liar[:100] - 0.5).max() < 0.1
    friend = heed(chances, truth)
    assert (friend[:100].argmax(axis=1) == truth[:100]).all()
    assert (heed(chances, np.full(400, -1)) == chances).all(), "silence changes nothing"


def test_counts_that_cannot_be_are_refused() -> None:
    with pytest.raises(TrainingError, match="no counts"):
        reliability(3.0, 2.0, 1.0)
