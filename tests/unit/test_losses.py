"""Losses: what they cost, and how much a wrong verdict can pull."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from training.losses import GENERALISED_Q, LOSSES, SMOOTHING

SCORES = torch.tensor([[4.0, 0.0, -1.0], [0.2, 0.1, 0.0], [-6.0, 2.0, 0.0]])
TARGET = torch.tensor([[1.0, 0.0, 0.0]] * 3)  # the last is answered quite otherwise


def pull(name: str) -> Tensor:
    """The length of each text's gradient."""
    scores = SCORES.clone().requires_grad_()
    LOSSES[name](scores, TARGET).sum().backward()
    assert scores.grad is not None
    return scores.grad.norm(dim=1)


def test_each_loss_is_its_formula() -> None:
    log_p = torch.log_softmax(SCORES, dim=1)
    torch.testing.assert_close(LOSSES["cross-entropy"](SCORES, TARGET), -log_p[:, 0])
    smoothed = -(1 - SMOOTHING) * log_p[:, 0] - SMOOTHING * log_p.mean(dim=1)
    torch.testing.assert_close(LOSSES["smoothed"](SCORES, TARGET), smoothed)
    generalised = (1 - log_p[:, 0].exp() ** GENERALISED_Q) / GENERALISED_Q
    torch.testing.assert_close(
        LOSSES["generalised"](SCORES, TARGET), generalised, atol=1e-4, rtol=1e-4
    )


def test_a_verdict_that_cannot_be_true_pulls_less_than_a_doubtful_one() -> None:
    plain, robust = pull("cross-entropy"), pull("generalised")
    assert plain[2] > plain[1]
    assert robust[2] < robust[1] / 3


def test_a_sure_answer_still_pulls_when_targets_are_smoothed() -> None:
    assert pull("smoothed")[0] > 1.5 * pull("cross-entropy")[0]


@pytest.mark.parametrize("name", LOSSES)
def test_soft_targets_are_met_between_their_labels(name: str) -> None:
    scores = torch.zeros(1, 2, requires_grad=True)
    LOSSES[name](scores, torch.tensor([[0.5, 0.5]])).sum().backward()
    torch.testing.assert_close(scores.grad, torch.zeros(1, 2))
