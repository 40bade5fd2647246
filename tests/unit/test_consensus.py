"""One verdict from several people's: what counts of whom, and what is left as it is."""

from __future__ import annotations

from specialists.types import Verdict
from training.consensus import panels, resolve
from training.curriculum import DEFAULT


def said(
    task: int,
    author: str,
    *labels: str,
    at: float = 1.0,
    truth: bool = False,
    control: str = "mood",
) -> Verdict:
    return Verdict(
        task, control, "a text", labels, "human", author, at, annotation_id=1, ground_truth=truth
    )


def test_single_answers_stay_as_they_are() -> None:
    alone = [said(1, "1", "good"), said(2, "2", "bad")]
    assert list(resolve(alone).values()) == alone


def test_agreed_answers_count_for_more_than_single_and_disputed_ones() -> None:
    verdicts = [said(task, who, "good") for task in range(20) for who in "123"]
    verdicts += [said(20, "1", "bad")]
    verdicts += [said(21, "1", "bad"), said(21, "2", "bad"), said(21, "3", "good")]
    verdicts += [said(22, "1", "bad"), said(22, "2", "good")]
    found = resolve(verdicts)
    chances = [found[task, "mood"].chance or 0.0 for task in (0, 21, 20, 22)]
    assert 1.0 >= chances[0] > chances[2] > chances[3]
    assert chances[1] > chances[3]
    weights = [DEFAULT.weight(found[task, "mood"]) for task in (0, 20)]
    assert weights == [chances[0], chances[2]]


def test_ground_truth_decides_whoever_says_what() -> None:
    verdicts = [said(1, who, "bad", at=5.0) for who in "123"]
    verdicts.append(said(1, "4", "good", truth=True))
    verdicts.append(said(2, "1", "good", truth=True))
    found = resolve(verdicts)
    assert (found[1, "mood"].labels, found[1, "mood"].chance) == (("good",), 1.0)
    assert found[2, "mood"].chance == 1.0


def test_of_a_person_the_latest_answer_counts() -> None:
    verdicts = [said(1, "1", "bad", at=at) for at in (1.0, 2.0)]
    verdicts += [said(1, "1", "good", at=3.0), said(1, "2", "good", at=0.5)]
    found = resolve(verdicts)[1, "mood"]
    assert found.labels == ("good",)
    assert found.author == "1"
    assert found.at == 0.5, "since then it may have been learned"


def test_several_labels_are_decided_one_by_one() -> None:
    names = ("a,b", 'say "x"', "🙂", "Good", "good")  # exotic, and apart by case only
    verdicts = [said(task, who, names[0], names[1]) for task in range(15) for who in "123"]
    verdicts += [said(99, "1", *names[2:4]), said(99, "2", names[2]), said(99, "3", *names[2:])]
    found = resolve(verdicts)[99, "mood"]
    assert set(found.labels) == {"🙂", "Good"}
    assert found.chance is not None and 0.5 < found.chance < 1.0


def test_where_no_label_has_a_majority_the_likeliest_is_taken() -> None:
    verdicts = [said(1, who, f"label {who}", f"more {who}") for who in "123"]
    assert len(resolve(verdicts)[1, "mood"].labels) >= 1


def test_a_careless_person_is_outvoted_by_one_who_is_not() -> None:
    labels = ("good", "bad", "so so")
    verdicts = []
    for task in range(60):
        truth, other = labels[task % 3], labels[(task + 1) % 3]
        verdicts += [said(task, "1", truth), said(task, "2", truth)]
        verdicts.append(said(task, "3", other if task % 2 else truth, at=2.0))
    verdicts += [said(60, "1", "good"), said(60, "3", "bad", at=9.0)]
    assert resolve(verdicts)[60, "mood"].labels == ("good",), "and not the later one"


def test_a_voice_breaks_a_tie_and_is_no_person() -> None:
    verdicts = [said(task, who, "good") for task in range(30) for who in "12"]
    verdicts += [said(task, who, "bad") for task in range(30, 60) for who in "12"]
    verdicts += [said(60, "1", "good"), said(60, "2", "bad", at=2.0)]
    voice = {(task, "mood"): "good" if task < 30 or task == 60 else "bad" for task in range(61)}
    assert resolve(verdicts)[60, "mood"].labels == ("bad",)
    assert resolve(verdicts, voice)[60, "mood"].labels == ("good",)
    assert panels(verdicts)["mood"].people == ("1", "2")
    never = {(60, "mood"): "a label that nobody gave"}
    assert resolve(verdicts, never) == resolve(verdicts)


def test_controls_are_apart() -> None:
    verdicts = [said(1, "1", "good"), said(1, "2", "x", control="topic")]
    verdicts.append(said(1, "3", "y", control="topic"))
    found = resolve(verdicts)
    assert found[1, "mood"].chance is None, "nobody else answered that"
    assert found[1, "topic"].chance is not None
