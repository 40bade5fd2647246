"""What stages do to a committee, by the paper's sequential recipe and by ours.

    python -m benchmarks.continual --data FIRST.csv --then SECOND.csv [MORE.csv ...]
        [--begin 300] [--noise 0.2] [--seeds 3] [--seed 0] [--stages 3] [--verdicts 150]
        [--with loss=generalised focus=-0.5 ...]

Three members start from the bare MiniLM weights, each with its own random classifier, and learn the
first texts of the first set, as the paper's specialists know their task (`--begin 0`: they do not).
Both ways go on from there and get the same verdicts: stages of the first set, then of the others.
The paper's recipe (arXiv 2506.16393) fine-tunes every weight on each stage's verdicts alone, 3
epochs at 2e-5, and serves what comes out; ours is the product's stage with its gate. Both are asked
about the same test texts of all sets after each stage. The paper's members answer by their mean
vote; the product by its rule, which learns from the verdicts too (`ours`), and beside it stands the
mean vote of its members (`ours_members`).
`--noise` replaces that share of the verdicts by another label; test texts keep theirs. `--with`
exchanges parts of the product's stage: fields of `FineTuneParams` and `Curriculum`. Ends with one
JSON line: means over the seeds.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from benchmarks.continual.ours import Ours
from benchmarks.continual.stream import LabelledSet, Stream, Unusable, read, stream
from benchmarks.continual.ways import Paper, Way, members
from training.curriculum import Curriculum
from training.losses import LOSSES
from training.params import FineTuneParams

WAYS = ("paper", "ours")
ALONE = "ours_members"
_NUMBERS = [
    one
    for one in (*fields(FineTuneParams), *fields(Curriculum))
    if isinstance(one.default, int | float) and one.name not in ("seed", "agreed", "agreed_weight")
]
PARTS = ", ".join(["loss=" + "|".join(LOSSES), *(f"{one.name}=NUMBER" for one in _NUMBERS)])
Accuracies = Mapping[str, float]  # by set


def main(arguments: Sequence[str] | None = None) -> int:
    """Run both ways over the same streams and print; 2 when the files cannot serve."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=Path, required=True, metavar="FILE", help="CSV of the first stages")
    add("--then", type=Path, required=True, nargs="+", metavar="FILE", help="CSVs that follow")
    add("--noise", type=float, default=0.0, help="share of verdicts that get another label (0..1)")
    add("--begin", type=int, default=300, help="texts of the first set that members learn before")
    add("--seeds", type=int, default=3, help="streams and classifiers to average over")
    add("--seed", type=int, default=0, help="the first of them")
    add("--stages", type=int, default=3, help="of each set")
    add("--verdicts", type=int, default=150, help="of each stage")
    add("--tests", type=int, default=400, help="test texts of each set, at most")
    add("--members", type=int, default=3, help="of the committee")
    add("--ways", nargs="+", choices=WAYS, default=WAYS, help="which to run")
    add("--with", dest="parts", type=part, nargs="+", default=[], metavar="PART=VALUE", help=PARTS)
    options = parser.parse_args(arguments)
    runs: defaultdict[str, list[list[Accuracies]]] = defaultdict(list)
    try:
        sets = [read(file, options.tests) for file in (options.data, *options.then)]
        for seed in range(options.seed, options.seed + options.seeds):
            drawn = stream(
                sets, options.begin, options.stages, options.verdicts, options.noise, seed
            )
            for name, curve in run(drawn, seed, options).items():
                runs[name].append(curve)
    except Unusable as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps({**summary(runs, sets, options.stages), "noise": options.noise}))
    return 0


def part(text: str) -> tuple[str, Any]:
    """A part of the stage and what is put in its place."""
    name, _, value = text.partition("=")
    if name == "loss" and value in LOSSES:
        return name, value
    numbers = {one.name: type(one.default) for one in _NUMBERS}
    try:
        return name, numbers[name](value)
    except (KeyError, ValueError):
        raise argparse.ArgumentTypeError(f"{text!r}; write one of: {PARTS}") from None


def _chosen(cls: type, parts: Mapping[str, Any]) -> dict[str, Any]:
    return {one.name: parts[one.name] for one in fields(cls) if one.name in parts}


def run(drawn: Stream, seed: int, options: argparse.Namespace) -> dict[str, list[Accuracies]]:
    """The accuracy on every set after each stage, by who answers."""
    parts = dict(options.parts)
    params = FineTuneParams(seed=seed, **_chosen(FineTuneParams, parts))
    curriculum = Curriculum(**_chosen(Curriculum, parts))
    curves: defaultdict[str, list[Accuracies]] = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="aa-continual-") as aside:
        refs = members(Path(aside), drawn, options.members, seed)
        for name in options.ways:
            root = Path(aside) / name
            way: Way = (
                Paper(refs, drawn.labels, root, seed)
                if name == "paper"
                else Ours(refs, drawn.labels, root, params, curriculum)
            )
            asked = {name: way.answers, **({ALONE: way.alone} if isinstance(way, Ours) else {})}
            for who, answers in asked.items():
                print(f"seed {seed}  {who:<12}  {_told(accuracies(answers, drawn.sets))}  at first")
            for number, (of, verdicts) in enumerate(drawn.stages, start=1):
                became = way.learn(verdicts)
                for who, answers in asked.items():
                    found = accuracies(answers, drawn.sets)
                    curves[who].append(found)
                    told = f"seed {seed}  {who:<12}  {_told(found)}  stage {number} of {of}"
                    print(f"{told}: {became}" if who == name else told, flush=True)
    return curves


def _told(found: Accuracies) -> str:
    return "  ".join(f"{value:.3f}" for value in found.values())


def accuracies(
    answers: Callable[[Sequence[str]], list[str]], sets: Sequence[LabelledSet]
) -> Accuracies:
    """The share of each set's test texts that are answered right."""
    found = {}
    for one in sets:
        said = answers([row.text for row in one.test])
        found[one.name] = fmean(a == row.label for a, row in zip(said, one.test, strict=True))
    return found


def summary(
    runs: Mapping[str, Sequence[Sequence[Accuracies]]], sets: Sequence[LabelledSet], stages: int
) -> dict[str, object]:
    """Means over seeds, with the spread (standard deviation) of each."""
    first, last = sets[0].name, sets[-1].name
    found: dict[str, object] = {}
    for name, curves in runs.items():
        values = {
            f"{name}_final_first": [curve[-1][first] for curve in curves],
            f"{name}_final_second": [curve[-1][last] for curve in curves],
            f"{name}_forgetting_points": [
                100 * (curve[stages - 1][first] - curve[-1][first]) for curve in curves
            ],
        }
        for key, each in values.items():
            found[key] = round(fmean(each), 4)
            found[f"{key}_sd"] = round(stdev(each), 4) if len(each) > 1 else None
    return found


if __name__ == "__main__":
    sys.exit(main())
