"""A specialist that is a Hugging Face sequence classifier: encode, forward, decode.

It gets a loaded model and tokenizer and knows how to be fast with them: results come in input
order from batches sorted by length. It does not know where weights come from.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from specialists.projection import Projection

# Sizes of one forward pass, padding included: a CPU is fastest while activations fit its cache,
# an accelerator wants more work per call.
_CPU_BATCH_TOKENS = 1_024
_ACCELERATOR_BATCH_TOKENS = 32_768
# Tokenizers without a limit of their own report a number far above this.
_SANE_LIMIT_TOKENS = 1_000_000
# RoBERTa-like models spend their first two positions on padding.
_RESERVED_POSITIONS = 2


class Specialist(Protocol):
    """Whatever votes on texts."""

    def votes(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Votes of shape (texts, project labels) in input order; NaN for unknown labels."""
        ...


class Transformer:
    """Votes with a sequence classifier; safe to call from several threads."""

    def __init__(self, model: Any, tokenizer: Any, projection: Projection) -> None:
        self._model = model.eval()
        self._encoder = Encoder(model, tokenizer)
        self._projection = projection

    def votes(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Votes of shape (texts, project labels) in input order; NaN for unknown labels."""
        result = np.full((len(texts), self._projection.width), np.nan, dtype=np.float32)
        encoded = self._encoder.encode(texts)
        limit = _CPU_BATCH_TOKENS if self._model.device.type == "cpu" else _ACCELERATOR_BATCH_TOKENS
        for batch in batches(encoded, limit):
            result[batch] = self._projection.votes(self.forward([encoded[i] for i in batch]))
        return result

    @torch.inference_mode()
    def forward(self, encoded: Sequence[Sequence[int]]) -> Tensor:
        """Own logits of shape (B, own labels) for one batch of token ids."""
        logits: Tensor = self._model(**self._encoder.collate(encoded)).logits
        return logits


class Encoder:
    """Texts to token ids and padded tensors, as one model wants them."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._device = model.device
        self._pad_id = tokenizer.pad_token_id or 0  # masked, so any id that exists will do
        self._limit_tokens = _max_tokens(model.config, tokenizer)
        # A fast tokenizer sets its truncation in place: two threads at once break it.
        self._lock = threading.Lock()

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids per text, cut at the model's longest input, without padding."""
        if not texts:
            return []
        with self._lock:
            encoded = self._tokenizer(
                list(texts), truncation=True, max_length=self._limit_tokens, padding=False
            )
        ids: list[list[int]] = encoded["input_ids"]
        return ids

    def collate(self, encoded: Sequence[Sequence[int]]) -> dict[str, Tensor]:
        """Pad token ids on the right: `input_ids` and `attention_mask`, each (B, longest)."""
        longest = max(len(ids) for ids in encoded)
        input_ids = torch.full((len(encoded), longest), self._pad_id)
        mask = torch.zeros((len(encoded), longest), dtype=torch.long)
        for row, ids in enumerate(encoded):
            input_ids[row, : len(ids)] = torch.tensor(ids)
            mask[row, : len(ids)] = 1
        return {
            "input_ids": input_ids.to(self._device),
            "attention_mask": mask.to(self._device),
        }


def batches(encoded: Sequence[Sequence[int]], limit_tokens: int) -> Iterator[list[int]]:
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


def _max_tokens(config: Any, tokenizer: Any) -> int:
    """The longest input: the tokenizer's limit where it has one, within the model's positions."""
    limit: int = tokenizer.model_max_length
    positions: int | None = getattr(config, "max_position_embeddings", None)
    if positions is None:
        return min(limit, 512)
    if limit > _SANE_LIMIT_TOKENS:
        return positions - _RESERVED_POSITIONS
    return min(limit, positions)
