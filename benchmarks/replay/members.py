"""The committees that a replay can ask, and the texts that their members learned from.

`sentiment` and `toxicity` ship with the product, `cold` has no member, `trained` is made here from
the CSV's own train split, everything else names folders of published models.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.replay.data import SEED, Replay, ReplayError, Row
from benchmarks.replay.heads import HEADS, LogisticMember, cls_states, out_of_fold, token_means
from specialists.committee import Committee
from specialists.errors import SpecialistUnavailable
from specialists.evidence import Evidence
from specialists.loading import own_labels
from specialists.models import Models
from specialists.registry import EMBEDDED, EMBEDDED_PREFIX, embedded_labels, member
from specialists.types import LabelSet, SpecialistRef
from training.sources import Source, normalised, of

DEFAULT_TRAIN_LABELS = 600


@dataclass(frozen=True)
class Team:
    """A committee, and what the paper's fine-tuning continues: references or made members.

    `learned` is evidence of the members' own training texts, out of fold, with their gold labels
    (rows,): they calibrate the rule as a person's answers do. `folders` has the checkpoints of
    fine-tuned members by name.
    """

    committee: Committee
    refs: tuple[SpecialistRef, ...] = ()
    made: tuple[LogisticMember, ...] = ()
    learned: tuple[Evidence, npt.NDArray[np.intp]] | None = None
    folders: Mapping[str, Path] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """How many members vote."""
        return len(self.committee.names)


def assemble(
    members: str,
    replay: Replay,
    rows: Sequence[Row],
    folder: Path,
    train_labels: int = DEFAULT_TRAIN_LABELS,
    limit: int | None = None,
) -> tuple[Team, Replay]:
    """Make the team, and leave out of the replay what its members were trained on.

    `rows` are the CSV's and `folder` is where it lies; at most `limit` rows are left in the replay.
    Raises ReplayError when no member fits.
    """
    if members == "cold":
        return Team(Committee.load((), replay.labels, {})), replay.sampled(limit)
    if members == "trained":
        replay = replay.sampled(limit)
        return trained(replay, rows, train_labels), replay
    if members in EMBEDDED:
        names = tuple(EMBEDDED[members])
        sources = [EMBEDDED_PREFIX + name for name in names]
        texts, missing = shipped_texts(names, folder)
        why = "their text is in the members' training data"
        if missing:
            why += f" (not checked, no such file beside the CSV: {', '.join(missing)})"
        replay = replay.without(texts, why)
    else:
        sources = members.split(",")
        replay = replay.noted("nobody knows here what the named models were trained on")
    refs = _refs(sources, replay.labels)
    return Team(_load(refs, replay.labels), refs), replay.sampled(limit)


def shipped_texts(names: Sequence[str], folder: Path) -> tuple[list[str], list[str]]:
    """The texts in the train splits of shipped members' sources, and the files not found."""
    sources: dict[str, Source] = {}
    for name in names:
        for each in (name, *(other for other, _ in of(name).mixed_in)):
            sources[each] = of(each)
    texts: list[str] = []
    missing = []
    for source in sources.values():
        try:
            texts += [row.text for row in source.rows(folder, "train")]
        except FileNotFoundError:
            missing.append(f"{source.file}.csv")
    return texts, missing


def training_sample(replay: Replay, rows: Sequence[Row], count: int) -> list[Row]:
    """At most `count` rows of the train split, seeded, none of them (by text) evaluated.

    Raises ReplayError when fewer than two labels are left.
    """
    evaluated = {normalised(text) for text in replay.texts}
    usable = [
        row
        for row in rows
        if row.get("split") == "train"
        and row["text"].strip()
        and normalised(row["text"]) not in evaluated
    ]
    chosen = random.Random(SEED).sample(usable, min(count, len(usable)))
    if len({row["label"] for row in chosen}) < 2:
        raise ReplayError(
            f"--members trained found {len(chosen)} rows to train on, with less than two labels; "
            "use a CSV with a train split that is not evaluated (--split test)."
        )
    return chosen


def trained(replay: Replay, rows: Sequence[Row], count: int) -> Team:
    """Three different members over one base model, trained on a seeded sample of the train split.

    Token means and the first token's state of MiniLM, and character n-grams, each with a logistic
    regression.
    """
    sample = training_sample(replay, rows, count)
    texts = [row["text"] for row in sample]
    gold = np.array([replay.labels.names.index(row["label"]) for row in sample], dtype=np.intp)
    embedder = Models().embedder(replay.labels)
    sees = {"token-means": token_means(embedder), "first-token": cls_states(), "characters": None}
    width = len(replay.labels.names)
    made, votes = {}, []
    for name, see in sees.items():
        made[name] = LogisticMember(HEADS[name], width, see).fit(texts, gold)
        votes.append(out_of_fold(HEADS[name], width, made[name].look(texts), gold))
    committee = Committee(replay.labels, list(made.items()), observer=embedder)
    learned = Evidence(np.stack(votes, axis=1), frozen=embedder.observe(texts).frozen)
    return Team(committee, made=tuple(made.values()), learned=(learned, gold))


def _refs(sources: Sequence[str], labels: LabelSet) -> tuple[SpecialistRef, ...]:
    try:
        return tuple(member(source, labels, _own(source)) for source in sources)
    except SpecialistUnavailable as error:
        raise ReplayError(f"--members: {error}") from None


def _own(source: str) -> tuple[str, ...]:
    if source.startswith(EMBEDDED_PREFIX):
        return embedded_labels(source.removeprefix(EMBEDDED_PREFIX))
    return own_labels(source)


def _load(refs: Sequence[SpecialistRef], labels: LabelSet) -> Committee:
    committee = Committee.load(refs, labels, {})
    if committee.problems:
        raise ReplayError("--members: " + " ".join(committee.problems))
    return committee
