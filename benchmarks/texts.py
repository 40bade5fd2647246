"""The texts that benchmarks of speed use: a CSV's, or the demo's.

No two texts that are taken are alike, so that nothing is answered from a cache: when a source is
used up it begins anew with a number behind each text. It knows no model and no process.
"""

from __future__ import annotations

import argparse
import csv
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from backend.demo.projects import named
from training.sources import of

FILE = f"{of('sentiment-tweets').file}.csv"  # what is read of a folder
_COLUMNS = ("text", "label")


class Unusable(Exception):
    """The file cannot serve; the message says what to change."""


@dataclass(frozen=True)
class Sample:
    """A text and its gold label."""

    text: str = field(repr=False)
    label: str


class Texts:
    """Hands out samples, each text once."""

    def __init__(self, name: str, samples: Sequence[Sample]) -> None:
        """Begin with the first of `samples`, at least one; equal texts count once."""
        self.name = name
        self.samples = list({one.text: one for one in samples}.values())
        self._left = self._endless()

    def take(self, count: int) -> list[Sample]:
        """The next samples."""
        return [next(self._left) for _ in range(count)]

    def _endless(self) -> Iterator[Sample]:
        yield from self.samples
        number = 1
        while True:
            number += 1
            for one in self.samples:
                yield Sample(f"{one.text} ({number})", one.label)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Let the command line name a source: `--csv FILE` or `--data DIR`."""
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--csv", type=Path, metavar="FILE", help="texts: columns text and label")
    where.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        default=os.environ.get("BENCH_DATA") or None,
        help=f"a folder with {FILE} (default: BENCH_DATA; else the demo's texts serve)",
    )


def chosen(options: argparse.Namespace) -> Texts:
    """The source that the command line names, else the demo's texts.

    Raises Unusable for a file that is not there or has not the columns.
    """
    if options.csv is not None:
        return _read(options.csv)
    if options.data is not None:
        return _read(options.data / FILE)
    project = named("sentiment")
    rows = [row for role in ("task", "held_out") for row in project.key(role)]
    return Texts("demo", [Sample(row["text"], row["label"]) for row in rows])


def _read(file: Path) -> Texts:
    try:
        with file.open(encoding="utf-8", newline="") as opened:
            rows = list(csv.DictReader(opened))
    except OSError as error:
        raise Unusable(f"{file}: {error.strerror}; name a CSV with --csv FILE.") from None
    except UnicodeDecodeError:
        raise Unusable(f"{file}: it is not UTF-8; convert it.") from None
    missing = [column for column in _COLUMNS if not rows or column not in rows[0]]
    if missing:
        raise Unusable(f"{file}: no column {missing[0]!r} with rows; it needs text and label.")
    # Stripped, as the product reads the texts of tasks.
    samples = [Sample((row["text"] or "").strip(), row["label"] or "") for row in rows]
    samples = [one for one in samples if one.text]
    if not samples:
        raise Unusable(f"{file}: every text is empty; name a CSV with texts.")
    return Texts(file.stem, samples)
