"""How a member is fine-tuned: the parts of the algorithm that can be exchanged, and their numbers.

The defaults are what measured best over all sets; `LOG.md` has the experiments.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Method = Literal["lora", "full", "frozen"]
LossName = Literal["cross-entropy", "smoothed", "generalised"]

# Rates that fit AdamW with warm-up: an adapter's fresh weights bear a larger one.
_LEARNING_RATES = {"lora": 5e-4, "full": 2e-5, "frozen": 2e-5}


@dataclass(frozen=True)
class FineTuneParams:
    """How to fine-tune; without a `learning_rate` the method's own is taken.

    `epochs` are the most: with texts to choose by (`Curriculum.tuning`) training ends once
    `patience` epochs brought nothing, and the weights are mixed with those of before in the best of
    the shares `mixing` (0..1, of the new). `anchor` draws the weights back while they learn.
    A batch is computed in parts of `at_once` texts (None: whole), which take less memory and give
    the same gradient but for dropout; `memory_mb` bounds a process of its own (`memory.bound`).
    """

    method: Method = "lora"
    epochs: int = 3
    learning_rate: float | None = None
    batch_size: int = 16
    seed: int = 0
    device: str = "cpu"
    loss: LossName = "cross-entropy"
    anchor: float = 0.0
    patience: int = 2
    mixing: Sequence[float] = (0.25, 0.5, 0.75)
    at_once: int | None = None
    memory_mb: float | None = None

    @property
    def rate(self) -> float:
        """The peak learning rate."""
        return self.learning_rate or _LEARNING_RATES[self.method]
