"""Label maps, measured: how a model's own answers agree with what is known of the texts.

Arrays and names only. Rules and the LLM say what a label means; here the verdicts say it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from meta_controller.candidates import LEAST_LABELS, MapSource

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

Z = 1.645
"""One-sided 95 %: what a comparison on a sample must show before it is believed."""

Z_LEARNED = 2.5
"""The same for a map that the sample taught: cross-fitted answers vary more than independent ones.
A test lets models guess 300 times: fewer than one in twenty is believed."""

_FOLDS = 5
_LEAST_SHARE = 1e-9


@dataclass(frozen=True)
class OwnVotes:
    """What a model answers to texts in its own labels: (texts, own labels), rows sum to 1.

    `independent` when its labels do not exclude each other (a sigmoid each).
    """

    labels: tuple[str, ...]
    votes: Floats = field(repr=False)
    independent: bool = False


@dataclass(frozen=True)
class Mapped:
    """A model's answers in the project's labels, by the map that is used.

    `votes` (texts, labels) are NaN for labels it does not know; `doubt` says why the map, or the
    model under it, is not to be believed; `better` is a map that agrees better with the verdicts
    than the one that its names mean: shown to people, not used.
    """

    label_map: Mapping[str, str]
    mapped_by: MapSource
    votes: Floats = field(repr=False)
    doubt: str = ""
    better: Mapping[str, str] = field(default_factory=dict)


def settle(
    own: OwnVotes,
    label_map: Mapping[str, str],
    mapped_by: MapSource,
    names: Sequence[str],
    truth: Ints | None,
) -> Mapped:
    """Choose the map of one model; `truth` (texts,) are indices of `names`, None when unknown.

    What names mean by the rules, or a person said, stands: a model that contradicts its own names
    is not to be believed, and gets a doubt instead of another map. An LLM's suggestion is a guess:
    the map that agrees best takes its place when it agrees better, and the place of none at all.
    """
    stated = project(own, label_map, names) if label_map else None
    learned = None if truth is None else cross_fitted(own, names, truth)
    if truth is None or learned is None:
        if stated is None:
            return Mapped({}, mapped_by, _nothing(own, names), "nobody knows what its labels mean")
        return Mapped(label_map, mapped_by, stated, _doubt(stated, truth, len(names)))
    fitted = learned_map(own, names, truth)
    if stated is None:
        return Mapped(fitted, "verdicts", learned, _doubt(learned, truth, len(names), Z_LEARNED))
    doubt = _doubt(stated, truth, len(names))
    better = is_better(right(learned, truth), right(stated, truth)) and fitted != dict(label_map)
    if mapped_by == "LLM" and (better or doubt):
        return Mapped(fitted, "verdicts", learned, _doubt(learned, truth, len(names), Z_LEARNED))
    return Mapped(label_map, mapped_by, stated, doubt, fitted if better else {})


def project(own: OwnVotes, label_map: Mapping[str, str], names: Sequence[str]) -> Floats:
    """Own votes as votes (texts, labels) of the project, NaN for labels that the map lacks.

    As the served committee does it for a choice of one: what means the same adds up (of
    independent labels the strongest counts), and the rest is conditional on the known labels.
    """
    merge = np.max if own.independent else np.sum
    votes = _nothing(own, names)
    for column, name in enumerate(names):
        sources = [i for i, label in enumerate(own.labels) if label_map.get(label) == name]
        if sources:
            votes[:, column] = np.maximum(merge(own.votes[:, sources], axis=1), _LEAST_SHARE)
    known = ~np.isnan(votes).all(axis=0)
    votes[:, known] /= votes[:, known].sum(axis=1, keepdims=True)
    return votes


def learned_map(own: OwnVotes, names: Sequence[str], truth: Ints) -> dict[str, str]:
    """The map that agrees best: each own label means where its votes are highest on average.

    Averages are within the texts of a project label, so that a frequent one draws no more than a
    rare one. Empty when all own labels come to mean the same.
    """
    seen = [index for index in range(len(names)) if (truth == index).any()]
    means = np.array([own.votes[truth == index].mean(axis=0) for index in seen])
    if len(seen) < LEAST_LABELS:
        return {}
    best = means.argmax(axis=0)  # (own labels,)
    if len(set(best.tolist())) < LEAST_LABELS:
        return {}
    return {label: names[seen[index]] for label, index in zip(own.labels, best, strict=True)}


def cross_fitted(own: OwnVotes, names: Sequence[str], truth: Ints) -> Floats | None:
    """Votes (texts, labels), those of each fold by a map that was learned on the other folds.

    So that a map is not measured on the texts that made it. None when some fold teaches none.
    """
    votes = _nothing(own, names)
    for fold in folds(len(truth), _FOLDS):
        elsewhere = ~fold
        part = OwnVotes(own.labels, own.votes[elsewhere], own.independent)
        found = learned_map(part, names, truth[elsewhere])
        if not found:
            return None
        here = OwnVotes(own.labels, own.votes[fold], own.independent)
        votes[fold] = project(here, found, names)
    return votes


def folds(count: int, parts: int) -> list[Bools]:
    """Masks (count,) that cut a sample into parts, by chance but always alike."""
    part = np.random.default_rng(0).permutation(count) % parts
    return [part == number for number in range(min(parts, count))]


def said(votes: Floats) -> Ints:
    """The label (texts,) that votes (texts, labels) name."""
    found: Ints = np.argmax(np.nan_to_num(votes, nan=-1.0), axis=1)
    return found


def right(votes: Floats, truth: Ints) -> Bools:
    """Which texts (texts,) are answered as it is known."""
    found: Bools = said(votes) == truth
    return found


def kappa(one: Ints, other: Ints, labels: int) -> tuple[float, float]:
    """Cohen's kappa of two answers (texts,), and its standard error if they had nothing in common.

    1 is agreement, 0 what chance gives, below 0 contradiction (Cohen, Educational and
    Psychological Measurement 20, 1960, with his standard error under chance).
    """
    agreed = float((one == other).mean())
    shares = [np.bincount(said, minlength=labels) / len(one) for said in (one, other)]
    chance = float(shares[0] @ shares[1])
    if chance >= 1.0:
        return 0.0, 0.0
    return (agreed - chance) / (1 - chance), float(np.sqrt(chance / (len(one) * (1 - chance))))


def is_better(one: Bools, other: Bools) -> bool:
    """Whether paired answers (texts,) are right more often, beyond Z standard errors."""
    gain = one.astype(np.float64) - other
    return bool(gain.mean() > Z * standard_error(gain))


def standard_error(values: Floats) -> float:
    """The standard error of the mean of values (texts,)."""
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("inf")


def _doubt(votes: Floats, truth: Ints | None, labels: int, z: float = Z) -> str:
    if truth is None:
        return ""
    agreement, error = kappa(said(votes), truth, labels)
    if agreement > z * error:
        return ""
    if agreement < -z * error:
        return "it contradicts the verdicts: its labels seem to mean something else"
    return "it agrees with the verdicts no better than chance"


def _nothing(own: OwnVotes, names: Sequence[str]) -> Floats:
    return np.full((len(own.votes), len(names)), np.nan)
