"""Train the embedded specialists, measure them, and write their adapters and cards.

    python -m training.embedded --data DIR [--only NAME] [--out DIR]

It uses the one training loop there is (`training.fine_tune`) over the embedded base weights. Each
number in a card is measured by the run that wrote the card.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np

from specialists import weights
from specialists.encoder import Encoder
from specialists.loading import ADAPTERS, Parts, open_model, projection
from specialists.registry import EMBEDDED, EMBEDDED_PREFIX, embedded_labels, embedded_names
from specialists.runtime_torch import TorchRuntime
from specialists.transformer import Specialist, Transformer
from specialists.types import Label, LabelSet, SpecialistRef
from training.fine_tune import Example, train
from training.params import FineTuneParams
from training.sources import Row, Source, of, sample, without

SEED = 13
_MOST_TEXTS = 4_000


@dataclass(frozen=True)
class Score:
    """How one specialist does on one test split, over the rows whose label it knows."""

    source: str
    texts: int
    accuracy: float
    mean_recall: float
    majority: float  # accuracy of always saying the commonest label


def main(arguments: Sequence[str] | None = None) -> int:
    """Train one or all of the embedded specialists."""
    parser = argparse.ArgumentParser(description="Train the embedded specialists.")
    parser.add_argument("--data", type=Path, required=True, help="folder of the CSV files")
    parser.add_argument("--only", choices=embedded_names(), help="train this one only")
    parser.add_argument("--out", type=Path, default=ADAPTERS, help="where the adapters go")
    options = parser.parse_args(arguments)
    for name in [options.only] if options.only else embedded_names():
        produce(of(name), options.data, options.out / name)
    return 0


def produce(source: Source, data: Path, out: Path) -> None:
    """Train one specialist and write its adapter and its card into `out`."""
    own = embedded_labels(source.specialist)
    labels = LabelSet(tuple(Label(name) for name in own))
    ref = SpecialistRef(
        source.specialist, EMBEDDED_PREFIX + source.specialist, {name: name for name in own}
    )
    family = _family(source.specialist)
    held_out = [row for other in family for row in other.rows(data, "test")]
    rows = training_rows(source, data, held_out)
    params = FineTuneParams("lora", source.epochs, source.learning_rate, seed=SEED)
    base = weights.minilm()
    started = time.monotonic()
    train(
        Parts(base, labels=own),
        ref,
        labels,
        _examples(rows, source.balanced),
        out,
        params,
        _teller(source.specialist),
    )
    trained_s = time.monotonic() - started
    model, tokenizer = open_model(Parts(base, out, own))
    specialist = Transformer(
        TorchRuntime(model, "fp32", "cpu"),
        Encoder(tokenizer, model.config),
        projection(model.config, ref, labels),
    )
    scores = [measure(specialist, own, other, data) for other in family]
    (out / "CARD.md").write_text(_card(source, rows, scores, params, trained_s), encoding="utf-8")


def measure(specialist: Specialist, own: Sequence[str], source: Source, data: Path) -> Score:
    """Score a specialist on the test split of one source."""
    rows = [row for row in source.rows(data, "test") if row.label in own]
    truth = np.array([own.index(row.label) for row in rows])
    answers = specialist.observe([row.text for row in rows]).votes[:, 0].argmax(axis=1)
    right = answers == truth
    recalls = [right[truth == label].mean() for label in np.unique(truth)]
    majority = np.bincount(truth).max() / len(rows)
    return Score(
        source.title, len(rows), float(right.mean()), float(np.mean(recalls)), float(majority)
    )


def _family(name: str) -> list[Source]:
    """The sources of the specialist's committee, its own first."""
    family = next(names for names in EMBEDDED.values() if name in names)
    return sorted((of(member) for member in family), key=lambda source: source.specialist != name)


def training_rows(source: Source, data: Path, held_out: Sequence[Row]) -> list[Row]:
    """The texts that one specialist learns from, none of them held out, none of them twice."""
    rows = sample(without(source.rows(data, "train"), held_out), _MOST_TEXTS, SEED)
    for name, most in source.mixed_in:
        more = without(of(name).rows(data, "train"), [*held_out, *rows])
        rows += sample(more, most, SEED)
    return rows


def _examples(rows: Sequence[Row], balanced: bool) -> list[Example]:
    counts = Counter(row.label for row in rows)
    fair = len(rows) / len(counts)
    return [
        Example(row.text, (row.label,), fair / counts[row.label] if balanced else 1.0)
        for row in rows
    ]


def _teller(name: str) -> Callable[[float, float], None]:
    """Print progress at every tenth of the way."""
    told = -1

    def tell(fraction: float, loss: float) -> None:
        nonlocal told
        if int(fraction * 10) > told:
            told = int(fraction * 10)
            print(f"{name}: {fraction:.0%}, loss {loss:.3f}", flush=True)

    return tell


def _credits(source: Source) -> str:
    """Attribution and licence of everything that the specialist learned from."""
    lines = [f"{source.title}: {source.attribution}.\nLicence: {source.licence}."]
    for name, most in source.mixed_in:
        other = of(name)
        lines.append(
            f"Mixed in, {most} texts of {other.title}: {other.attribution}.\n"
            f"Licence: {other.licence}."
        )
    return "\n".join(lines)


def _domain(source: Source, score: Score) -> str:
    """How far a test split is from what the specialist learned from."""
    if score.source == source.title:
        return "in domain"
    mixed_in = {of(name).title for name, _ in source.mixed_in}
    return "mixed in" if score.source in mixed_in else "out of domain"


def _card(
    source: Source,
    rows: Sequence[Row],
    scores: Sequence[Score],
    params: FineTuneParams,
    trained_s: float,
) -> str:
    counts = ", ".join(
        f"{n} {label}" for label, n in sorted(Counter(r.label for r in rows).items())
    )
    table = "\n".join(
        f"| {score.source} | {_domain(source, score)} | {score.texts} "
        f"| {score.accuracy:.3f} | {score.mean_recall:.3f} | {score.majority:.3f} |"
        for score in scores
    )
    return f"""# {source.specialist}

A LoRA adapter over sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0), English.
Labels: {", ".join(embedded_labels(source.specialist))}.

## Data
{_credits(source)}
Changes: {len(rows)} training texts ({counts});
texts that stand in a test split below, and duplicates, were dropped by normalised text.
{"Classes were weighted to the same total." if source.balanced else "Classes were not weighted."}

## Accuracy
Measured on {date.today().isoformat()}, on the test splits, over the rows whose label it knows.

| test split of | | texts | accuracy | mean recall | always the commonest label |
|---|---|---|---|---|---|
{table}

## How it was made
`python -m training.embedded --data DIR --only {source.specialist}`
{params.epochs} epochs, learning rate {params.rate:g}, batches of {params.batch_size}, \
seed {params.seed}; {trained_s:.0f} s on this run's processor. The same command gives the same \
weights on the same CPU, thread count and versions.
"""


if __name__ == "__main__":
    sys.exit(main())
