"""What the embedded specialists learn from: source, licence, attribution, and its CSV rows.

It knows the data folder's format (`id,text,label,split`, UTF-8) and nothing of training. Only
sources whose licence lets a model trained on them ship are listed.
"""

from __future__ import annotations

import csv
import html
import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Row:
    """A labelled text."""

    text: str = field(repr=False)
    label: str


@dataclass(frozen=True)
class Source:
    """The data of one embedded specialist, and how it is read.

    `balanced` gives every class the same total weight; `mixed_in` adds texts of other specialists'
    sources (name, texts), for one that would call everything outside its domain neutral.
    """

    specialist: str
    file: str
    title: str
    attribution: str
    licence: str
    epochs: int
    learning_rate: float = 5e-4
    balanced: bool = False
    mixed_in: tuple[tuple[str, int], ...] = ()

    def rows(self, data: Path, split: str) -> list[Row]:
        """The rows of one split, in file order."""
        with (data / f"{self.file}.csv").open(encoding="utf-8", newline="") as file:
            return [
                Row(row["text"], row["label"])
                for row in csv.DictReader(file)
                if row["split"] == split and row["text"].strip()
            ]


SOURCES: tuple[Source, ...] = (
    Source(
        "sentiment-reviews",
        "gold_sent_uci_yelp_imdb_amazon",
        "Sentiment Labelled Sentences (Yelp, IMDb, Amazon)",
        "Kotzias, Denil, de Freitas, Smyth: From Group to Individual Labels using Deep Features, "
        "KDD 2015; UCI Machine Learning Repository",
        "CC BY 4.0",
        epochs=4,
    ),
    Source(
        "sentiment-tweets",
        "gold_sent_kaggle_tse_rest",
        "Tweet Sentiment Extraction",
        "Kaggle competition of 2020, its texts from Figure Eight's Data for Everyone",
        "CC BY 4.0",
        epochs=2,
    ),
    Source(
        "sentiment-finance",
        "paper2_jpp_twitter_financial",
        "Twitter Financial News Sentiment",
        "zeroshot/twitter-financial-news-sentiment on the Hugging Face Hub",
        "MIT",
        epochs=3,
        learning_rate=1e-3,
        balanced=True,
        mixed_in=(("sentiment-tweets", 1_500), ("sentiment-reviews", 500)),
    ),
    Source(
        "toxicity-comments",
        "llm_toxicity_en",
        "TextDetox, English",
        "CLEF TextDetox 2024 (Dementieva et al.), by way of TextClass-Benchmark "
        "(Gonzalez-Bustamante, arXiv 2412.00539)",
        "CC BY 4.0",
        epochs=3,
    ),
    Source(
        "toxicity-tweets",
        "gold_tox_davidson",
        "Hate Speech and Offensive Language",
        "Davidson, Warmsley, Macy, Weber: Automated Hate Speech Detection and the Problem of "
        "Offensive Language, ICWSM 2017; hate and offensive are toxic here",
        "MIT",
        epochs=2,
        balanced=True,
    ),
    Source(
        "toxicity-implicit",
        "gold_tox_implicit_hate",
        "Implicit Hate Speech, stage 1",
        "ElSherief et al.: Latent Hatred, a Benchmark for Understanding Implicit Hate Speech, "
        "EMNLP 2021; implicit and explicit hate are toxic here",
        "MIT",
        epochs=2,
    ),
)


def of(specialist: str) -> Source:
    """The source of one embedded specialist."""
    return next(source for source in SOURCES if source.specialist == specialist)


def without(rows: Sequence[Row], held_out: Iterable[Row]) -> list[Row]:
    """Drop rows whose text, normalised, is held out or has been seen before."""
    seen = {normalised(row.text) for row in held_out}
    kept = []
    for row in rows:
        key = normalised(row.text)
        if key not in seen:
            seen.add(key)
            kept.append(row)
    return kept


def sample(rows: Sequence[Row], most: int, seed: int) -> list[Row]:
    """At most `most` rows, drawn without replacement."""
    if len(rows) <= most:
        return list(rows)
    return random.Random(seed).sample(rows, most)


def normalised(text: str) -> str:
    """Lower case, entities resolved, letters and digits only."""
    return re.sub(r"[\W_]+", "", html.unescape(text).casefold())
