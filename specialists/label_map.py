"""How a specialist's own labels become a project's labels.

Matching goes from certain to loose: the same spelling, the same letters, a synonym that the
project declares, a meaning from the tables below. It knows nothing of models except the order of
`LABEL_n` for the few whose documentation states it: anywhere else `LABEL_1` means nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from specialists.types import LabelSet

_MEANINGS: Mapping[str, frozenset[str]] = {
    "positive": frozenset(
        "positive pos good favorable favourable bullish 4star 5star 4stars 5stars "
        "verypositive".split()
    ),
    "negative": frozenset(
        "negative neg bad unfavorable unfavourable bearish 1star 2star 1stars 2stars "
        "verynegative".split()
    ),
    "neutral": frozenset("neutral neu 3star 3stars".split()),
    "toxic": frozenset(
        "toxic toxicity hate hateful hatespeech hs offensive offense offence abusive abuse insult "
        "obscene cyberbullying harassment unsafe severetoxic threat identityhate".split()
    ),
    "non-toxic": frozenset(
        "nontoxic nottoxic clean safe nonhate nothate nothateful nonhateful nohate nonoffensive "
        "notoffensive notabusive notcyberbullying benign harmless civil normal".split()
    ),
}
_SENTIMENT_POLES = frozenset({"positive", "negative"})

# The documented order of `LABEL_n`, by lower-case model id (the models' cards and config.json).
_SENTIMENT_ORDER = ("negative", "neutral", "positive")
_TOXICITY_ORDER = ("non-toxic", "toxic")
_ORDERS: Mapping[str, tuple[str, ...]] = {
    "cardiffnlp/twitter-roberta-base-sentiment": _SENTIMENT_ORDER,
    "cardiffnlp/twitter-roberta-base-sentiment-latest": _SENTIMENT_ORDER,
    "cardiffnlp/twitter-xlm-roberta-base-sentiment": _SENTIMENT_ORDER,
    "finiteautomata/bertweet-base-sentiment-analysis": _SENTIMENT_ORDER,
    "s-nlp/roberta_toxicity_classifier": _TOXICITY_ORDER,
    "junglelee/bert-toxic-comment-classification": _TOXICITY_ORDER,
    "garak-llm/toxic-comment-model": _TOXICITY_ORDER,
}


def match(own: Sequence[str], wanted: LabelSet, model: str = "") -> dict[str, str]:
    """Map a specialist's own labels to the project's; own labels without a match are left out.

    `model` is the specialist's id: it tells what `LABEL_n` means for the models documented here.
    A spelling or a meaning that two project labels share maps to neither.
    """
    spoken = {label: _documented(label, model) for label in own}
    by_name = {name: name for name in wanted.names}
    by_letters = _unambiguous((letters(name), name) for name in wanted.names)
    by_synonym = _unambiguous(
        (letters(word), label.name) for label in wanted.labels for word in label.synonyms
    )
    meant, wished = _meanings(spoken.values()), _project_meanings(wanted)
    found = {
        label: by_name.get(word)
        or by_letters.get(letters(word))
        or by_synonym.get(letters(word))
        or wished.get(meant.get(word, ""))
        for label, word in spoken.items()
    }
    return {label: name for label, name in found.items() if name is not None}


def _documented(label: str, model: str) -> str:
    """Read `LABEL_n` by the model's documented order; other labels stay as they are."""
    order = _ORDERS.get(model.lower(), ())
    generic = re.fullmatch(r"LABEL_(\d+)", label)
    if generic is None or int(generic[1]) >= len(order):
        return label
    return order[int(generic[1])]


def _project_meanings(wanted: LabelSet) -> dict[str, str]:
    """Find which project label carries each meaning, by its name, else by a synonym."""
    meant = _meanings(
        [word for label in wanted.labels for word in (label.name, *label.synonyms)],
    )
    pairs = []
    for label in wanted.labels:
        words = [word for word in (label.name, *label.synonyms) if word in meant]
        pairs += [(meant[word], label.name) for word in words[:1]]
    return _unambiguous(pairs)


def _meanings(words: Iterable[str]) -> dict[str, str]:
    """Look words up in the tables; words without a known meaning are left out."""
    found = {}
    for word in words:
        for meaning, spellings in _MEANINGS.items():
            if letters(word) in spellings:
                found[word] = meaning
    if "toxic" in found.values() and not _SENTIMENT_POLES & set(found.values()):
        # Toxicity models call their harmless class "neutral".
        found = {w: "non-toxic" if m == "neutral" else m for w, m in found.items()}
    return found


def _unambiguous(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Build a dictionary without the keys that lead to two different names, or are empty."""
    names: dict[str, set[str]] = {}
    for key, name in pairs:
        names.setdefault(key, set()).add(name)
    return {key: min(found) for key, found in names.items() if key and len(found) == 1}


def letters(text: str) -> str:
    """Reduce a label to its letters and digits, without case: `Not_Toxic` is `nottoxic`."""
    return re.sub(r"[\W_]+", "", text.casefold())
