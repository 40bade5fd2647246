"""Texts to token ids, as a family of models wants them; models of one family share an encoder."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from transformers import AutoTokenizer

from specialists.windows import MOST_TOKENS, Batch, Ints, Windows, cut

# Tokenizers without a limit of their own report a number far above this.
_SANE_LIMIT_TOKENS = 1_000_000
# RoBERTa-like models spend their first two positions on padding.
_RESERVED_POSITIONS = 2
_DEFAULT_LIMIT_TOKENS = 512
_CHARS_PER_TOKEN = 16  # no language has so many: what is beyond is not even tokenized
_FILES = ("tokenizer*", "vocab*", "merges*", "special_tokens*", "added_tokens*", "*.model")


class Encoder:
    """Texts to token ids and padded arrays; safe to use from several threads."""

    def __init__(self, tokenizer: Any, config: Any) -> None:
        """Encode with a tokenizer, within the positions of the model's config."""
        self._tokenizer = tokenizer
        self._pad_id = tokenizer.pad_token_id or 0  # masked, so any id that exists will do
        self._limit_tokens = limit_tokens(config, tokenizer)
        self._most_tokens = max(MOST_TOKENS, self._limit_tokens)
        self._before, self._after = _frame(tokenizer)
        # A fast tokenizer sets its truncation in place: two threads at once break it.
        self._lock = threading.Lock()

    def encode(self, texts: Sequence[str]) -> list[Windows]:
        """Each text in windows that the model can read, without padding."""
        if not texts:
            return []
        most_chars = self._most_tokens * _CHARS_PER_TOKEN
        with self._lock:
            encoded = self._tokenizer(
                [text[:most_chars] for text in texts],
                truncation=True,
                max_length=self._most_tokens + 1,  # one more shows that there are more
                padding=False,
            )
        return [
            self._windows(ids, whole=len(text) <= most_chars and len(ids) <= self._most_tokens)
            for text, ids in zip(texts, encoded["input_ids"], strict=True)
        ]

    def _windows(self, ids: list[int], *, whole: bool) -> Windows:
        if len(ids) <= self._limit_tokens:
            return Windows((ids,), whole)
        before, after = self._before, self._after
        body = ids[len(before) : min(len(ids), self._most_tokens) - len(after)]
        parts = cut(body, self._limit_tokens - len(before) - len(after))
        return Windows(tuple([*before, *part, *after] for part in parts), whole)

    def collate(self, encoded: Sequence[Windows]) -> Batch:
        """Pad the windows of texts, side by side."""
        counts = [len(one.ids) for one in encoded]
        ids, mask = self.pad([ids for one in encoded for ids in one.ids])
        return Batch(ids, mask, np.cumsum([0, *counts[:-1]]))

    def pad(self, windows: Sequence[Sequence[int]]) -> tuple[Ints, Ints]:
        """Pad token ids on the right: ids and attention mask, each (B, longest)."""
        lengths = np.array([len(ids) for ids in windows])
        mask = np.arange(lengths.max()) < lengths[:, None]
        input_ids = np.full(mask.shape, self._pad_id, dtype=np.int64)
        input_ids[mask] = np.concatenate([np.asarray(ids, dtype=np.int64) for ids in windows])
        return input_ids, mask.astype(np.int64)


def _frame(tokenizer: Any) -> tuple[list[int], list[int]]:
    """The special tokens that a tokenizer puts before and after a text."""
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    full = tokenizer("a")["input_ids"]
    start = next(i for i in range(len(full)) if full[i : i + len(bare)] == bare)
    return full[:start], full[start + len(bare) :]


def open_tokenizer(folder: Path) -> Any:
    """Open the tokenizer that lies beside a model's weights."""
    return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def encoder_key(folder: Path, config: Any) -> str:
    """A name that is equal for folders whose tokenizers and limits are equal."""
    found = hashlib.sha256(str(getattr(config, "max_position_embeddings", None)).encode())
    for path in sorted({path for glob in _FILES for path in folder.glob(glob)}):
        found.update(path.name.encode() + b"\0" + path.read_bytes())
    return found.hexdigest()


def limit_tokens(config: Any, tokenizer: Any) -> int:
    """The longest input: the tokenizer's limit where it has one, within the model's positions."""
    limit: int = tokenizer.model_max_length
    positions: int | None = getattr(config, "max_position_embeddings", None)
    if positions is None:
        return min(limit, _DEFAULT_LIMIT_TOKENS)
    if limit > _SANE_LIMIT_TOKENS:
        return positions - _RESERVED_POSITIONS
    return min(limit, positions)
