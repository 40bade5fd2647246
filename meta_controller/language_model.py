"""The seam to language models: a question, a reply, and who can answer.

Knows no provider, imports no SDK and opens no connection: `providers` makes the real ones.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from specialists.types import LabelSet

TIMEOUT_S = 60.0
MAX_OUTPUT_TOKENS = 2048
"""An answer takes about 40 tokens; the rest is room for models that think before they answer."""


@dataclass(frozen=True)
class Question:
    """One text to label. `task_ids` are carried, not sent; `guideline` is the project's own."""

    control: str
    text: str = field(repr=False)
    labels: LabelSet
    guideline: str = field(default="", repr=False)
    task_ids: tuple[int, ...] = ()


@dataclass(frozen=True)
class Reply:
    """A valid answer: labels of the question's set, or none when the model is unsure."""

    labels: tuple[str, ...]
    reason: str = field(repr=False)
    tokens_in: int
    tokens_out: int
    latency_s: float
    model: str


class LanguageModel(Protocol):
    """Whoever can answer a question; `base_url` is "" for the provider's own address."""

    provider: str
    model: str
    base_url: str

    def ask(self, question: Question) -> Reply:
        """Ask exactly once.

        Raises:
            LanguageModelError: Retryable, Fatal or NoVerdict.
        """
