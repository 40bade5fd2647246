"""How far a committee's own features go on a set: linear probes on gold labels.

    python -m benchmarks.probe --csv FILE --llm COLUMN [--members sentiment] [--train 650]

What no routing can pass: heads that learn from verdicts see the same features and fewer, noisier
labels. Beside them a probe on word and character n-grams. Means of several random splits; the last
line is JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedShuffleSplit, cross_val_score

from benchmarks.replay.data import ReplayError, evaluated, read_rows
from benchmarks.replay.members import assemble
from specialists.chances import first_probabilities, unit
from specialists.registry import EMBEDDED

SPLITS = 4
TESTED = 800  # texts that each split is measured on
STRENGTHS = (0.3, 3.0, 30.0)  # inverse penalties; the best is told, so the probe gets every help


def main() -> int:
    """Measure and print."""
    try:
        figures = probe(_options())
    except ReplayError as error:
        print(error, file=sys.stderr)
        return 2
    for name, accuracy in figures["probes"].items():
        print(f"{name:<28} {accuracy:.3f}")
    print(json.dumps(figures))
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--csv", type=Path, required=True, help="a CSV of id,text,label,split")
    add("--llm", required=True, metavar="COLUMN", help="rows without its answer are left out")
    add("--members", default="sentiment", choices=sorted(EMBEDDED), help="whose features")
    add("--drop", action="append", default=[], metavar="COLUMN=VALUE", help="leave these rows out")
    add("--limit", type=int, default=2500, help="texts, a seeded sample (default 2500)")
    add("--train", type=int, default=650, help="gold labels to learn from (default 650)")
    return parser.parse_args()


def probe(options: argparse.Namespace) -> dict[str, Any]:
    """Accuracy of the members' mean vote, and of probes on views and on n-grams."""
    rows = read_rows(options.csv, drop=options.drop)
    data = evaluated(rows, options.llm)
    team, data = assemble(options.members, data, rows, options.csv.parent, limit=options.limit)
    evidence = team.committee.observe(data.texts)
    views = [unit(view - view.mean(axis=0)) for view in evidence.features]
    probes = {
        f"view {number}": accuracy(view, data.gold, options.train)
        for number, view in enumerate(views, start=1)
    }
    probes["all views together"] = accuracy(np.hstack(views), data.gold, options.train)
    for name, analyzer, sizes in (("words", "word", (1, 2)), ("characters", "char_wb", (2, 5))):
        counts = TfidfVectorizer(analyzer=analyzer, ngram_range=sizes, sublinear_tf=True, min_df=2)
        probes[f"n-grams of {name}"] = accuracy(
            counts.fit_transform(data.texts), data.gold, options.train
        )
    vote = first_probabilities(evidence).argmax(axis=1) == data.gold
    return {"n": len(data), "train": options.train, "members": float(vote.mean()), "probes": probes}


def accuracy(features: Any, gold: npt.NDArray[np.intp], train: int) -> float:
    """Mean accuracy of a linear probe over the splits, with the best of the strengths."""
    splits = StratifiedShuffleSplit(SPLITS, train_size=train, test_size=TESTED, random_state=0)
    found = [
        cross_val_score(LogisticRegression(C=c, max_iter=3000), features, gold, cv=splits).mean()
        for c in STRENGTHS
    ]
    return float(max(found))


if __name__ == "__main__":
    sys.exit(main())
