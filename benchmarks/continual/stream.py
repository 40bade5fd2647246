"""The stream of a continual benchmark: stages of verdicts from one labelled set after the other.

Reads CSVs of `id,text,label,split`; knows no model. Equal seeds give equal streams.
"""

from __future__ import annotations

import csv
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from specialists.types import Label, LabelSet, Verdict
from training.sources import Row, normalised, without

SEED = 13  # of the test samples, which are the same for all streams
CONTROL = "label"


class Unusable(Exception):
    """A file or an option cannot serve; the message says what to change."""


@dataclass(frozen=True)
class LabelledSet:
    """One CSV: what stages may draw from, and what is asked after each of them."""

    name: str
    train: Sequence[Row] = field(repr=False)
    test: Sequence[Row] = field(repr=False)


@dataclass(frozen=True)
class Stream:
    """Stages of verdicts, in order, each with the name of the set that it is drawn from.

    `begin` are rows of the first set that the members learn before the first stage.
    """

    labels: LabelSet
    sets: Sequence[LabelledSet]
    begin: Sequence[Row] = field(repr=False)
    stages: Sequence[tuple[str, Sequence[Verdict]]] = field(repr=False)


def read(file: Path, tests: int) -> LabelledSet:
    """Read a CSV; at most `tests` rows of its test split are asked. Raises Unusable."""
    try:
        with file.open(encoding="utf-8", newline="") as opened:
            rows = list(csv.DictReader(opened))
    except OSError as error:
        raise Unusable(f"{file}: {error.strerror}; name a CSV.") from None
    if not rows or not {"text", "label", "split"} <= rows[0].keys():
        raise Unusable(f"{file}: it needs rows with the columns text, label and split.")

    def of(split: str) -> list[Row]:
        named = [Row(r["text"].strip(), r["label"]) for r in rows if r["split"] == split]
        return [row for row in named if normalised(row.text)]

    test = of("test")
    test = random.Random(SEED).sample(test, min(tests, len(test)))
    train = without(of("train"), test)
    if not train or not test:
        raise Unusable(f"{file}: it needs rows whose split is train, and others that are test.")
    return LabelledSet(file.stem, train, test)


def stream(
    sets: Sequence[LabelledSet], begin: int, stages: int, verdicts: int, noise: float, seed: int
) -> Stream:
    """Draw `begin` rows of the first set, then `stages` of `verdicts` from each.

    A share of `noise` (0..1) of the verdicts gets another label.

    Raises Unusable when a set is too small.
    """
    names = tuple(sorted({row.label for one in sets for row in (*one.train, *one.test)}))
    if len(names) < 2:
        raise Unusable("The files name one label; there is nothing to learn.")
    rng = random.Random(seed)
    drawn: list[tuple[str, Sequence[Verdict]]] = []
    first_rows: list[Row] = []
    for number, one in enumerate(sets):
        first = begin if number == 0 else 0
        needed = first + stages * verdicts
        if len(one.train) < needed:
            raise Unusable(
                f"{one.name}: {len(one.train)} rows to train on, {needed} are needed; "
                "lower --begin, --stages or --verdicts."
            )
        rows = rng.sample(list(one.train), needed)
        first_rows += rows[:first]
        for start in range(first, needed, verdicts):
            done = sum(len(stage) for _, stage in drawn)
            stage = [
                _verdict(done + place, row, noise, names, rng)
                for place, row in enumerate(rows[start : start + verdicts], start=1)
            ]
            drawn.append((one.name, stage))
    return Stream(LabelSet(tuple(Label(name) for name in names)), sets, first_rows, drawn)


def _verdict(
    number: int, row: Row, noise: float, names: Sequence[str], rng: random.Random
) -> Verdict:
    label = row.label
    if rng.random() < noise:
        label = rng.choice([name for name in names if name != label])
    return Verdict(
        task_id=number,
        control=CONTROL,
        text=row.text,
        labels=(label,),
        source="llm",
        author="benchmark",
        at=float(number),
    )
