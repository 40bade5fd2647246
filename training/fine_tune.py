"""Fine-tune one specialist on examples and write it where it can be loaded from.

One loop for all methods: LoRA (small adapters, the default), full fine-tuning, and full but for the
word embeddings. The loss is
taken over the project labels that the member knows, through the same projection that turns its
outputs into votes. Matrix products run in bf16 where the hardware has it, weights and sums stay
fp32. It knows no pool, gate or version; it writes a folder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from specialists.encoder import Encoder, open_tokenizer
from specialists.loading import Parts, find_parts, projection
from specialists.projection import Projection
from specialists.runtime import has_arithmetic
from specialists.types import LabelSet, SpecialistRef
from training.weights import open_trainable, write

Progress = Callable[[float, float], None]
Method = Literal["lora", "full", "frozen"]

# Rates that fit AdamW with warm-up: an adapter's fresh weights bear a larger one.
_LEARNING_RATES = {"lora": 5e-4, "full": 2e-5, "frozen": 2e-5}
_WARMUP = 0.1  # share of the steps
_MAX_NORM = 1.0  # of the gradient
_WEIGHT_DECAY = 0.01
_MAX_TRAIN_TOKENS = 256  # attention memory grows with the square; votes read the full length
_SORTED_BATCHES = 16  # so many batches at once are sorted by length: less padding, still shuffled


@dataclass(frozen=True)
class Example:
    """A text with the labels it should get; `weight` scales its loss."""

    text: str = field(repr=False)
    labels: tuple[str, ...]
    weight: float = 1.0


@dataclass(frozen=True)
class FineTuneParams:
    """How to fine-tune; without a `learning_rate` the method's own is taken."""

    method: Method = "lora"
    epochs: int = 3
    learning_rate: float | None = None
    batch_size: int = 16
    seed: int = 0
    device: str = "cpu"

    @property
    def rate(self) -> float:
        """The peak learning rate."""
        return self.learning_rate or _LEARNING_RATES[self.method]


@dataclass(frozen=True)
class _Lesson:
    """An example as the model sees it: token ids, a target per known label, a weight."""

    ids: list[int]
    target: list[float]
    weight: float


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
    converted: Path | None = None,
) -> None:
    """Continue from checkpoint `folder`, or from the published model, and write into `out`.

    Examples without a label that the member knows are skipped; if none is left the weights are
    written as they are. `progress` gets (fraction done, loss) after each step; what it raises ends
    the training. Same seed, same bits on a CPU. Raises SpecialistUnavailable.
    """
    parts = find_parts(ref.source, folder, converted)
    train(parts, ref, labels, examples, out, params, progress)


def train(
    parts: Parts,
    ref: SpecialistRef,
    labels: LabelSet,
    examples: Sequence[Example],
    out: Path,
    params: FineTuneParams,
    progress: Progress = _silent,
) -> None:
    """Fine-tune a specialist given by its parts; otherwise as `fine_tune`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(params.seed)
        model = open_trainable(parts, params.method).to(params.device)
        tokenizer = open_tokenizer(parts.base)
        encoder = Encoder(tokenizer, model.config)
        project = projection(model.config, ref, labels)
        lessons = _lessons(examples, encoder, project, labels)
        if lessons:
            _run(model, encoder, project, lessons, params, progress)
    write(
        model,
        tokenizer,
        parts,
        out,
        {
            "source": ref.source,
            "method": params.method,
            "examples": len(lessons),
            "epochs": params.epochs,
            "learning_rate": params.rate,
            "batch_size": params.batch_size,
            "seed": params.seed,
        },
    )


def _lessons(
    examples: Sequence[Example], encoder: Encoder, project: Projection, labels: LabelSet
) -> list[_Lesson]:
    known = [labels.names[column] for column in project.known]
    usable = [example for example in examples if set(example.labels) & set(known)]
    ids = encoder.encode([example.text for example in usable])
    return [
        _Lesson(
            row[:_MAX_TRAIN_TOKENS],
            [float(name in example.labels) for name in known],
            example.weight,
        )
        for row, example in zip(ids, usable, strict=True)
    ]


def _run(
    model: Any,
    encoder: Encoder,
    project: Projection,
    lessons: Sequence[_Lesson],
    params: FineTuneParams,
    progress: Progress,
) -> None:
    """Train in place: AdamW, linear warm-up and decay, clipped gradients."""
    trainable = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=params.rate, weight_decay=_WEIGHT_DECAY, fused=True)
    steps = list(_steps(lessons, params))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, _slope(len(steps)))
    fast = torch.autocast(model.device.type, torch.bfloat16, enabled=_has_bf16(model.device))
    model.train()
    for step, batch in enumerate(steps, start=1):
        ids, mask = (
            torch.from_numpy(array).to(params.device)
            for array in encoder.collate([lesson.ids for lesson in batch])
        )
        with fast:
            logits = model(input_ids=ids, attention_mask=mask).logits
        loss = _loss(project, logits.float(), batch)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(trainable, _MAX_NORM)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        progress(step / len(steps), loss.item())
    model.eval()


def _has_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bf16 by instructions of its own; emulated it is slower."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and has_arithmetic("bf16")


def _steps(lessons: Sequence[_Lesson], params: FineTuneParams) -> Iterator[list[_Lesson]]:
    """Batches of all epochs: shuffled, with texts of like length together."""
    generator = torch.Generator().manual_seed(params.seed)
    window = params.batch_size * _SORTED_BATCHES
    for _ in range(params.epochs):
        order = torch.randperm(len(lessons), generator=generator).tolist()
        batches: list[list[_Lesson]] = []
        for start in range(0, len(order), window):
            near = sorted((lessons[i] for i in order[start : start + window]), key=_length)
            batches += [
                near[i : i + params.batch_size] for i in range(0, len(near), params.batch_size)
            ]
        yield from (batches[i] for i in torch.randperm(len(batches), generator=generator).tolist())


def _length(lesson: _Lesson) -> int:
    return len(lesson.ids)


def _slope(steps: int) -> Callable[[int], float]:
    """The learning rate's factor by step: up over the warm-up, then down to zero."""
    warmup = max(1, round(steps * _WARMUP))
    return lambda step: min((step + 1) / warmup, (steps - step) / max(1, steps - warmup))


def _loss(project: Projection, logits: Tensor, batch: Sequence[_Lesson]) -> Tensor:
    """Weighted mean over a batch, from own logits (B, own)."""
    scores = project.logits(logits)  # (B, known)
    target = torch.tensor([lesson.target for lesson in batch], device=scores.device)
    weight = torch.tensor([lesson.weight for lesson in batch], device=scores.device)
    if project.sigmoid:
        per_text = functional.binary_cross_entropy_with_logits(
            scores, target, reduction="none"
        ).mean(dim=1)
    else:
        share = target / target.sum(dim=1, keepdim=True)
        per_text = functional.cross_entropy(scores, share, reduction="none")
    return (per_text * weight).sum() / weight.sum()
