"""A committee chosen by measurement against one chosen by downloads, on a local Hub of ten models.

    python -m benchmarks.selection [--csv FILE] [--verdicts 200] [--k 3] [--seeds 3]

Two of the ten are good-looking and wrong: the most downloads, right labels, but turned round or
near chance (`hub_models`). The product's own client, filters, score, loading and choice run
against it; verdicts are the texts' own labels. Both committees answer by their mean vote.

accuracy_measured            on held-out texts, mean over the seeds
accuracy_by_downloads        of the k most downloaded that pass the same filters
accuracy_by_downloads_honest of the k most downloaded when the two wrong ones are left out by hand
expected                     what the choice promised for itself, cross-validated
chosen, left_out             ids at the first seed

The last line is JSON.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from benchmarks.local_hub import LocalHub


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    options = _parse(arguments)
    with tempfile.TemporaryDirectory(prefix="aa-bench-") as folder, LocalHub([]) as hub:
        # The Hub's client reads these when it is imported, and transformers imports it.
        os.environ.update(
            HF_ENDPOINT=hub.url,
            HF_HOME=f"{folder}/cache",
            HF_HUB_DISABLE_TELEMETRY="1",
            HF_HUB_DISABLE_PROGRESS_BARS="1",
        )
        rows = [_measure(hub, Path(folder), options, seed) for seed in range(options.seeds)]
    report = {
        name: round(fmean(row[name] for row in rows), 4)
        for name in rows[0]
        if name not in ("chosen", "left_out")
    }
    print(json.dumps({**report, **{k: rows[0][k] for k in ("chosen", "left_out")}}))
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Chosen by measurement, and by downloads.")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="columns text and label")
    parser.add_argument("--verdicts", type=int, default=200, help="known texts (default 200)")
    parser.add_argument("--k", type=int, default=3, help="members (default 3)")
    parser.add_argument("--seeds", type=int, default=3, help="repetitions (default 3)")
    return parser.parse_args(arguments)


def _measure(hub: LocalHub, folder: Path, options: argparse.Namespace, seed: int) -> dict[str, Any]:
    """One repetition: ten new models, a new sample, another held-out set."""
    import torch

    from benchmarks import hub_models

    torch.set_num_threads(1)  # tiny models wait for each other's threads more than they compute
    material = _material(options.csv, seed)
    hub.repositories = hub_models.make(folder / str(seed), material, seed, {})
    sample, held_out = material.unseen[: options.verdicts], material.unseen[options.verdicts :]
    votes, held_out_votes = _votes(hub, sample, held_out)
    truth = _truth(sample)
    chosen, expected = _choose(votes, truth, options.k)
    popular = list(votes)[: options.k]
    honest = [name for name in votes if name not in hub_models.WRONG][: options.k]
    accuracy = {
        "accuracy_measured": _accuracy(held_out_votes, chosen, _truth(held_out)),
        "accuracy_by_downloads": _accuracy(held_out_votes, popular, _truth(held_out)),
        "accuracy_by_downloads_honest": _accuracy(held_out_votes, honest, _truth(held_out)),
        "expected": expected,
    }
    print(f"seed {seed}: {', '.join(f'{k} {v:.3f}' for k, v in accuracy.items())}", flush=True)
    return {**accuracy, "chosen": chosen, "left_out": [n for n in votes if n not in chosen]}


def _material(file: Path | None, seed: int) -> Any:
    from benchmarks.hub_models import OWN, given_texts, made_texts

    if file is None:
        return made_texts(seed)
    with file.open(encoding="utf-8", newline="") as opened:
        rows = [(row["text"].strip(), row["label"]) for row in csv.DictReader(opened)]
    return given_texts([row for row in rows if row[0] and row[1] in OWN], seed)


def _votes(hub: LocalHub, *samples: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    """What each candidate of the Hub that passes the filters answers, the most downloaded first."""
    from meta_controller.candidates import refused
    from meta_controller.hub import Hub
    from meta_controller.label_maps import OwnVotes
    from specialists.models import Models
    from specialists.types import Label, LabelSet, SpecialistRef

    found = Hub(hub.url).search(["sentiment"])
    passing = [one for one in found if not refused(one, 1e9)]
    models, votes = Models(), [{} for _ in samples]  # type: list[dict[str, Any]]
    for one in Hub(hub.url).with_labels(passing):
        ref = SpecialistRef(one.id, one.source, {name: name for name in one.labels})
        own = LabelSet(tuple(Label(name) for name in one.labels))
        specialist = models.specialist(ref, own, None)
        for rows, into in zip(samples, votes, strict=True):
            seen = specialist.observe([text for text, _ in rows]).votes[:, 0]
            into[one.id] = OwnVotes(one.labels, seen.astype(np.float64))
    return votes


def _choose(votes: dict[str, Any], truth: Any, k: int) -> tuple[list[str], float]:
    from meta_controller.label_maps import settle
    from meta_controller.selection import Ballot, choose
    from specialists.decision import pool

    names = _names()
    ballots = []
    for name, own in votes.items():
        mapped = settle(own, _rules(own.labels), "rules", names, truth)
        ballots.append(Ballot(name, mapped.votes, mapped.doubt))
    choice = choose(ballots, truth, k, pool)
    for one in choice.findings:
        correlation = "" if one.error_correlation is None else f"{one.error_correlation:5.2f}"
        print(f"  {one.name:<28}{one.accuracy:6.3f} {correlation:<6}{one.why}", flush=True)
    return list(choice.members), choice.expected or 0.0


def _accuracy(votes: dict[str, Any], members: Sequence[str], truth: Any) -> float:
    """The mean vote's accuracy, by the maps that the names mean."""
    from meta_controller.label_maps import project, right
    from specialists.decision import pool

    mapped = [project(votes[one], _rules(votes[one].labels), _names()) for one in members]
    return float(right(pool(np.stack(mapped, axis=1)), truth).mean())


def _rules(own: Sequence[str]) -> dict[str, str]:
    from specialists.label_map import match
    from specialists.types import Label, LabelSet

    return match(own, LabelSet(tuple(Label(name) for name in _names())))


def _truth(rows: Sequence[tuple[str, str]]) -> Any:
    names = _names()
    return np.array([names.index(label) for _, label in rows])


def _names() -> list[str]:
    from benchmarks.hub_models import OWN

    return list(OWN)


if __name__ == "__main__":
    sys.exit(main())
