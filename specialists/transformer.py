"""A specialist: whatever votes on texts; most are Hugging Face sequence classifiers.

A specialist encodes texts, and answers for an encoded batch. Where weights come from and what
runs them (`runtime.py`) is not known here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence, Sized
from typing import Any, Protocol

import numpy as np
import torch

from specialists.batching import in_batches
from specialists.encoder import Encoder
from specialists.evidence import Evidence
from specialists.languages import Languages
from specialists.projection import Projection
from specialists.runtime import Runtime
from specialists.windows import Batch


class Encoding(Protocol):
    """How texts become what a specialist reads; specialists that share one share its work."""

    def encode(self, texts: Sequence[str]) -> Sequence[Sized]:
        """What is kept of each text while it waits; its length is in tokens."""
        ...

    def collate(self, encoded: Sequence[Any]) -> Any:
        """One batch, as `forward` takes it."""
        ...


class Verbatim:
    """The encoding of specialists that read the texts themselves."""

    def encode(self, texts: Sequence[str]) -> Sequence[str]:
        """The texts."""
        return texts

    def collate(self, encoded: Sequence[str]) -> list[str]:
        """The texts of a batch."""
        return list(encoded)


class Specialist(ABC):
    """Whatever votes on texts; safe to call from several threads."""

    encoding: Encoding
    size_bytes: int = 0
    languages: Languages = None

    @abstractmethod
    def forward(self, batch: Any) -> Evidence:
        """Votes (B, 1, project labels), NaN for unknown labels, and the features it can give."""

    def observe(self, texts: Sequence[str]) -> Evidence:
        """The same of any number of texts, in input order."""

        def forward(encoded: Sequence[Sized]) -> Evidence:
            return self.forward(self.encoding.collate(encoded))

        seen = in_batches(self.encoding.encode(texts), forward)
        return seen or forward(self.encoding.encode(["."])).rows([])


class Model(Specialist):
    """A specialist that is a transformer model in some runtime."""

    def __init__(self, runtime: Runtime, encoder: Encoder) -> None:
        self.runtime = runtime
        self.encoding: Encoder = encoder
        self.size_bytes = runtime.size_bytes


class Transformer(Model):
    """Votes with a sequence classifier.

    Features are what the last layers make of a text, averaged over its tokens: the votes need
    them anyway, and live heads learn on them.
    """

    def __init__(self, runtime: Runtime, encoder: Encoder, projection: Projection) -> None:
        super().__init__(runtime, encoder)
        self._projection = projection

    def forward(self, batch: Batch) -> Evidence:
        """Votes and features of texts, each averaged over the text's windows."""
        out = self.runtime.forward(batch.ids, batch.mask)
        votes = batch.fold(self._projection.votes(torch.from_numpy(out.logits)))
        return Evidence(votes[:, None], tuple(map(batch.fold, out.means)))


class Embedder(Model):
    """Sees texts with an encoder that is never trained, and votes on nothing: the frozen view."""

    def __init__(self, runtime: Runtime, encoder: Encoder, labels: int) -> None:
        super().__init__(runtime, encoder)
        self._labels = labels

    def forward(self, batch: Batch) -> Evidence:
        """Votes of no member, shape (texts, 0, project labels), and the frozen view.

        That is the views of its last layers side by side: one head on both is right 1 % more often
        than one on the last alone (measured on eight sets, training/LOG.md).
        """
        means = self.runtime.forward(batch.ids, batch.mask).means
        none = np.zeros((len(batch.starts), 0, self._labels), dtype=np.float32)
        return Evidence(none, frozen=batch.fold(np.concatenate(means, axis=1)))
