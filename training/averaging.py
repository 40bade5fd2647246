"""Which weights a training ends with: those of its best epoch, mixed with those it began with.

On the straight line between a model and what fine-tuning made of it lie models that keep what the
first knew and have what the second learned (Wortsman et al., "Robust fine-tuning of zero-shot
models", CVPR 2022). It knows weights and a measure of them, no texts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor


class Choice:
    """Watches a training by a `measure` of its current `weights`, the lower the better."""

    def __init__(
        self, weights: Sequence[Tensor], start: Sequence[Tensor], measure: Callable[[], float]
    ) -> None:
        self._weights = weights
        self._start = start
        self._measure = measure
        self._lowest = math.inf
        self._best: list[Tensor] = []
        self._since = 0

    def epochs_for_nothing(self) -> int:
        """Measure after an epoch; how many epochs ago the weights were best."""
        now = self._measure()
        self._since += 1
        if now < self._lowest:
            self._lowest, self._since = now, 0
            self._best = [weight.detach().clone() for weight in self._weights]
        return self._since

    def settle(self, shares: Sequence[float]) -> float:
        """Leave the weights where they measure best; returns their share of the new (0..1)."""
        chosen = 1.0
        for share in shares:
            self._put(share)
            now = self._measure()
            if now < self._lowest:
                self._lowest, chosen = now, share
        self._put(chosen)
        return chosen

    def _put(self, share: float) -> None:
        with torch.no_grad():
            for weight, old, new in zip(self._weights, self._start, self._best, strict=True):
                weight.copy_(torch.lerp(old, new, share))
