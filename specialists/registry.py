"""Which specialists there are: the embedded six, the paper's six, and any other by its id.

It makes references (`SpecialistRef`); it loads nothing and knows nothing of weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath

from specialists.errors import SpecialistUnavailable
from specialists.label_map import match
from specialists.types import LabelSet, SpecialistRef

EMBEDDED_PREFIX = "embedded:"
GENERATED_PREFIX = "generated:"
SIMILARITY = "similarity"
"""The embedded member that compares texts with what labels are called: it was taught nothing."""

# Family -> adapter -> its own labels in the order of its outputs.
EMBEDDED: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "sentiment": {
        "sentiment-reviews": ("negative", "positive"),
        "sentiment-tweets": ("negative", "neutral", "positive"),
        "sentiment-finance": ("negative", "neutral", "positive"),
    },
    "toxicity": {
        "toxicity-comments": ("non-toxic", "toxic"),
        "toxicity-tweets": ("non-toxic", "toxic"),
        "toxicity-implicit": ("non-toxic", "toxic"),
    },
}

EMBEDDED_LANGUAGES = ("en",)
"""What the embedded specialists read (ISO 639-1); a Hub model's card says it of that model."""

# Family -> short name -> Hub id: the two committees of arXiv 2506.16393.
PAPER_MEMBERS: Mapping[str, Mapping[str, str]] = {
    "sentiment": {
        "twitter-roberta": "cardiffnlp/twitter-roberta-base-sentiment-latest",
        "twitter-xlm-roberta": "cardiffnlp/twitter-xlm-roberta-base-sentiment",
        "bertweet": "finiteautomata/bertweet-base-sentiment-analysis",
    },
    "toxicity": {
        "roberta-toxicity": "s-nlp/roberta_toxicity_classifier",
        "bert-toxic": "JungleLee/bert-toxic-comment-classification",
        "toxic-comment": "garak-llm/toxic-comment-model",
    },
}


def embedded_names() -> tuple[str, ...]:
    """The names of the adapters that ship with the package, as in `embedded:<name>`."""
    return tuple(name for family in EMBEDDED.values() for name in family)


def embedded_labels(name: str) -> tuple[str, ...]:
    """The own labels of one embedded specialist; raises SpecialistUnavailable for other names."""
    for family in EMBEDDED.values():
        if name in family:
            return family[name]
    known = ", ".join(embedded_names())
    raise SpecialistUnavailable(
        f"{EMBEDDED_PREFIX}{name}", "no such adapter ships with this version", f"use one of {known}"
    )


def default_members(wanted: LabelSet) -> list[SpecialistRef]:
    """The embedded committee whose labels fit the project best; empty when none fits.

    A member fits when its labels map to at least two of the project's: with fewer it has no choice
    to make.
    """
    committees = [_fitting(family, wanted) for family in EMBEDDED.values()]
    return max(committees, key=lambda refs: len({n for ref in refs for n in _covered(ref)}))


def first_members(labels: LabelSet, descriptions: Mapping[str, str]) -> list[SpecialistRef]:
    """Who votes at first: the embedded committee that fits, else, of single choice, similarity."""
    fitting = default_members(labels)
    return fitting or ([] if labels.multiple else [similarity(labels, descriptions)])


def similarity(labels: LabelSet, descriptions: Mapping[str, str]) -> SpecialistRef:
    """The member for labels that nobody knows; `descriptions` are by label, where there are any.

    Its own labels are what the project's are called and said to mean. What is said of two labels
    belongs to the first; a name always to its own.
    """
    phrases = {name: name for name in labels.names}
    for label in labels.labels:
        for phrase in (*label.synonyms, descriptions.get(label.name, "")):
            if phrase:
                phrases.setdefault(phrase, label.name)
    return SpecialistRef(SIMILARITY, EMBEDDED_PREFIX + SIMILARITY, phrases)


def is_similarity(source: str) -> bool:
    """Whether a source is the member that was taught nothing."""
    return source == EMBEDDED_PREFIX + SIMILARITY


def is_trainable(source: str) -> bool:
    """Whether a stage trains it: generated code stays as it was approved, similarity as it is."""
    return not source.startswith(GENERATED_PREFIX) and not is_similarity(source)


def pinned(source: str) -> tuple[str, str]:
    """A Hub id and its revision: `org/name@commit` is pinned, `org/name` follows "main"."""
    hub_id, _, revision = source.partition("@")
    return hub_id, revision or "main"


def member(source: str, wanted: LabelSet, own: Sequence[str]) -> SpecialistRef:
    """Refer to a Hub id, a local folder or an embedded adapter whose own labels are `own`.

    Raises SpecialistUnavailable when none of its labels matches one of the project's.
    """
    label_map = match(own, wanted, model=pinned(source)[0])
    if not label_map:
        raise SpecialistUnavailable(
            source,
            f"its labels ({', '.join(own)}) match none of the project's "
            f"({', '.join(wanted.names)})",
            "name the equivalents in the labels' alias attributes or choose another model",
        )
    return SpecialistRef(short_name(source), source, label_map)


def unmatched(source: str) -> SpecialistRef:
    """Refer to a source whose labels are matched when it is loaded: no config is read for it."""
    return SpecialistRef(short_name(source), source, {})


def _fitting(family: Mapping[str, tuple[str, ...]], wanted: LabelSet) -> list[SpecialistRef]:
    refs = [
        SpecialistRef(name.partition("-")[2], EMBEDDED_PREFIX + name, match(own, wanted))
        for name, own in family.items()
    ]
    return [ref for ref in refs if len(_covered(ref)) >= 2]


def _covered(ref: SpecialistRef) -> set[str]:
    """The project labels that a member knows."""
    return set(ref.label_map.values())


def short_name(source: str) -> str:
    """The name under which people see a member: the paper's short one, or the id's last part."""
    if source.startswith(GENERATED_PREFIX):
        return source.replace(":", "-")
    for family in PAPER_MEMBERS.values():
        for name, hub_id in family.items():
            if hub_id == pinned(source)[0]:
                return name
    if source.startswith(EMBEDDED_PREFIX):
        return source.removeprefix(EMBEDDED_PREFIX).split("-", 1)[-1]
    return PurePath(pinned(source)[0]).name
