"""Batches of like length, bounded in tokens: little of a forward pass is spent on padding."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence, Sized
from typing import TypeVar

import numpy as np

from specialists.evidence import Evidence

# Sizes of one forward pass, padding included: a CPU's core is fastest while activations fit its
# cache (BENCHMARKS.md), an accelerator wants more work per call.
CPU_BATCH_TOKENS = 512
ACCELERATOR_BATCH_TOKENS = 32_768

_Encoded = TypeVar("_Encoded", bound=Sized)


def batch_tokens(device: str) -> int:
    """How many tokens, padding included, one forward pass takes on a torch device."""
    return CPU_BATCH_TOKENS if device == "cpu" else ACCELERATOR_BATCH_TOKENS


def batches(encoded: Sequence[Sized], limit_tokens: int) -> Iterator[list[int]]:
    """Group indices of similar length so that each padded batch stays under `limit_tokens`.

    Longest first; a single text longer than the limit makes a batch of its own.
    """
    batch: list[int] = []
    for index in sorted(range(len(encoded)), key=lambda i: len(encoded[i]), reverse=True):
        if batch and len(encoded[batch[0]]) * (len(batch) + 1) > limit_tokens:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def in_batches(
    encoded: Sequence[_Encoded],
    forward: Callable[[list[_Encoded]], Evidence],
    limit_tokens: int = CPU_BATCH_TOKENS,
) -> Evidence | None:
    """Run `forward` over all batches; the evidence comes in input order, None without a text."""
    groups = list(batches(encoded, limit_tokens))
    if not groups:
        return None
    seen = Evidence.join([forward([encoded[i] for i in group]) for group in groups])
    return seen.rows(np.argsort(np.concatenate(groups)))
