"""Benchmarks of speed read their texts as told, and never hand one out twice."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

import pytest

from benchmarks.texts import FILE, Sample, Texts, Unusable, add_options, chosen


def options(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_options(parser)
    return parser.parse_args(arguments)


def write(path: Path, content: str) -> Path:
    path.write_text(content, encoding="utf-8")
    return path


def test_a_csv_gives_its_texts_in_order_each_once(tmp_path: Path) -> None:
    file = write(
        tmp_path / "some.csv",
        'id,text,label\n1,"two\nlines",positive\n2,NA,neutral\n3, ,neutral\n4, NA ,negative\n',
    )
    texts = chosen(options("--csv", str(file)))
    assert texts.name == "some"
    assert [one.text for one in texts.samples] == ["two\nlines", "NA"]


def test_a_folder_is_searched_for_the_one_file(tmp_path: Path) -> None:
    write(tmp_path / FILE, "text,label\nfine,positive\n")
    write(tmp_path / "another.csv", "text,label\nbad,negative\n")
    assert chosen(options("--data", str(tmp_path))).samples == [Sample("fine", "positive")]


def test_the_environment_names_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / FILE, "text,label\nfine,positive\n")
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    assert chosen(options()).samples == [Sample("fine", "positive")]


def test_a_named_csv_wins_over_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "nowhere"))
    file = write(tmp_path / "some.csv", "text,label\nfine,positive\n")
    assert chosen(options("--csv", str(file))).name == "some"


def test_without_a_source_the_demo_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BENCH_DATA", raising=False)
    texts = chosen(options())
    assert texts.name == "demo"
    assert {one.label for one in texts.samples} == {"positive", "neutral", "negative"}


def test_no_text_is_handed_out_twice() -> None:
    texts = Texts("two", [Sample("a", "x"), Sample("b", "y"), Sample("a", "x")])
    taken = texts.take(3) + texts.take(4)
    assert len({one.text for one in taken}) == 7
    assert [one.text for one in taken[:2]] == ["a", "b"]
    assert [one.label for one in taken] == ["x", "y", "x", "y", "x", "y", "x"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("id,text\n1,fine\n", "'label'"),
        ("id,label\n1,fine\n", "'text'"),
        ("text,label\n", "'text'"),
        ("", "'text'"),
        ("text,label\n ,positive\n", "every text is empty"),
        ("text,label\n,\n", "every text is empty"),
    ],
)
def test_a_csv_that_cannot_serve_is_told_in_one_sentence(
    tmp_path: Path, content: str, told: str
) -> None:
    file = write(tmp_path / "bad.csv", content)
    with pytest.raises(Unusable) as raised:
        chosen(options("--csv", str(file)))
    assert told in str(raised.value) and "bad.csv" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_csv_that_is_not_there_or_no_text_is_told(tmp_path: Path) -> None:
    with pytest.raises(Unusable, match="No such file"):
        chosen(options("--csv", str(tmp_path / "none.csv")))
    binary = tmp_path / "binary.csv"
    binary.write_bytes(b"text,label\n\xff\xfe,x\n")
    with pytest.raises(Unusable, match="not UTF-8"):
        chosen(options("--csv", str(binary)))


@pytest.mark.parametrize("name", ["serving", "paper_cost", "throughput"])
def test_a_benchmark_ends_with_2_before_any_work(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    benchmark = importlib.import_module(f"benchmarks.{name}")
    file = write(tmp_path / "bad.csv", "id,text\n1,fine\n")
    assert benchmark.main(["--csv", str(file)]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1 and "'label'" in said.err
