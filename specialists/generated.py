"""A specialist whose code was written by an LLM: it votes from inside the sandbox.

Texts go to its process and probabilities come back; the code is never imported here. It gives no
features, and is neither prepared nor trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from specialists import weights
from specialists.contract import to_votes
from specialists.errors import NoIsolation, SandboxError, SpecialistUnavailable
from specialists.evidence import Evidence
from specialists.generated_store import MODULE, Generated, GeneratedStore
from specialists.registry import GENERATED_PREFIX
from specialists.sandbox import Sandbox
from specialists.transformer import Specialist
from specialists.types import LabelSet

_CHARS_PER_TOKEN = 4  # of English; batches only need to know roughly how long texts are
_MOST_TOKENS = 512  # models cut what is longer


@dataclass(frozen=True)
class Waiting:
    """A text that waits for its batch."""

    text: str = field(repr=False)

    def __len__(self) -> int:
        """About its tokens."""
        return min(_MOST_TOKENS, len(self.text) // _CHARS_PER_TOKEN + 1)


class Measured:
    """The encoding of code that reads texts: only their length is looked at."""

    def encode(self, texts: Sequence[str]) -> list[Waiting]:
        """The texts, with their lengths."""
        return [Waiting(text) for text in texts]

    def collate(self, encoded: Sequence[Waiting]) -> list[str]:
        """The texts of a batch."""
        return [one.text for one in encoded]


class GeneratedSpecialist(Specialist):
    """Votes with code in a sandbox; its process ends when nobody holds the specialist any more."""

    def __init__(self, sandbox: Sandbox, source: str, labels: LabelSet, size_bytes: int) -> None:
        """Vote over exactly these labels; `size_bytes` of weights lie in the other process."""
        self.encoding = Measured()
        self.size_bytes = size_bytes
        self._sandbox = sandbox
        self._source = source
        self._labels = labels

    def forward(self, batch: Sequence[str]) -> Evidence:
        """Votes of a batch of texts; raises SpecialistUnavailable."""
        try:
            votes = to_votes(self._sandbox.annotate(batch), self._labels)
        except SandboxError as error:
            raise SpecialistUnavailable(
                self._source,
                f"its code failed: {error.kind}",
                "its votes are missing until it answers again",
            ) from None  # what the code says may hold the texts
        return Evidence(votes.astype(np.float32)[:, None])


def open_sandbox(
    store: GeneratedStore, source: str, labels: LabelSet, converted: Path | None
) -> tuple[Sandbox, int]:
    """The sandbox of approved code, and the bytes of its model's weights.

    Raises SpecialistUnavailable: unknown, changed, not approved, or made for something else.
    """
    name = source.removeprefix(GENERATED_PREFIX)
    made = store.get(name)
    if store.approval(name) is None:
        raise SpecialistUnavailable(
            source,
            "nobody approved its code",
            f"read {store.folder(name) / MODULE}, then python -m backend approve {name}",
        )
    folder = _model(source, made, labels, converted)
    try:
        sandbox = Sandbox(made.code, folder)
    except (NoIsolation, SandboxError) as error:
        raise SpecialistUnavailable(
            source, f"its code cannot run here ({error})", "choose another specialist until then"
        ) from error
    return sandbox, sum(path.stat().st_size for path in folder.glob("*.safetensors"))


def _model(source: str, made: Generated, labels: LabelSet, converted: Path | None) -> Path:
    """The folder of the model that code was tested with."""
    if set(made.labels.names) != set(labels.names) or made.labels.multiple != labels.multiple:
        raise SpecialistUnavailable(
            source,
            f"it was written for the labels {', '.join(made.labels.names)}",
            "let it be written again for this project (codegen)",
        )
    folder = weights.published(made.model, converted)
    if weights.digest(folder) != made.digest:
        raise SpecialistUnavailable(
            source,
            f"the weights of {made.model} are others than those that it was tested with",
            "let it be written again (codegen)",
        )
    return folder
