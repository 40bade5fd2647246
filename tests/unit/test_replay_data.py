"""A replay evaluates the rows it says, and none that a member was trained on."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from benchmarks.replay.data import ReplayError, evaluated, read_rows
from benchmarks.replay.members import assemble, shipped_texts, training_sample

COLUMNS = ("id", "text", "label", "split", "llm_a", "kind")
TOXICITY = ("toxicity-comments", "toxicity-tweets", "toxicity-implicit")


def write(path: Path, rows: list[tuple[str, str, str, str, str]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows([i, *row] for i, row in enumerate(rows))
    return path


@pytest.fixture
def toxicity(tmp_path: Path) -> Path:
    """Two of the four test texts stand, written otherwise, in what shipped members learned from."""
    write(
        tmp_path / "gold_tox_davidson.csv",
        [
            ("You FOOL &amp; liar", "toxic", "train", "", ""),
            ("a test row", "toxic", "test", "", ""),
        ],
    )
    return write(
        tmp_path / "llm_toxicity_en.csv",
        [
            ("What a lovely day!", "non-toxic", "train", "", ""),
            ("what a lovely day", "non-toxic", "test", "non-toxic", ""),
            ("you fool & liar.", "toxic", "test", "non-toxic", ""),
            ("a test row", "toxic", "test", "toxic", ""),
            ("nobody saw this", "toxic", "test", "unparsed", ""),
        ],
    )


def test_evaluated_texts_that_shipped_members_learned_from_are_dropped(toxicity: Path) -> None:
    rows = read_rows(toxicity)
    team, replay = assemble("toxicity", evaluated(rows, "llm_a", "test"), rows, toxicity.parent)
    assert replay.texts == ["a test row", "nobody saw this"]
    assert team.size == 3
    assert replay.notes[1].startswith("2 rows dropped")
    assert "gold_tox_implicit_hate.csv" in replay.notes[1]  # not there: not checked, and told


def test_a_member_that_mixes_in_other_sources_brings_their_texts_along(tmp_path: Path) -> None:
    write(tmp_path / "gold_sent_kaggle_tse_rest.csv", [("mixed in", "neutral", "train", "", "")])
    texts, missing = shipped_texts(["sentiment-finance"], tmp_path)
    assert texts == ["mixed in"]
    assert len(missing) == 2


def test_members_made_here_never_train_on_an_evaluated_text(tmp_path: Path) -> None:
    rows = read_rows(
        write(
            tmp_path / "topics.csv",
            [
                ("Fish quota", "sea", "train", "", ""),
                ("fish  QUOTA!", "sea", "test", "sea", ""),
                ("forest fire", "land", "train", "", ""),
                ("ship wreck", "sea", "train", "", ""),
                ("dev text", "sea", "dev", "", ""),
            ],
        )
    )
    replay = evaluated(rows, "llm_a", "test")
    sample = training_sample(replay, rows, 600)
    assert sorted(row["text"] for row in sample) == ["forest fire", "ship wreck"]


def test_training_on_one_label_is_refused(toxicity: Path) -> None:
    rows = read_rows(toxicity)
    with pytest.raises(ReplayError, match="less than two labels"):
        training_sample(evaluated(rows, "llm_a", "test"), rows, 600)


def test_rows_are_picked_by_condition_answer_and_split(tmp_path: Path) -> None:
    path = write(
        tmp_path / "rows.csv",
        [
            ("asked", "x", "test", "x", "good"),
            ("never asked", "y", "test", "", "good"),
            ("dropped", "x", "test", "x", "bad"),
            ("other split", "x", "train", "x", "good"),
        ],
    )
    replay = evaluated(read_rows(path, drop=["kind=bad"]), "llm_a", "test")
    assert replay.texts == ["asked"]
    assert replay.labels.names == ("x", "y")
    assert replay.notes == ("1 rows dropped: the LLM was never asked about them",)
    assert len(read_rows(path, where=["kind=good", "split=test"])) == 2


def test_a_limit_samples_the_whole_file_the_same_way_each_time(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.csv", [(f"text {i}", "x", "test", "x", "") for i in range(100)])
    first, again = (evaluated(read_rows(path), "llm_a").sampled(20) for _ in range(2))
    assert first.texts == again.texts
    assert max(int(text.split()[1]) for text in first.texts) > 50
    assert len(set(first.texts)) == 20


@pytest.mark.parametrize("condition", ["kind", "colour=red"])
def test_a_condition_on_no_column_is_refused(tmp_path: Path, condition: str) -> None:
    path = write(tmp_path / "rows.csv", [("a", "x", "test", "x", "")])
    with pytest.raises(ReplayError, match="COLUMN=VALUE"):
        read_rows(path, where=[condition])


def test_a_column_that_is_not_there_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.csv", [("a", "x", "test", "x", "")])
    with pytest.raises(ReplayError, match="llm_b"):
        evaluated(read_rows(path), "llm_b")


def test_members_that_do_not_fit_the_labels_are_refused(tmp_path: Path) -> None:
    rows = read_rows(write(tmp_path / "rows.csv", [("a", "x", "test", "x", "")]))
    with pytest.raises(ReplayError, match="--members"):
        assemble("sentiment", evaluated(rows, "llm_a"), rows, tmp_path)
