"""The loop in which a member learns: batches, optimizer, schedule, and when it is enough.

It knows a model by its weights and what it answers; where either comes from, and where the weights
go, is the matter of `fine_tune.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from specialists.encoder import Encoder
from specialists.projection import Projection
from specialists.runtime import has_arithmetic
from training.averaging import Choice
from training.losses import LOSSES, binary
from training.params import FineTuneParams

Progress = Callable[[float, float], None]

LEAST_TUNING = 20
"""Of fewer texts it is chance which epoch answers them best: all epochs are trained."""

_WARMUP = 0.1  # share of the steps
_MAX_NORM = 1.0  # of the gradient
_WEIGHT_DECAY = 0.01
_SORTED_BATCHES = 16  # so many batches at once are sorted by length: less padding, still shuffled
_HELD_OUT_BATCH = 64
_SHARPNESS = (0.1, 0.2, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0)  # inverse temperatures to choose from


@dataclass(frozen=True)
class Lesson:
    """An example as the model sees it: token ids, a target per known label, a weight."""

    ids: list[int] = field(repr=False)
    target: list[float]
    weight: float

    def __len__(self) -> int:
        """Its tokens."""
        return len(self.ids)


@dataclass(frozen=True)
class Pupil:
    """A model with gradients, how it reads texts, and what its outputs mean."""

    model: Any
    encoder: Encoder
    project: Projection

    @property
    def weights(self) -> list[Tensor]:
        """What is trained."""
        return [weight for weight in self.model.parameters() if weight.requires_grad]

    def answer(self, batch: Sequence[Lesson]) -> Tensor:
        """Scores (B, known labels)."""
        device = self.model.device
        ids, mask = (
            torch.from_numpy(array).to(device)
            for array in self.encoder.pad([lesson.ids for lesson in batch])
        )
        with torch.autocast(device.type, torch.bfloat16, enabled=_has_bf16(device)):
            logits = self.model(input_ids=ids, attention_mask=mask).logits
        return self.project.logits(logits.float())

    def losses(self, scores: Tensor, batch: Sequence[Lesson], name: str) -> Tensor:
        """Weighted mean loss of scores (B, known labels)."""
        target = torch.tensor([lesson.target for lesson in batch], device=scores.device)
        weight = torch.tensor([lesson.weight for lesson in batch], device=scores.device)
        if self.project.sigmoid:
            each = binary(scores, target)
        else:
            each = LOSSES[name](scores, target / target.sum(dim=1, keepdim=True))
        return (each * weight).sum() / weight.sum()


def learn(
    pupil: Pupil,
    lessons: Sequence[Lesson],
    tuning: Sequence[Lesson],
    params: FineTuneParams,
    progress: Progress,
) -> None:
    """Train in place: AdamW, linear warm-up and decay, clipped gradients.

    With LEAST_TUNING lessons to choose by it stops when they gain nothing any more, and the weights
    end between those of before and the best, where these lessons are answered best.
    """
    weights = pupil.weights
    start = [weight.detach().clone() for weight in weights]
    optimizer = torch.optim.AdamW(weights, lr=params.rate, weight_decay=_WEIGHT_DECAY, fused=True)
    epochs = list(_epochs(lessons, params))
    steps, step = sum(map(len, epochs)), 0
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, _slope(steps))
    at_once = params.at_once or _HELD_OUT_BATCH
    choice = None
    if len(tuning) >= LEAST_TUNING:
        choice = Choice(weights, start, lambda: refinement(pupil, tuning, at_once))
    for epoch in epochs:
        pupil.model.train()
        for batch in epoch:
            loss = 0.0
            for part, share in _parts(batch, params.at_once):
                part_loss = share * pupil.losses(pupil.answer(part), part, params.loss)
                torch.autograd.backward(part_loss)
                loss += part_loss.item()
            torch.nn.utils.clip_grad_norm_(weights, _MAX_NORM)
            optimizer.step()
            if params.anchor:
                _pull(weights, start, params.anchor * float(schedule.get_last_lr()[0]))
            schedule.step()
            optimizer.zero_grad()
            step += 1
            progress(step / steps, loss)
        pupil.model.eval()
        if choice and choice.epochs_for_nothing() >= params.patience:
            break
    if choice:
        choice.settle(params.mixing)
    if step < steps:
        progress(1.0, loss)


def refinement(pupil: Pupil, tuning: Sequence[Lesson], at_once: int) -> float:
    """The log-loss on lessons not learned that is left when the best temperature is chosen.

    How sure a member may be of its answers is learned later, by the rule; what counts here is what
    it tells apart (Berta et al., "Rethinking Early Stopping: Refine, Then Calibrate", 2025).
    """
    near = sorted(tuning, key=len)
    batches = [near[i : i + at_once] for i in range(0, len(near), at_once)]
    with torch.inference_mode():
        scores = torch.cat([pupil.answer(batch) for batch in batches])
        return min(
            float(pupil.losses(scores * factor, near, "cross-entropy")) for factor in _SHARPNESS
        )


def _pull(weights: Sequence[Tensor], start: Sequence[Tensor], share: float) -> None:
    """Draw the weights back to where they started.

    L2-SP (Li, Grandvalet and Davoine, ICML 2018), decoupled from the gradient as AdamW's decay is.
    """
    with torch.no_grad():
        for weight, old in zip(weights, start, strict=True):
            weight.lerp_(old, share)


def _has_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bf16 by instructions of its own; emulated it is slower."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and has_arithmetic("bf16")


def _epochs(lessons: Sequence[Lesson], params: FineTuneParams) -> Iterator[list[list[Lesson]]]:
    """The batches of each epoch: shuffled, with texts of like length together."""
    generator = torch.Generator().manual_seed(params.seed)
    window = params.batch_size * _SORTED_BATCHES
    for _ in range(params.epochs):
        order = torch.randperm(len(lessons), generator=generator).tolist()
        batches: list[list[Lesson]] = []
        for start in range(0, len(order), window):
            near = sorted((lessons[i] for i in order[start : start + window]), key=len)
            batches += [
                near[i : i + params.batch_size] for i in range(0, len(near), params.batch_size)
            ]
        yield [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]


def _parts(
    batch: Sequence[Lesson], at_once: int | None
) -> Iterator[tuple[Sequence[Lesson], float]]:
    """A batch's parts, each with its share of the batch's weight."""
    size = at_once or len(batch)
    total = sum(lesson.weight for lesson in batch)
    for start in range(0, len(batch), size):
        part = batch[start : start + size]
        yield part, sum(lesson.weight for lesson in part) / total


def _slope(steps: int) -> Callable[[int], float]:
    """The learning rate's factor by step: up over the warm-up, then down to zero."""
    warmup = max(1, round(steps * _WARMUP))
    return lambda step: min((step + 1) / warmup, (steps - step) / max(1, steps - warmup))
