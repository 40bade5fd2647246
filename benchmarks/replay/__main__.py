"""Replay recorded LLM answers through the product and compare ways to spend LLM calls.

    python -m benchmarks.replay --csv FILE --llm COLUMN --members sentiment [--human 100]

Texts arrive in a seeded order; the LLM is the CSV's column, served with OpenAI's wire format and
asked by the product's client. Prints the curve, draws it, and ends with one JSON line. The paper's
fine-tuning runs in 6 chunks of 2 epochs under one order only: it is slow on a CPU.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.replay.baselines import Labelled, by_paper, by_paper_finetuned
from benchmarks.replay.compare import PAPER_SHARE, Comparison, Report, compare
from benchmarks.replay.data import ReplayError, evaluated, read_rows
from benchmarks.replay.members import DEFAULT_TRAIN_LABELS, assemble
from benchmarks.replay.recorded_llm import ask_all
from benchmarks.replay.stream import Case

SHARES = (0.05, 0.1, 0.2, PAPER_SHARE, 0.4, 0.6)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one replay; 2 when the options do not fit the file."""
    options = parse(arguments)
    try:
        report = replay(options)
    except ReplayError as error:
        print(error, file=sys.stderr)
        return 2
    plot = options.plot or Path(".data") / f"replay-{options.csv.stem}.svg"
    plot.parent.mkdir(parents=True, exist_ok=True)
    title = f"{options.csv.stem}, {options.llm}, {options.members}"
    plot.write_text(report.picture(title).svg(), encoding="utf-8")
    print(report.table())
    print(f"plot: {plot}")
    print(json.dumps(report.to_json()))
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.replay", description=__doc__)
    add = parser.add_argument
    add("--csv", type=Path, required=True, help="rows of id,text,label,split and LLM columns")
    add("--llm", required=True, metavar="COLUMN", help="the recorded LLM")
    add("--members", required=True, help="sentiment, toxicity, cold, trained, or PATH,PATH,...")
    add("--train-labels", type=_count, default=DEFAULT_TRAIN_LABELS, help="for --members trained")
    add("--where", action="append", default=[], metavar="COLUMN=VALUE", help="keep these rows")
    add("--drop", action="append", default=[], metavar="COLUMN=VALUE", help="leave these rows out")
    add("--split", default="", help="evaluate this split only (default: every one)")
    add("--limit", type=_count, help="evaluate a seeded sample of so many rows")
    add("--human", type=int, default=0, help="rows that people label; never scored")
    add("--shares", type=_shares, default=SHARES, help="LLM calls a text, comma-separated")
    add("--seeds", type=_count, default=3, help="orders of arrival")
    add("--no-finetune", action="store_true", help="leave the paper's fine-tuning out")
    add("--plot", type=Path, help="where the SVG goes (default .data/replay-<csv>.svg)")
    return parser.parse_args(arguments)


def replay(options: argparse.Namespace) -> Report:
    """Assemble the members, ask the LLM once about each row, and run every method."""
    rows = read_rows(options.csv, options.where, options.drop)
    data = evaluated(rows, options.llm, options.split)
    team, data = assemble(
        options.members, data, rows, options.csv.parent, options.train_labels, options.limit
    )
    for note in data.notes:
        print(note)
    if not 0 <= options.human < len(data):
        raise ReplayError(f"--human {options.human}: {len(data)} rows leave 0 to {len(data) - 1}.")
    answers = ask_all(data, options.llm)
    evidence = team.committee.observe(data.texts)
    case = Case(evidence, answers.labels, data.gold, team.learned, taught=team.size > 0)
    paper: Labelled | None = None
    finetuned: Labelled | None = None
    if team.size:
        paper = by_paper(team, evidence, answers.labels)
        if not options.no_finetune:
            finetuned = by_paper_finetuned(team, data, evidence, answers.labels, seed=0)
    comparison = Comparison(case, answers, options.human, options.seeds)
    return compare(comparison, case, answers, options.shares, paper, finetuned)


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return number


def _shares(text: str) -> tuple[float, ...]:
    shares = tuple(float(part) for part in text.split(","))
    if not all(0 <= share <= 1 for share in shares):
        raise argparse.ArgumentTypeError(f"{text}: each share lies between 0 and 1")
    return shares


if __name__ == "__main__":
    sys.exit(main())
