"""The seam to language models: a prompt and its completion, a question and its reply.

Knows no provider, imports no SDK and opens no connection: `providers` makes the real ones.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Protocol

from specialists.types import LabelSet

TIMEOUT_S = 60.0
MAX_OUTPUT_TOKENS = 2048
"""An answer takes about 40 tokens; the rest is room for models that think before they answer."""


@dataclass(frozen=True)
class Example:
    """A text with the labels that people gave it."""

    text: str = field(repr=False)
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Tokens:
    """What a call took: `sent` in all, and `written` by the model.

    Of those sent, `cached` were read from the provider's prompt cache and `stored` written to it.
    """

    sent: int = 0
    written: int = 0
    cached: int = 0
    stored: int = 0

    @property
    def cached_share(self) -> float:
        """The cache's hit rate: what was read from it, of all that was sent."""
        return self.cached / self.sent if self.sent else 0.0


NO_TOKENS = Tokens()


@dataclass(frozen=True)
class Question:
    """One text to label; `guideline` and `descriptions` (label, text) are the project's own.

    `examples` are shown before the text. Carried, not sent: `task_ids`, the `committee`'s
    probabilities (labels,), empty where it did not vote, and `draw`, which tells apart the askings
    of a question that is asked several times.
    """

    control: str
    text: str = field(repr=False)
    labels: LabelSet
    guideline: str = field(default="", repr=False)
    task_ids: tuple[int, ...] = ()
    descriptions: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    examples: tuple[Example, ...] = field(default=(), repr=False)
    committee: tuple[float, ...] = ()
    draw: int = 0


@dataclass(frozen=True)
class Reply:
    """A valid answer: labels of the question's set, or none when the model is unsure.

    `confidence` (0..1) is how sure the model itself was, where that could be had; not calibrated.
    """

    labels: tuple[str, ...]
    reason: str = field(repr=False)
    tokens: Tokens
    latency_s: float
    model: str
    confidence: float | None = None


@dataclass(frozen=True)
class Prompt:
    """One call: the static prefix, what is asked now, and the JSON schema of the answer.

    `with_chances` asks for the likelihoods of the answer's tokens, where the provider tells them.
    """

    system: str = field(repr=False)
    sample: str = field(repr=False)
    schema: dict[str, Any] = field(repr=False)
    max_output_tokens: int = MAX_OUTPUT_TOKENS
    with_chances: bool = False

    @property
    def max_input_tokens(self) -> int:
        """An upper bound: no tokenizer makes more tokens than bytes; 1,024 for the wrapping."""
        parts = (self.system, self.sample, json.dumps(self.schema))
        return sum(len(part.encode()) for part in parts) + 1024

    @property
    def most_tokens(self) -> Tokens:
        """An upper bound for one call; storing all that is sent is the dearest way to send it."""
        sent = self.max_input_tokens
        return Tokens(sent, self.max_output_tokens, stored=sent)


@dataclass(frozen=True)
class Completion:
    """What a model wrote to a prompt, unread.

    `token_logprobs` are (bytes, log-likelihood) of its tokens, where the provider tells them.
    """

    text: str = field(repr=False)
    tokens: Tokens
    latency_s: float
    model: str
    token_logprobs: tuple[tuple[int, float], ...] = field(default=(), repr=False)


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

    def complete(self, prompt: Prompt) -> Completion:
        """Send any prompt exactly once; whether the text fits the schema is the caller's to check.

        Raises:
            LanguageModelError: Retryable, Fatal or NoVerdict.
        """
