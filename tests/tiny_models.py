"""Tiny random-weight classifiers in folders, as published models look like; no network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertTokenizer,
    RobertaConfig,
    RobertaForSequenceClassification,
)

WORDS = "a the is this was day film food good fine great bad awful poor so very not and".split()


def vocabulary() -> dict[str, int]:
    """Whole words, letters and their continuations: every text in Latin letters has ids."""
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    tokens += [letter for letter in letters if letter not in tokens]
    tokens += [f"##{letter}" for letter in letters]
    return {token: index for index, token in enumerate(tokens)}


def publish(
    folder: Path,
    own: Sequence[str],
    *,
    seed: int = 0,
    problem_type: Literal["multi_label_classification"] | None = None,
    positions: int = 64,
    spread: float = 0.5,
) -> Path:
    """Write a tiny BERT with these own labels and return its folder.

    A wide `spread` of the weights makes texts get clearly different votes; a narrow one learns.
    """
    torch.manual_seed(seed)
    words = vocabulary()
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        max_position_embeddings=positions,
        id2label=dict(enumerate(own)),
        label2id={label: index for index, label in enumerate(own)},
        problem_type=problem_type,
        initializer_range=spread,
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    BertTokenizer(words, model_max_length=positions).save_pretrained(folder)
    return folder


def publish_roberta(folder: Path, own: Sequence[str], positions: int) -> Path:
    """Write a tiny RoBERTa whose tokenizer states no limit, as some on the Hub do."""
    torch.manual_seed(0)
    words = vocabulary()
    config = RobertaConfig(
        vocab_size=len(words),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=48,
        max_position_embeddings=positions,
        pad_token_id=0,
        id2label=dict(enumerate(own)),
        label2id={label: index for index, label in enumerate(own)},
    )
    RobertaForSequenceClassification(config).save_pretrained(folder)
    BertTokenizer(words).save_pretrained(folder)
    return folder
