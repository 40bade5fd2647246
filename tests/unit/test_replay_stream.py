"""The simulated project keeps its budget, hides gold, and survives what real columns hold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.replay.baselines import by_confidence
from benchmarks.replay.compare import Comparison, Report, compare
from benchmarks.replay.recorded_llm import Answers, model_of
from benchmarks.replay.stream import Case, people_of, run
from specialists.evidence import Evidence


def case(n: int, labels: int = 2, right: float = 0.9, seed: int = 0) -> Case:
    """Three members that are right on 75 %, features that tell half, an LLM right on `right`."""
    rng = np.random.default_rng(seed)
    gold = rng.integers(0, labels, n)

    def says(accuracy: float) -> np.ndarray:
        wrong = (gold + rng.integers(1, max(2, labels), n)) % labels
        return np.where(rng.random(n) < accuracy, gold, wrong)

    votes = np.full((n, 3, labels), 0.2 / max(1, labels - 1), dtype=np.float32)
    for member in range(3):
        votes[np.arange(n), member, says(0.75)] = 0.8
    view = np.eye(labels)[gold] + rng.normal(0, 1, (n, labels))
    return Case(Evidence(votes, (view.astype(np.float32),)), says(right), gold)


def accuracy(one: Case, labels: np.ndarray) -> float:
    return float((labels == one.gold).mean())


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("human", [0, 40])
def test_never_more_calls_than_the_budget_probes_included(share: float, human: int) -> None:
    one = case(400)
    outcome = run(one, share, people_of(one, human, 0), 0)
    assert outcome.asked.sum() <= share * 400


def test_calls_on_rows_that_people_label_are_made_and_counted() -> None:
    one = case(400)
    people = people_of(one, 60, 0)
    outcome = run(one, 0.3, people, 0)
    assert 10 <= (outcome.asked & people).sum() <= 40


def test_a_good_llm_makes_more_labels_right_than_confidence_does() -> None:
    one = case(800, right=0.95)
    ours = run(one, 0.3, people_of(one, 0, 0), 0)
    assert accuracy(one, ours.labels) > accuracy(one, one.evidence.votes.mean(axis=1).argmax(1))
    assert accuracy(one, ours.labels) > accuracy(
        one, by_confidence(one.evidence, one.llm, 0.3).labels
    )


def test_gold_that_nobody_told_has_no_influence() -> None:
    one = case(300)
    people = people_of(one, 30, 0)
    other = replace(one, gold=np.where(people, one.gold, 1 - one.gold))
    first, second = run(one, 0.3, people, 0), run(other, 0.3, people, 0)
    assert (first.labels == second.labels).all()
    assert (first.asked == second.asked).all()


def test_gold_of_people_has_influence() -> None:
    one = case(300)
    people = people_of(one, 100, 0)
    other = replace(one, gold=np.where(people, 1 - one.gold, one.gold))
    assert (run(one, 0.3, people, 0).labels != run(other, 0.3, people, 0).labels).any()


def test_the_same_seed_gives_the_same_project() -> None:
    one = case(200)
    people = people_of(one, 20, 3)
    assert (run(one, 0.2, people, 3).labels == run(one, 0.2, people, 3).labels).all()


@pytest.mark.parametrize(
    "llm",
    [
        np.random.default_rng(5).integers(0, 2, 400),  # at random
        np.zeros(400, dtype=int),  # always the same
        1 - case(400).gold,  # the opposite of the truth
        np.where(np.random.default_rng(6).random(400) < 0.4, -1, case(400).llm),  # 40 % unparsed
        np.full(400, -1),  # never an answer
    ],
    ids=["random", "constant", "opposite", "unparsed", "silent"],
)
def test_a_bad_column_costs_little_once_people_show_it(llm: np.ndarray) -> None:
    one = replace(case(400), llm=llm)
    people = people_of(one, 80, 0)
    outcome = run(one, 0.6, people, 0)
    committee = one.evidence.votes.mean(axis=1).argmax(axis=1)
    assert accuracy(one, outcome.labels) >= accuracy(one, committee) - 0.03


@pytest.mark.parametrize(("n", "labels"), [(2, 2), (60, 1), (400, 77)])
def test_small_and_wide_streams_end(n: int, labels: int) -> None:
    one = case(n, labels)
    assert len(run(one, 0.5, people_of(one, 0, 0), 0).labels) == n


def test_a_stream_without_members_learns_from_the_llm() -> None:
    one = case(600, right=0.95)
    cold = replace(one, evidence=replace(one.evidence, votes=one.evidence.votes[:, :0]))
    outcome = run(cold, 0.4, people_of(one, 0, 0), 0)
    assert accuracy(cold, outcome.labels) > 0.7


def test_rows_that_people_label_are_never_scored() -> None:
    one = case(200, right=1.0)
    people = people_of(one, 50, 0)
    wrong_there = replace(one, llm=np.where(people, 1 - one.llm, one.llm))
    comparison = Comparison(wrong_there, Answers(one.llm, None), human=50, seeds=1)
    assert comparison.llm_only == 1.0


def report(one: Case) -> Report:
    answers = Answers(one.llm, np.full(len(one), 1_000_000))
    comparison = Comparison(one, answers, human=0, seeds=2)
    return compare(comparison, one, answers, [0.1, 0.25], None, None)


def test_the_json_has_the_promised_fields() -> None:
    found = report(case(200)).to_json()
    assert list(found) == [
        *("n", "llm_only", "paper", "paper_finetuned", "confidence", "ours"),
        *("share_to_match_llm", "llm_only_usd", "ours_usd"),
    ]
    assert [list(row) for row in found["ours"]] == [["share", "spent", "accuracy", "spread"]] * 2
    assert found["llm_only_usd"] == 0.2
    assert found["ours_usd"] <= 0.05


def test_the_share_to_match_is_none_where_no_share_matches() -> None:
    assert report(case(300, right=1.0)).share_to_match_llm != 0.0
    assert report(case(300, right=0.5)).share_to_match_llm == 0.0


def test_a_column_names_its_model() -> None:
    assert model_of("llm_gpt35_fewshot") == "gpt-3.5-turbo"
    assert model_of("llm_gpt_3_5_turbo_0125") == "gpt-3.5-turbo-0125"
    assert model_of("llm_gpt_4o_2024_11_20") == "gpt-4o-2024-11-20"
    assert model_of("llm_gpt_5_2025_08_07") == "gpt-5-2025-08-07"


def test_the_picture_is_xml_with_every_method() -> None:
    from xml.etree import ElementTree

    drawn = report(case(200)).picture("a < b").svg()
    root = ElementTree.fromstring(drawn)
    assert "a < b" in {element.text for element in root.iter()}
    assert len(list(root.iter("{http://www.w3.org/2000/svg}polyline"))) == 2
