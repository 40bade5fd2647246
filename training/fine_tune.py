"""Fine-tune one specialist on examples and write it where it can be loaded from.

One way for all methods: LoRA (small adapters, the default), full fine-tuning, and full but for the
word embeddings. The loss is taken over the project labels that the member knows, through the same
projection that turns its outputs into votes. Matrix products run in bf16 where the hardware has it,
weights and sums stay fp32. It knows no pool, gate or version; it writes a folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from specialists import head
from specialists.encoder import Encoder, open_tokenizer
from specialists.loading import Parts, find_parts, projection
from specialists.projection import Projection
from specialists.types import LabelSet, SpecialistRef
from training.loop import Lesson, Progress, Pupil, learn
from training.params import FineTuneParams
from training.weights import open_trainable, write

_MAX_TRAIN_TOKENS = 256  # attention memory grows with the square; votes read more


@dataclass(frozen=True)
class Example:
    """A text with the labels it should get; `weight` scales its loss."""

    text: str = field(repr=False)
    labels: tuple[str, ...]
    weight: float = 1.0


def _silent(fraction: float, loss: float) -> None:
    """Report progress to nobody."""


def fine_tune(
    ref: SpecialistRef,
    labels: LabelSet,
    folder: Path | None,
    examples: Sequence[Example],
    out: Path,
    params: FineTuneParams,
    progress: Progress = _silent,
    tuning: Sequence[Example] = (),
    converted: Path | None = None,
) -> None:
    """Continue from checkpoint `folder`, or from the published model, and write into `out`.

    Examples without a label that the member knows are skipped; if none is left the weights are
    written as they are. `progress` gets (fraction done, loss) after each step; what it raises ends
    the training. Same seed, same bits on a CPU. Raises SpecialistUnavailable.
    """
    parts = find_parts(ref.source, folder, converted)
    train(parts, ref, labels, examples, out, params, progress, tuning)


def train(
    parts: Parts,
    ref: SpecialistRef,
    labels: LabelSet,
    examples: Sequence[Example],
    out: Path,
    params: FineTuneParams,
    progress: Progress = _silent,
    tuning: Sequence[Example] = (),
) -> None:
    """Fine-tune a specialist given by its parts; otherwise as `fine_tune`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(params.seed)
        model = open_trainable(parts, params.method).to(params.device)
        added = _grow(model, ref, labels)
        tokenizer = open_tokenizer(parts.base)
        encoder = Encoder(tokenizer, model.config)
        project = projection(model.config, ref, labels)
        lessons = _lessons(examples, encoder, project, labels)
        if lessons:
            asked = _lessons(tuning, encoder, project, labels)
            learn(Pupil(model, encoder, project), lessons, asked, params, progress)
    write(
        model,
        tokenizer,
        parts,
        out,
        {
            "source": ref.source,
            "added": [*parts.added, *added],
            "method": params.method,
            "examples": len(lessons),
            "epochs": params.epochs,
            "learning_rate": params.rate,
            "batch_size": params.batch_size,
            "seed": params.seed,
        },
    )


def _grow(model: Any, ref: SpecialistRef, labels: LabelSet) -> list[str]:
    """Give the model the outputs that its map has and it lacks; returns them."""
    own = head.own_labels(model.config)
    missing = [o for o, name in ref.label_map.items() if o not in own and name in labels.names]
    return missing if missing and head.grow(model, missing) else []


def _lessons(
    examples: Sequence[Example], encoder: Encoder, project: Projection, labels: LabelSet
) -> list[Lesson]:
    known = [labels.names[column] for column in project.known]
    usable = [example for example in examples if set(example.labels) & set(known)]
    read = encoder.encode([example.text for example in usable])
    return [
        Lesson(
            # The first window only: the label of a long text is not that of each part, and texts
            # classify as well by their beginning as by parts of all (Sun et al., "How to Fine-Tune
            # BERT for Text Classification?", CCL 2019).
            text.ids[0][:_MAX_TRAIN_TOKENS],
            [float(name in example.labels) for name in known],
            example.weight,
        )
        for text, example in zip(read, usable, strict=True)
    ]
