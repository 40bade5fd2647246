"""How many labels it takes to reach 95 % of what all labels give, by the order of asking.

    python -m benchmarks.active_learning --data FILE [FILE ...] [--seeds 5] [--tests 1000]
        [--cache FOLDER]

Each FILE is a CSV of `id,text,label,split`. A simulated project starts without a label; a person
answers the head of the queue with the gold label, and after as many answers as in the product the
rule is fitted anew and the queue ordered anew. The committee is the product's own for these labels:
shipped specialists where any knows them, else the live member on the frozen MiniLM view alone.
Three orders: at random, the least confident first, and ours (training/usefulness.py). What all
labels give is what the same learner makes of all training rows. Embeddings are computed once and
kept in --cache. Prints a line an order and, last, one JSON line.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
import numpy.typing as npt

from backend.jobs.queue_order import centre_of, seen_from
from backend.jobs.refit import needed
from benchmarks.continual.stream import Unusable, read
from specialists.committee import Committee
from specialists.evidence import Evidence
from specialists.registry import default_members
from specialists.rule_state import RuleState
from specialists.types import Label, LabelSet
from specialists.value_rule import ValueRule
from training.refit import Known, refit
from training.reliability import Answers
from training.usefulness import Design, doubt

SHARE = 0.95
_SEEN = 1000  # texts without an answer that tell where the centre of a view is, as in the product
_BLOCK = 512

Indices = npt.NDArray[np.intp]
Order = Callable[["Project", Indices, int], Indices]
"""Which of some open texts (indices) to ask next, at most so many."""


@dataclass(frozen=True, eq=False)
class Texts:
    """Observed texts of one set with their gold labels, (texts,) each: to learn from, to test."""

    name: str
    train: Evidence = field(repr=False)
    gold: Indices = field(repr=False)
    test: Evidence = field(repr=False)
    test_gold: Indices = field(repr=False)


class Project:
    """A project on one set at one moment: what is answered, and the rule that follows."""

    def __init__(self, texts: Texts, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.texts = texts
        self.answered: Indices = np.zeros(0, dtype=np.intp)
        _, members, labels = texts.train.votes.shape
        self.rule = ValueRule(RuleState.first(members, labels))
        self._others = texts.train.rows(np.sort(self.rng.permutation(len(texts.gold))[:_SEEN]))

    def ask(self, order: Order) -> None:
        """Answer the head of the queue until a refit is due, and refit."""
        left = np.setdiff1d(np.arange(len(self.texts.gold)), self.answered)
        asked = order(self, self.rng.permutation(left), min(len(left), needed(len(self.answered))))
        self.learn(np.concatenate([self.answered, asked]))

    def learn(self, answered: Indices) -> None:
        """Fit the rule to these answers."""
        self.answered = answered
        human = self.texts.gold[answered]
        nobody = np.full(len(human), -1)
        answers = Answers(nobody, human, nobody >= 0)
        known = Known(self.texts.train.rows(answered), answers)
        self.rule = ValueRule(refit(known, self._others, before=self.rule.state).state)

    def accuracy(self) -> float:
        """The share of the test texts that the rule gets right."""
        chances = self.rule.probabilities(self.texts.test)
        return float((chances.argmax(axis=1) == self.texts.test_gold).mean())


def at_random(project: Project, left: Indices, count: int) -> Indices:
    """The order of a queue that knows nothing; `left` comes shuffled."""
    return left[:count]


def least_confident(project: Project, left: Indices, count: int) -> Indices:
    """The least confident first (Lewis and Gale, SIGIR 1994)."""
    sure = project.rule.probabilities(project.texts.train.rows(left)).max(axis=1)
    return left[np.argsort(sure, kind="stable")[:count]]


def ours(project: Project, left: Indices, count: int) -> Indices:
    """The product's order."""
    train = project.texts.train
    view = seen_from(train, centre_of(train))
    design = Design(view.shape[1])
    design.know(view[project.answered])
    doubts = doubt(project.rule.probabilities(train.rows(left)))
    design.consider(left.astype(np.int64), view[left], doubts)
    return np.array(design.order(count), dtype=np.intp)


ORDERS: Mapping[str, Order] = {
    "random": at_random,
    "least_confidence": least_confident,
    "ours": ours,
}


def labels_to(target: float, texts: Texts, order: Order, seed: int) -> float:
    """Labels until the accuracy reaches `target`, between two refits by straight line.

    The number of all texts where it never does.
    """
    project, before = Project(texts, seed), (0, 0.0)
    while len(project.answered) < len(texts.gold):
        project.ask(order)
        now = len(project.answered), project.accuracy()
        if now[1] >= target:
            part = (target - before[1]) / (now[1] - before[1])
            return before[0] + part * (now[0] - before[0])
        before = now
    return float(len(texts.gold))


def observed(file: Path, tests: int, cache: Path) -> Texts:
    """Read a CSV and let the product's committee for its labels see its texts, or take the cache's.

    Raises Unusable as `read` does.
    """
    rows = read(file, tests)
    names = sorted({row.label for row in (*rows.train, *rows.test)})
    labels = LabelSet(tuple(Label(name) for name in names))
    texts = [row.text for row in (*rows.train, *rows.test)]
    gold = np.array([names.index(row.label) for row in (*rows.train, *rows.test)], dtype=np.intp)
    everything = "\x00".join([*names, *texts]).encode()
    kept = cache / f"{file.stem}-{hashlib.sha256(everything).hexdigest()[:12]}.npz"
    if not kept.exists():
        refs = default_members(labels)
        pieces = _observe(Committee.load(refs, labels, {}), texts)
        cache.mkdir(parents=True, exist_ok=True)
        np.savez(kept, pieces=np.array([np.frombuffer(piece, np.uint8) for piece in pieces]))
    evidence = Evidence.unpack([row.tobytes() for row in np.load(kept)["pieces"]])
    train, test = np.arange(len(rows.train)), np.arange(len(rows.train), len(texts))
    return Texts(file.stem, evidence.rows(train), gold[train], evidence.rows(test), gold[test])


def _observe(committee: Committee, texts: Sequence[str]) -> list[bytes]:
    pieces: list[bytes] = []
    for start in range(0, len(texts), _BLOCK):
        pieces += committee.observe(texts[start : start + _BLOCK]).pack()
        print(f"observed {len(pieces)} of {len(texts)}", file=sys.stderr, flush=True)
    return pieces


def measure(texts: Texts, seeds: int) -> dict[str, float]:
    """Mean labels of each order over the seeds, printed run by run."""
    everything = Project(texts, 0)
    everything.learn(np.arange(len(texts.gold)))
    full = everything.accuracy()
    print(f"{texts.name}: {len(texts.gold)} texts, {full:.3f} right with all labels", flush=True)
    found: dict[str, float] = {}
    for name, order in ORDERS.items():
        counts = [labels_to(SHARE * full, texts, order, seed) for seed in range(seeds)]
        spread = stdev(counts) if seeds > 1 else 0.0
        told = " ".join(f"{count:.0f}" for count in counts)
        print(f"  {name:<17} {fmean(counts):6.0f} labels (sd {spread:.0f}: {told})", flush=True)
        found[f"{name}_labels"] = round(fmean(counts), 1)
    return {**found, "full_accuracy": round(full, 4), "texts": len(texts.gold)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure all sets and print; 2 when a file cannot serve."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=Path, required=True, nargs="+", metavar="FILE", help="CSVs, a project each")
    add("--seeds", type=int, default=5, help="runs of each order to average over")
    add("--tests", type=int, default=1000, help="test texts of each set, at most")
    add("--cache", type=Path, default=Path(".data/observed"), help="where embeddings are kept")
    options = parser.parse_args(arguments)
    try:
        sets = [observed(file, options.tests, options.cache) for file in options.data]
    except Unusable as error:
        print(error, file=sys.stderr)
        return 2
    found = {texts.name: measure(texts, options.seeds) for texts in sets}
    shares = [one["ours_labels"] / one["random_labels"] for one in found.values()]
    print(json.dumps({"sets": found, "ours_share_of_random": round(fmean(shares), 3)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
