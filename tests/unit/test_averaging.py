"""The choice of weights: the best epoch, mixed with the start where that measures better."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from training.averaging import Choice


def choice(best_at: float) -> tuple[Tensor, Choice]:
    """A weight that starts at 0 and measures best at a value."""
    weight = torch.nn.Parameter(torch.zeros(1))
    measure: Callable[[], float] = lambda: abs(weight.item() - best_at)  # noqa: E731
    return weight, Choice([weight], [torch.zeros(1)], measure)


def after(weight: Tensor, *epochs: float) -> Callable[[Choice], list[int]]:
    def train(chosen: Choice) -> list[int]:
        told = []
        for value in epochs:
            weight.data.fill_(value)
            told.append(chosen.epochs_for_nothing())
        return told

    return train


def test_it_tells_how_long_nothing_was_gained_and_goes_back_to_the_best_epoch() -> None:
    weight, chosen = choice(best_at=2.0)
    assert after(weight, 1.0, 1.9, 3.0, 9.0)(chosen) == [0, 0, 1, 2]
    assert chosen.settle(()) == 1.0
    assert weight.item() == pytest.approx(1.9)


@pytest.mark.parametrize(("best_at", "share"), [(4.0, 1.0), (2.1, 0.5), (0.7, 0.25)])
def test_what_training_overshot_is_taken_back(best_at: float, share: float) -> None:
    weight, chosen = choice(best_at)
    after(weight, 4.0)(chosen)
    assert chosen.settle((0.25, 0.5, 0.75)) == share
    assert weight.item() == pytest.approx(4.0 * share)
