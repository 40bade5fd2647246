"""The rows of a replay: texts, gold labels and what a real LLM once answered.

Reads a CSV of `id,text,label,split` and recorded columns; picks rows, knows no model. Every row
that is left out is counted in `notes`.
"""

from __future__ import annotations

import csv
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from specialists.types import Label, LabelSet
from training.sources import normalised

SEED = 13  # of every sample drawn here; the stream's seeds are others
Row = dict[str, str]


class ReplayError(Exception):
    """The options and the files do not fit; the message says what to change."""


@dataclass(frozen=True)
class Replay:
    """The evaluated rows, `n` of them, in one fixed order.

    `gold` has shape (n,), indices into `labels`; `recorded` are the column's cells as they stand.
    """

    labels: LabelSet
    texts: list[str] = field(repr=False)
    gold: npt.NDArray[np.intp]
    recorded: list[str]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.texts)

    def without(self, texts: Iterable[str], why: str) -> Replay:
        """Leave out the rows whose text, normalised, is one of `texts`; `why` goes to the notes."""
        seen = {normalised(text) for text in texts}
        kept = [i for i, text in enumerate(self.texts) if normalised(text) not in seen]
        return self._rows(kept).noted(f"{len(self) - len(kept)} rows dropped: {why}")

    def noted(self, note: str) -> Replay:
        """The same rows with one more note."""
        return replace(self, notes=(*self.notes, note))

    def sampled(self, limit: int | None) -> Replay:
        """At most `limit` rows, drawn with a fixed seed: files may be sorted by difficulty."""
        if limit is None or len(self) <= limit:
            return self
        kept = random.Random(SEED).sample(range(len(self)), limit)
        return self._rows(kept).noted(f"{limit} rows sampled of {len(self)}, seed {SEED}")

    def _rows(self, kept: list[int]) -> Replay:
        return replace(
            self,
            texts=[self.texts[i] for i in kept],
            gold=self.gold[kept],
            recorded=[self.recorded[i] for i in kept],
        )


def read_rows(csv_file: Path, where: Sequence[str] = (), drop: Sequence[str] = ()) -> list[Row]:
    """The rows that match every `where` and no `drop` condition ("column=value").

    Raises ReplayError for a file or a column that is not there.
    """
    try:
        with csv_file.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise ReplayError(f"--csv {csv_file}: {error.strerror}; name a file.") from None
    wanted = [_condition(text, rows) for text in where]
    unwanted = [_condition(text, rows) for text in drop]
    return [
        row
        for row in rows
        if all(row[column] == value for column, value in wanted)
        and not any(row[column] == value for column, value in unwanted)
    ]


def evaluated(rows: Sequence[Row], column: str, split: str = "") -> Replay:
    """The rows of `split` ("" is every one) that the LLM was asked about.

    The labels are those of all `rows`, sorted. Raises ReplayError when no row is left.
    """
    for needed in ("text", "label", column):
        if not rows or needed not in rows[0]:
            raise ReplayError(f"No row with a column {needed!r}; check --csv, --llm and --where.")
    inside = [row for row in rows if not split or row.get("split") == split]
    asked = [row for row in inside if row[column].strip() and row["text"].strip()]
    if not asked:
        raise ReplayError(f"No row of split {split!r} has an answer in {column!r}.")
    names = label_names(rows)
    index = {name: i for i, name in enumerate(names)}
    note = f"{len(inside) - len(asked)} rows dropped: the LLM was never asked about them"
    return Replay(
        labels=LabelSet(tuple(Label(name) for name in names)),
        texts=[row["text"] for row in asked],
        gold=np.array([index[row["label"]] for row in asked], dtype=np.intp),
        recorded=[row[column] for row in asked],
        notes=(note,),
    )


def label_names(rows: Iterable[Row]) -> tuple[str, ...]:
    """The gold labels that occur, sorted."""
    return tuple(sorted({row["label"] for row in rows}))


def _condition(text: str, rows: Sequence[Row]) -> tuple[str, str]:
    column, equals, value = text.partition("=")
    if not equals or (rows and column not in rows[0]):
        raise ReplayError(f"{text!r} is no condition on these rows; write COLUMN=VALUE.")
    return column, value
