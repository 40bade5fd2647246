"""Small real classifiers, trained in seconds: BERTs of one layer over the words of their texts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from transformers import BertConfig, BertForSequenceClassification, BertTokenizer

_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_POSITIONS = 64
_BATCH = 64


def train(
    texts: Sequence[str],
    labels: Sequence[int],
    own: Sequence[str],
    *,
    seed: int = 0,
    epochs: int = 4,
    words: int = 8000,
    width: int = 64,
) -> tuple[BertForSequenceClassification, BertTokenizer]:
    """Train on texts whose labels are indices of `own`; it knows their commonest `words`."""
    torch.manual_seed(seed)
    tokenizer = BertTokenizer(_vocabulary(texts, words), model_max_length=_POSITIONS)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=2 * width,
        max_position_embeddings=_POSITIONS,
        id2label=dict(enumerate(own)),
        label2id={label: index for index, label in enumerate(own)},
    )
    model = BertForSequenceClassification(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.01)
    draw, wanted = np.random.default_rng(seed), torch.tensor(labels)
    encoded = tokenizer(list(texts), truncation=True, padding=True, return_tensors="pt")
    model.train()
    for _ in range(epochs):
        order = draw.permutation(len(texts))
        for start in range(0, len(texts), _BATCH):
            rows = order[start : start + _BATCH]
            batch = {name: values[rows] for name, values in encoded.items()}
            model(**batch, labels=wanted[rows]).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    return model.eval(), tokenizer


def publish(
    folder: Path,
    model: BertForSequenceClassification,
    tokenizer: BertTokenizer,
    own: Mapping[int, str] | None = None,
    card: str = "",
) -> Path:
    """Write a model as one lies on the Hub; `own` gives its outputs other names."""
    if own is not None:
        model.config.id2label = dict(own)
        model.config.label2id = {label: index for index, label in own.items()}
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "README.md").write_text(card, encoding="utf-8")
    return folder


def _vocabulary(texts: Sequence[str], words: int) -> dict[str, int]:
    """Whole words and punctuation, the commonest first; what is not in it is unknown."""
    seen = Counter(word for text in texts for word in re.findall(r"\w+|[^\w\s]", text.lower()))
    tokens = [*_SPECIAL, *(word for word, _ in seen.most_common(words) if word not in _SPECIAL)]
    return {token: index for index, token in enumerate(tokens)}
