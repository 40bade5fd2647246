"""How fast a stage trains, and how well, against the paper's fine-tuning script.

    python -m benchmarks.training [--csv FILE | --data DIR] [--runs 3] [--device cpu]

One stage of 200 verdicts for each member of a shipped committee, from the published weights to the
written checkpoint. The reference is transformers' Trainer with the recipe of arXiv 2506.16393:
texts padded to 128 tokens, batches of 16, 3 epochs, 2e-5, every weight. Each run draws its own
verdicts, trains both ways, and asks both committees about the same held-out texts, which is not
timed; no text is one that a shipped member has learned. Ends with one JSON line, of medians.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, median
from typing import Any

import torch
from transformers import Trainer, TrainingArguments

from benchmarks.texts import Sample, Unusable, add_options, chosen
from specialists.chances import first_probabilities
from specialists.committee import Committee
from specialists.loading import find_parts, open_model
from specialists.registry import EMBEDDED_PREFIX, default_members
from specialists.types import Label, LabelSet, SpecialistRef
from training.fine_tune import Example, fine_tune
from training.params import FineTuneParams
from training.sources import normalised, of

VERDICTS, HELD_OUT = 200, 1_000
PADDED_TOKENS, BATCH_SIZE, EPOCHS, RATE = 128, 16, 3, 2e-5  # of the paper's script
SEED = 13


@dataclass(frozen=True)
class Job:
    """What is trained: a committee's members on some texts, with a seed, on a device."""

    refs: Sequence[SpecialistRef]
    labels: LabelSet
    verdicts: Sequence[Sample]
    seed: int
    device: str


Train = Callable[[SpecialistRef, Job, Path], None]


@dataclass(frozen=True)
class Run:
    """Seconds and held-out accuracy of one way to train the committee."""

    seconds: float
    accuracy: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Train both ways in turn and print; 2 when the texts cannot serve."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_options(parser)
    parser.add_argument("--runs", type=int, default=3, help="each with its own verdicts")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    options = parser.parse_args(arguments)
    try:
        texts = chosen(options)
        samples, folder = texts.samples, options.csv.parent if options.csv else options.data
        labels = LabelSet(tuple(Label(name) for name in sorted({one.label for one in samples})))
        refs = committee(labels)
        known = {normalised(text) for ref in refs for text in learned(ref, folder)}
        fresh = [one for one in samples if normalised(one.text) not in known]
        report = compare(refs, labels, fresh, options.runs, options.device)
    except Unusable as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps({"data": texts.name, **report}))
    return 0


def committee(labels: LabelSet) -> list[SpecialistRef]:
    """The shipped members for these labels; raises Unusable when they do not know them all."""
    refs = default_members(labels)
    unknown = set(labels.names) - {name for ref in refs for name in ref.label_map.values()}
    if unknown:
        raise Unusable(
            f"No shipped specialist knows the label {min(unknown)!r}; use a CSV labelled "
            "negative, neutral, positive or toxic, non-toxic."
        )
    return refs


def learned(ref: SpecialistRef, folder: Path | None) -> list[str]:
    """What a shipped member was trained on, where that file lies in the folder."""
    source = of(ref.source.removeprefix(EMBEDDED_PREFIX))
    if folder is None or not (folder / f"{source.file}.csv").is_file():
        return []
    return [row.text for row in source.rows(folder, "train")]


def compare(
    refs: Sequence[SpecialistRef],
    labels: LabelSet,
    samples: Sequence[Sample],
    runs: int,
    device: str,
) -> dict[str, Any]:
    """Train both ways `runs` times; half of a small set is held out."""
    count = min(VERDICTS, len(samples) // 2)
    shuffled = random.Random(SEED).sample(samples, len(samples))
    held_out = shuffled[: min(HELD_OUT, len(samples) - count)]
    rest = shuffled[len(held_out) :]
    before = accuracy(refs, labels, {}, held_out)
    found: dict[str, list[Run]] = {"reference": [], "ours": []}
    for number in range(runs):
        verdicts = random.Random(number).sample(rest, count)
        job = Job(refs, labels, verdicts, number, device)
        ways: list[tuple[str, Train]] = [("reference", by_trainer), ("ours", by_us)]
        # They take turns to be first: neither always runs on a machine that the other warmed.
        for name, train in ways if number % 2 == 0 else reversed(ways):
            run = measure(train, job, held_out)
            found[name].append(run)
            print(f"run {number}  {name:<9} {run.seconds:8.2f} s  accuracy {run.accuracy:.4f}")
    pairs = list(zip(found["reference"], found["ours"], strict=True))
    figures: dict[str, Any] = {
        "verdicts": count,
        "held_out": len(held_out),
        "members": len(refs),
        "runs": runs,
        "device": device,
        "threads": torch.get_num_threads(),
        "ratio": round(median(theirs.seconds / ours.seconds for theirs, ours in pairs), 2),
        "before_accuracy": round(before, 4),
    }
    for name, each in found.items():
        figures[f"{name}_s"] = round(median(run.seconds for run in each), 3)
        figures[f"{name}_accuracy"] = round(median(run.accuracy for run in each), 4)
    return figures


def measure(train: Train, job: Job, held_out: Sequence[Sample]) -> Run:
    """Train every member one way, then ask the committee; only the training is timed."""
    with tempfile.TemporaryDirectory(prefix="aa-training-") as aside:
        folders = {ref.name: Path(aside) / ref.name for ref in job.refs}
        started = time.perf_counter()
        for ref in job.refs:
            train(ref, job, folders[ref.name])
        seconds = time.perf_counter() - started
        return Run(seconds, accuracy(job.refs, job.labels, folders, held_out))


def by_us(ref: SpecialistRef, job: Job, out: Path) -> None:
    """What a stage does for a member."""
    examples = [Example(one.text, (one.label,)) for one in job.verdicts]
    params = FineTuneParams(seed=job.seed, device=job.device)
    fine_tune(ref, job.labels, None, examples, out, params)


def by_trainer(ref: SpecialistRef, job: Job, out: Path) -> None:
    """What the paper's script does for a member, from the same weights and the same texts."""
    model, tokenizer = open_model(find_parts(ref.source, None), job.device)
    own = {ref.label_map.get(name): i for i, name in model.config.id2label.items()}
    usable = [one for one in job.verdicts if one.label in own]
    padded = tokenizer(
        [one.text for one in usable],
        padding="max_length",
        truncation=True,
        max_length=PADDED_TOKENS,
    )
    rows = [
        {**{key: column[i] for key, column in padded.items()}, "labels": own[one.label]}
        for i, one in enumerate(usable)
    ]
    Trainer(model=model, args=recipe(out, job.seed, job.device), train_dataset=rows).train()
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


def recipe(out: Path, seed: int, device: str) -> TrainingArguments:
    """What the paper's script trains with."""
    return TrainingArguments(
        output_dir=str(out),
        num_train_epochs=EPOCHS,
        per_device_train_batch_size=BATCH_SIZE,
        learning_rate=RATE,
        seed=seed,
        use_cpu=device == "cpu",
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )


def accuracy(
    refs: Sequence[SpecialistRef],
    labels: LabelSet,
    folders: Mapping[str, Path],
    held_out: Sequence[Sample],
) -> float:
    """Share of the held-out texts that the committee's mean vote gets right."""
    tuned = [replace(ref, checkpoint=ref.name if folders else None) for ref in refs]
    loaded = Committee.load(tuned, labels, folders)
    if loaded.problems:
        raise Unusable(" ".join(loaded.problems))
    votes = first_probabilities(loaded.observe([one.text for one in held_out]))
    answers = [labels.names[column] for column in votes.argmax(axis=1)]
    return fmean(answer == one.label for answer, one in zip(answers, held_out, strict=True))


if __name__ == "__main__":
    sys.exit(main())
