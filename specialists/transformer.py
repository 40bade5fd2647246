"""A specialist that is a Hugging Face sequence classifier: encode, forward, decode.

It gets a loaded model and tokenizer and knows how to be fast with them: results come in input
order from batches sorted by length. It does not know where weights come from.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from specialists.evidence import Evidence, Floats
from specialists.projection import Projection
from specialists.types import LabelSet

# Sizes of one forward pass, padding included: a CPU is fastest while activations fit its cache,
# an accelerator wants more work per call.
_CPU_BATCH_TOKENS = 1_024
_ACCELERATOR_BATCH_TOKENS = 32_768
VIEWS = 2
"""Layers whose token means serve as features; the last two measured best (BENCHMARKS.md)."""

# Tokenizers without a limit of their own report a number far above this.
_SANE_LIMIT_TOKENS = 1_000_000
# RoBERTa-like models spend their first two positions on padding.
_RESERVED_POSITIONS = 2


class Specialist(Protocol):
    """Whatever votes on texts."""

    def observe(self, texts: Sequence[str]) -> Evidence:
        """Votes (texts, 1, project labels) in input order, and the features it can give."""
        ...


class Transformer:
    """Votes with a sequence classifier; safe to call from several threads."""

    def __init__(self, model: Any, tokenizer: Any, projection: Projection) -> None:
        self._model = model.eval()
        self._encoder = Encoder(model, tokenizer)
        self._projection = projection

    def observe(self, texts: Sequence[str]) -> Evidence:
        """Votes (texts, 1, project labels) in input order, NaN for unknown labels, and features.

        Features are what the last layers make of a text, averaged over its tokens: the votes need
        them anyway, and live heads learn on them.
        """
        votes = np.full((len(texts), 1, self._projection.width), np.nan, dtype=np.float32)
        views: tuple[Floats, ...] = ()
        encoded = self._encoder.encode(texts)
        for batch in batches(encoded, _batch_tokens(self._model)):
            logits, means = self.forward([encoded[i] for i in batch])
            votes[batch, 0] = self._projection.votes(logits)
            if not views:
                views = tuple(np.zeros((len(texts), mean.shape[1]), np.float32) for mean in means)
            for view, mean in zip(views, means, strict=True):
                view[batch] = mean.float().cpu().numpy()
        return Evidence(votes, views)

    @torch.inference_mode()
    def forward(self, encoded: Sequence[Sequence[int]]) -> tuple[Tensor, list[Tensor]]:
        """Own logits (B, own labels) and token means (B, width) a view, for one batch of ids.

        An architecture that does not tell its layers has no views.
        """
        inputs = self._encoder.collate(encoded)
        out = self._model(**inputs, output_hidden_states=True)
        return out.logits, _token_means(out.get("hidden_states") or (), inputs["attention_mask"])


class Embedder:
    """Sees texts with an encoder and votes on nothing: features for a committee's live heads."""

    def __init__(self, model: Any, tokenizer: Any, labels: int) -> None:
        self._eyes = Transformer(model, tokenizer, Projection((), {}, LabelSet(())))
        self._labels = labels

    def observe(self, texts: Sequence[str]) -> Evidence:
        """Votes of no member, shape (texts, 0, project labels), and features."""
        votes = np.zeros((len(texts), 0, self._labels), dtype=np.float32)
        return Evidence(votes, self._eyes.observe(texts).features)


def _batch_tokens(model: Any) -> int:
    """How many tokens, padding included, one forward pass takes on the model's device."""
    return _CPU_BATCH_TOKENS if model.device.type == "cpu" else _ACCELERATOR_BATCH_TOKENS


def _token_means(layers: Sequence[Tensor], mask: Tensor) -> list[Tensor]:
    """Average the last layers, each (B, tokens, width), over each text's tokens: (B, width)."""
    weight = (mask / mask.sum(dim=1, keepdim=True)).unsqueeze(-1)
    return [(layer * weight).sum(dim=1) for layer in layers[-VIEWS:]]


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
