"""A project whose labels no specialist knows: what it answers before and after its first verdicts.

    python -m benchmarks.cold_start --data FILE [FILE ...] [--cache FOLDER] [--seeds 3]

Of each CSV (`id,text,label,split`) the train split is a project's texts; the LLM is a scripted
reviewer that answers by the gold labels. The committee, the rule, its refits and the choice of what
is asked next are the product's. At each stage the rule decides the test split: how much of it is
hard, how often the likeliest label is right, and how often those are that are not hard. At the end
it is compared with a plain logistic regression, on the same frozen view, of as many random texts.
Prints a table a set and ends with one JSON line. Texts are embedded once and kept in `--cache`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression

from backend.pace import Pace
from benchmarks.replay.data import ReplayError, Row, label_names, read_rows
from benchmarks.replay.heads import HEADS
from benchmarks.replay.stream import Case, Indices, Project
from specialists.committee import Committee
from specialists.evidence import Evidence
from specialists.registry import SIMILARITY, first_members
from specialists.types import Label, LabelSet

STAGES = (0, 50, 100, 200, 400, 700, 1000)
"""Verdicts at which the test split is decided."""
_REGRESSION = HEADS["token-means"]  # centred features of length 1, a weak ridge
_MAX_ITERATIONS = 3_000


@dataclass(frozen=True, eq=False)
class Part:
    """One split: evidence and gold (rows,)."""

    evidence: Evidence
    gold: Indices


@dataclass(frozen=True, eq=False)
class Data:
    """A set: its labels, the members' names, the project's texts, and those that are held out."""

    name: str
    labels: LabelSet
    members: tuple[str, ...]
    train: Part = field(repr=False)
    test: Part = field(repr=False)


@dataclass(frozen=True)
class Stage:
    """How the test split is decided after so many verdicts.

    `asked` are fewer where no other call was worth its price. `accepted` is how often what is not
    hard is right, `claimed` how sure it is on average; None where all is hard.
    """

    verdicts: int
    asked: float
    hard_share: float
    accuracy: float
    accepted: float | None
    claimed: float | None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; 2 when a file does not fit."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cold_start", description=__doc__)
    add = parser.add_argument
    add("--data", type=Path, nargs="+", required=True, help="CSVs of id,text,label,split")
    add("--cache", type=Path, help="keeps what the members say of texts (default: nowhere)")
    add("--seeds", type=int, default=3, help="orders of arrival, and draws of random texts")
    options = parser.parse_args(arguments)
    sets = {}
    with tempfile.TemporaryDirectory(prefix="aa-cold-") as folder:
        for file in options.data:
            try:
                data = read(file, options.cache or Path(folder))
            except ReplayError as error:
                print(error, file=sys.stderr)
                return 2
            sets[data.name] = measure(data, options.seeds)
    print(json.dumps({"sets": sets}))
    return 0


def read(file: Path, cache: Path) -> Data:
    """The set of a CSV; raises ReplayError where it lacks a column or a split."""
    rows = [row for row in read_rows(file) if row.get("text", "").strip()]
    if not rows or not {"label", "split"} <= rows[0].keys():
        raise ReplayError(f"--data {file}: it needs the columns text, label and split.")
    missing = {"train", "test"} - {row["split"] for row in rows}
    if missing:
        raise ReplayError(f"--data {file}: no row has split {' or '.join(sorted(missing))}.")
    labels = LabelSet(tuple(Label(name) for name in label_names(rows)))
    refs = first_members(labels, {})
    committee = Committee.load(refs, labels, {})
    parts = (_part(rows, split, committee, cache) for split in ("train", "test"))
    return Data(file.stem, labels, committee.names, *parts)


def _part(rows: Sequence[Row], split: str, committee: Committee, cache: Path) -> Part:
    inside = [row for row in rows if row["split"] == split]
    texts, names = [row["text"] for row in inside], committee.labels.names
    about = json.dumps([committee.names, names, texts])
    file = cache / f"{hashlib.sha256(about.encode()).hexdigest()[:16]}.npz"
    if not file.exists():
        seen = committee.observe(texts)
        cache.mkdir(parents=True, exist_ok=True)
        np.savez(file, votes=seen.votes, frozen=seen.frozen)
    with np.load(file) as kept:
        evidence = Evidence(kept["votes"], (), kept["frozen"])
    return Part(evidence, np.array([names.index(row["label"]) for row in inside], dtype=np.intp))


def measure(data: Data, seeds: int) -> dict[str, object]:
    """Run a set under several seeds and print its table."""
    runs = [stages(data, seed) for seed in range(seeds)]
    most = runs[0][-1].verdicts
    plain = [regression(data, most, seed) for seed in range(seeds)]
    ours = [run[-1].accuracy for run in runs]
    print(f"{data.name}: {len(data.labels.names)} labels, {len(data.train.gold)} texts")
    print("verdicts  asked   hard  all right  accepted right  claimed")
    mean = [_mean(each) for each in zip(*runs, strict=True)]
    for one in mean:
        print(
            f"{one.verdicts:8d} {one.asked:6.0f}  {one.hard_share:5.3f}  {one.accuracy:9.3f}"
            f"  {_told(one.accepted):>14s}  {_told(one.claimed):>7s}"
        )
    print(f"right at {most}, by seed: {_listed(ours)}")
    print(f"a logistic regression on {most} random texts: {_listed(plain)}")
    return {
        "hard_share_by_stage": {one.verdicts: round(one.hard_share, 4) for one in mean},
        "accuracy_by_stage": {one.verdicts: round(one.accuracy, 4) for one in mean},
        "ours_at_1000": round(float(np.mean(ours)), 4),
        "logistic_random_at_1000": round(float(np.mean(plain)), 4),
    }


def stages(data: Data, seed: int) -> list[Stage]:
    """One project: its state at each stage."""
    train, order = data.train, np.random.default_rng(seed).permutation(len(data.train.gold))
    evidence, gold = train.evidence.rows(order), train.gold[order]
    taught = any(name != SIMILARITY for name in data.members)
    case = Case(evidence, llm=gold, gold=gold, taught=taught)
    project = Project(case, np.zeros(len(gold), dtype=bool), Pace(STAGES[-1]))
    project.arrive(np.arange(len(gold)))
    found = []
    for verdicts in STAGES:
        project.ask(verdicts - project.spent)
        project.refit()
        found.append(decided(data, project, verdicts))
    return found


def decided(data: Data, project: Project, verdicts: int) -> Stage:
    """How the rule decides the test split."""
    evidence, gold = data.test.evidence, data.test.gold
    decisions = project.rule.decide(evidence, data.members, data.labels)
    hard = np.array([one.hard for one in decisions])
    chances = project.rule.probabilities(evidence)
    right = chances.argmax(axis=1) == gold
    return Stage(
        verdicts,
        project.spent,
        float(hard.mean()),
        float(right.mean()),
        None if hard.all() else float(right[~hard].mean()),
        None if hard.all() else float(chances.max(axis=1)[~hard].mean()),
    )


def regression(data: Data, texts: int, seed: int) -> float:
    """Accuracy of a logistic regression on the frozen view of random texts."""
    train, test = data.train, data.test
    drawn = np.random.default_rng([seed, 1]).permutation(len(train.gold))[:texts]
    prepare = _REGRESSION.prepare()
    rows = prepare.fit_transform(train.evidence.frozen[drawn])
    model = LogisticRegression(C=_REGRESSION.inverse_ridge, max_iter=_MAX_ITERATIONS)
    model.fit(rows, train.gold[drawn])
    return float(model.score(prepare.transform(test.evidence.frozen), test.gold))


def _mean(stages: Sequence[Stage]) -> Stage:
    """The mean over seeds; of what is not hard where there is any under every seed."""

    def mean(values: Sequence[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return float(np.mean(known)) if len(known) == len(values) else None

    return Stage(
        stages[0].verdicts,
        float(np.mean([one.asked for one in stages])),
        float(np.mean([one.hard_share for one in stages])),
        float(np.mean([one.accuracy for one in stages])),
        mean([one.accepted for one in stages]),
        mean([one.claimed for one in stages]),
    )


def _told(share: float | None) -> str:
    return "-" if share is None else f"{share:.3f}"


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.3f}" for value in values)


if __name__ == "__main__":
    sys.exit(main())
