"""Members made for a replay: logistic regressions over one way of seeing a text.

They stand in for three independently trained specialists where no published one fits the labels.
It knows matrices and scikit-learn; no files, no rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler

from specialists import weights
from specialists.batching import batches
from specialists.chances import log_softmax
from specialists.encoder import Encoder
from specialists.evidence import Evidence
from specialists.loading import Parts, open_model
from specialists.runtime import VIEWS
from specialists.transformer import Specialist, Verbatim

See = Callable[[Sequence[str]], Any]  # texts to what a pipeline takes, row by row
Indices = npt.NDArray[np.intp]

_FOLDS = 5
_MAX_ITERATIONS = 3_000
_BATCH_TOKENS = 1_024
# Continued training on hard samples alone, as the paper's stages do it.
_EPOCHS = 2
_BATCH = 16
_RATE = 1.0


def _dense() -> Pipeline:
    """Centred features of length 1."""
    return make_pipeline(StandardScaler(with_std=False), Normalizer())


def _characters() -> Pipeline:
    """Weighted counts of two to five letters in a row, within words."""
    return make_pipeline(
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), min_df=2, sublinear_tf=True)
    )


@dataclass(frozen=True)
class Head:
    """How features are prepared, and the inverse strength of the regression's ridge."""

    prepare: Callable[[], Pipeline]
    inverse_ridge: float


HEADS: Mapping[str, Head] = {
    "token-means": Head(_dense, 30.0),
    "first-token": Head(_dense, 30.0),
    "characters": Head(_characters, 100.0),
}


class LogisticMember(Specialist):
    """A specialist that votes with a logistic regression; fit it before it is asked."""

    def __init__(self, head: Head, labels: int, see: See | None = None) -> None:
        """`see` makes features of texts; without it the head prepares the texts themselves."""
        self.encoding = Verbatim()
        self._head = head
        self._labels = labels
        self._see = see

    def look(self, texts: Sequence[str]) -> Any:
        """What the head prepares: features, or the texts themselves."""
        return self._see(texts) if self._see else np.array(texts, dtype=object)

    def fit(self, texts: Sequence[str], gold: Indices) -> LogisticMember:
        """Learn from texts with gold labels (rows,) and return itself."""
        self._set(*_fit(self._head, self.look(texts), gold))
        return self

    def forward(self, texts: Sequence[str]) -> Evidence:
        """Votes (texts, 1, labels), NaN for labels that were not trained; no features."""
        return Evidence(self._votes(self._prepare.transform(self.look(texts)))[:, None])

    def continued(self, texts: Sequence[str], labels: Indices, seed: int) -> LogisticMember:
        """A copy that went on learning by gradient descent on these texts alone."""
        other = LogisticMember(self._head, self._labels, self._see)
        other._set(self._prepare, self._known, self._weights.copy(), self._offset.copy())
        usable = np.flatnonzero(np.isin(labels, self._known))
        if len(usable):
            rows = self._prepare.transform(self.look([texts[i] for i in usable]))
            other._descend(rows, np.searchsorted(self._known, labels[usable]), seed)
        return other

    def _set(
        self, prepare: Pipeline, known: Indices, weights: Any, offset: npt.NDArray[np.float64]
    ) -> None:
        self._prepare, self._known, self._weights, self._offset = prepare, known, weights, offset

    def _votes(self, rows: Any) -> npt.NDArray[np.float32]:
        votes = np.full((rows.shape[0], self._labels), np.nan, dtype=np.float32)
        votes[:, self._known] = np.exp(log_softmax(rows @ self._weights + self._offset))
        return votes

    def _descend(self, rows: Any, target: Indices, seed: int) -> None:
        """Softmax regression by mini-batches, in place."""
        rng = np.random.default_rng(seed)
        wanted = np.eye(len(self._known))[target]
        for _ in range(_EPOCHS):
            order = rng.permutation(len(target))
            for start in range(0, len(order), _BATCH):
                batch = order[start : start + _BATCH]
                scores = rows[batch] @ self._weights + self._offset
                error = (np.exp(log_softmax(scores)) - wanted[batch]) / len(batch)
                self._weights -= _RATE * (rows[batch].T @ error)
                self._offset -= _RATE * error.sum(axis=0)


def out_of_fold(head: Head, labels: int, seen: Any, gold: Indices) -> npt.NDArray[np.float32]:
    """Votes (rows, labels) on training rows, each by a model that did not see its fold."""
    votes = np.full((len(gold), labels), np.nan, dtype=np.float32)
    if len(gold) < _FOLDS:
        return votes
    for rest, fold in KFold(_FOLDS, shuffle=True, random_state=0).split(gold):
        if len(set(gold[rest].tolist())) < 2:
            continue
        one = LogisticMember(head, labels)
        one._set(*_fit(head, seen[rest], gold[rest]))
        votes[fold] = one._votes(one._prepare.transform(seen[fold]))
    return votes


def _fit(head: Head, seen: Any, gold: Indices) -> tuple[Pipeline, Indices, Any, Any]:
    """Prepare and fit: pipeline, known labels, weights (width, known) and offset (known,)."""
    prepare = head.prepare()
    rows = prepare.fit_transform(seen)
    model = LogisticRegression(C=head.inverse_ridge, max_iter=_MAX_ITERATIONS).fit(rows, gold)
    coefficients, offset = model.coef_, model.intercept_
    if len(coefficients) == 1:  # two labels: scikit-learn keeps the second one's row only
        coefficients = np.vstack([np.zeros_like(coefficients), coefficients])
        offset = np.array([0.0, offset[0]])
    return prepare, model.classes_.astype(np.intp), coefficients.T.copy(), offset.copy()


def token_means(embedder: Specialist) -> See:
    """See the mean of the last layer over a text's tokens."""

    def see(texts: Sequence[str]) -> Any:
        frozen = embedder.observe(texts).frozen
        if frozen is None:
            raise TypeError("Only the embedded base model sees texts so; give its specialist.")
        return np.split(frozen, VIEWS, axis=1)[-1]

    return see


def cls_states() -> See:
    """See the last layer at a text's first token."""
    model, tokenizer = open_model(Parts(weights.minilm(), labels=("unused",)))
    encoder = Encoder(tokenizer, model.eval().config)

    @torch.inference_mode()
    def see(texts: Sequence[str]) -> npt.NDArray[np.float32]:
        encoded = encoder.encode(texts)  # of long texts the first window is seen
        states = np.zeros((len(texts), model.config.hidden_size), dtype=np.float32)
        for batch in batches(encoded, _BATCH_TOKENS):
            ids, mask = map(torch.from_numpy, encoder.pad([encoded[i].ids[0] for i in batch]))
            out = model.base_model(input_ids=ids, attention_mask=mask)
            states[batch] = out.last_hidden_state[:, 0].numpy()
        return states

    return see
