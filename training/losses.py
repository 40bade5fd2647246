"""What a text costs while a member answers it: losses that bear wrong verdicts differently well.

Each takes scores (B, known labels) and targets (B, known labels) and returns a loss a text, (B,).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional

Loss = Callable[[Tensor, Tensor], Tensor]

SMOOTHING = 0.1
GENERALISED_Q = 0.7


def cross_entropy(scores: Tensor, target: Tensor) -> Tensor:
    """-sum_k t_k log p_k; targets sum to 1."""
    return functional.cross_entropy(scores, target, reduction="none")


def smoothed(scores: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy to targets mixed with the uniform one (Szegedy et al., CVPR 2016).

    It also bears label noise (Lukasik et al., ICML 2020).
    """
    labels = target.shape[1]
    return cross_entropy(scores, target * (1 - SMOOTHING) + SMOOTHING / labels)


def generalised(scores: Tensor, target: Tensor) -> Tensor:
    """sum_k t_k (1 - p_k^q) / q: between cross-entropy (q to 0) and mean absolute error (q = 1).

    Zhang and Sabuncu, NeurIPS 2018, with their q.
    """
    chances = torch.softmax(scores, dim=1).clamp_min(1e-6)
    return (target * (1 - chances**GENERALISED_Q)).sum(dim=1) / GENERALISED_Q


def binary(scores: Tensor, target: Tensor) -> Tensor:
    """Mean over labels that are independent of each other; targets are 0..1 each."""
    each = functional.binary_cross_entropy_with_logits(scores, target, reduction="none")
    return each.mean(dim=1)


LOSSES: Mapping[str, Loss] = {
    "cross-entropy": cross_entropy,
    "smoothed": smoothed,
    "generalised": generalised,
}
