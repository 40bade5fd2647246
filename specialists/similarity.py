"""The member that needs no training: how near a text is to what each label is called.

Zero-shot classification by sentence embeddings: texts and labels are compared in the space of the
embedded base model, which was trained to put like sentences side by side (Reimers and Gurevych,
"Sentence-BERT", EMNLP 2019). It never learns and claims little; how right it is, verdicts tell.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from specialists.chances import Array, log_softmax, unit
from specialists.encoder import Encoder
from specialists.evidence import Evidence
from specialists.runtime import VIEWS, Runtime
from specialists.transformer import Embedder, Model
from specialists.types import LabelSet
from specialists.windows import Batch

SCALE = 16.0
"""Makes log-probabilities of cosines: the best of 5 to 40 for log-loss (training/LOG.md)."""

CLAIM = 0.6
"""What is claimed at most for one label, beside its even share of the rest: what a label is called
rules no other out, and before verdicts an answer of the LLM is always worth its price."""

_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])")
_BETWEEN_WORDS = re.compile(r"[\W_]+")


class Similarity(Model):
    """Votes by the cosine of a text and each label; gives the frozen view as well."""

    def __init__(
        self, runtime: Runtime, encoder: Encoder, labels: LabelSet, phrases: Mapping[str, str]
    ) -> None:
        """`phrases` go from what is said of labels to their names; a label of none is its name."""
        super().__init__(runtime, encoder)
        self._embedder = Embedder(runtime, encoder, len(labels.labels))
        by_name: dict[str, list[str]] = {}
        for phrase, name in phrases.items():
            by_name.setdefault(name, []).append(phrase)
        said = [by_name.get(name) or [name] for name in labels.names]
        seen = self._sentences(self._embedder.observe([words(p) for some in said for p in some]))
        ends = np.cumsum([len(some) for some in said])
        means = [part.mean(axis=0) for part in np.split(seen, ends[:-1])]
        self._anchors: Array = unit(np.stack(means))

    def forward(self, batch: Batch) -> Evidence:
        """Votes (texts, 1, project labels) and the frozen view, averaged over a text's windows."""
        seen = self._embedder.forward(batch)
        likely = np.exp(log_softmax(SCALE * self._sentences(seen) @ self._anchors.T))
        votes = CLAIM * likely + (1.0 - CLAIM) / len(self._anchors)
        return replace(seen, votes=votes[:, None].astype(np.float32))

    def _sentences(self, seen: Evidence) -> Array:
        """Sentence embeddings (texts, width): the last view, of length 1."""
        if seen.frozen is None:
            raise TypeError("The embedder gives the frozen view; open the embedded base model.")
        last = np.split(seen.frozen, VIEWS, axis=1)[-1]
        sentences: Array = unit(last.astype(np.float64))
        return sentences


def words(phrase: str) -> str:
    """A label's name as it would be written: `card_arrival` and `cardArrival` are two words."""
    return _BETWEEN_WORDS.sub(" ", _HUMP.sub(" ", phrase)).strip() or phrase
