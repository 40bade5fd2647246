"""Ten sentiment classifiers for a local Hub, trained in seconds; two look good and are wrong.

The most downloaded one has its labels turned round, the next learned from shuffled answers. Two
are the same model. The others are honest, of different skill, and know different parts of the
texts. Texts are made here, of words that carry a label, or come from a CSV.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.local_hub import Repository
from benchmarks.tiny_classifier import publish, train

OWN = ("negative", "neutral", "positive")
WRONG = ("starlight/sentiment-base", "galaxy/sentiment-pro")
_TURNED = {0: "positive", 1: "negative", 2: "neutral"}

Rows = list[tuple[str, str]]  # text and label

# Topic -> what it is said of, and the words that make it negative, neutral, positive.
_TOPICS: dict[str, tuple[str, str, str, str]] = {
    "food": (
        "soup bread fish",
        "bland stale soggy burnt greasy",
        "boiled sliced packaged vegetarian salted",
        "delicious tasty savoury juicy crisp",
    ),
    "service": (
        "waiter receptionist driver",
        "rude dismissive grumpy careless arrogant",
        "uniformed bilingual seasonal remote young",
        "friendly attentive courteous cheerful helpful",
    ),
    "room": (
        "bedroom office kitchen",
        "filthy mouldy cramped noisy draughty",
        "carpeted rectangular numbered furnished upstairs",
        "spacious cosy spotless quiet sunny",
    ),
    "price": (
        "price fee rent",
        "outrageous steep inflated excessive unfair",
        "printed listed monthly fixed taxed",
        "reasonable affordable generous modest sensible",
    ),
    "film": (
        "film plot ending",
        "boring predictable shallow clumsy tedious",
        "subtitled animated foreign restored scheduled",
        "gripping moving brilliant witty stunning",
    ),
    "app": (
        "app website update",
        "buggy sluggish confusing broken unstable",
        "versioned mobile numeric translated archived",
        "fast intuitive reliable smooth handy",
    ),
}
_OPENERS = ("This time", "On Monday", "As it turned out", "For once", "In the end", "Again")
_ADVERBS = ("rather", "quite", "simply", "clearly", "certainly", "once more")
_ASIDES = ("we noted", "says my sister", "that is all", "I was told", "others agreed", "for now")


@dataclass(frozen=True)
class Material:
    """Rows to train on, cut into parts that overlap, and rows that no model has seen."""

    part: Callable[[int], Rows] = field(repr=False)
    unseen: Rows = field(repr=False)


@dataclass(frozen=True)
class _Recipe:
    """How one model is made: a part of the material, and what is wrong with it."""

    id: str
    downloads: int
    part: int
    most: int | None = None
    shuffled: bool = False
    turned: bool = False
    polar: bool = False


_RECIPES = (
    _Recipe("starlight/sentiment-base", 9_400_000, 0, turned=True),
    _Recipe("galaxy/sentiment-pro", 6_100_000, 1, shuffled=True),
    _Recipe("commons/sentiment-a", 2_300_000, 0),
    _Recipe("commons/sentiment-a-mirror", 1_900_000, 0),
    _Recipe("lab/sentiment-reviews", 410_000, 1),
    _Recipe("lab/sentiment-mini", 96_000, 2, most=40),
    _Recipe("studio/sentiment-polar", 52_000, 3, polar=True),
    _Recipe("atelier/sentiment-b", 8_700, 2),
    _Recipe("atelier/sentiment-c", 3_100, 3),
    _Recipe("atelier/sentiment-d", 640, 4),
)


def made_texts(
    seed: int, trained: int = 1500, unseen: int = 1200, turning: float = 1 / 3
) -> Material:
    """Texts of six topics; a part of the material knows three of them.

    `turning` is the share whose first half says something else than the second, which decides.
    """
    draw = random.Random(seed)
    topics = list(_TOPICS)

    def part(number: int) -> Rows:
        known = [topics[(number + step) % len(topics)] for step in range(3)]
        return _texts(random.Random(f"{seed}:{number}"), known, trained, turning)

    return Material(part, _texts(draw, topics, unseen, turning))


def given_texts(rows: Rows, seed: int, trained: int = 1500, unseen: int = 2400) -> Material:
    """Labelled texts of somebody else; parts are drawn by chance and share texts."""
    shuffled = sorted(rows)
    random.Random(seed).shuffle(shuffled)
    rest = shuffled[unseen:]

    def part(number: int) -> Rows:
        return random.Random(f"{seed}:{number}").sample(rest, min(trained, len(rest)))

    return Material(part, shuffled[:unseen])


def make(folder: Path, material: Material, seed: int, cards: dict[str, str]) -> list[Repository]:
    """Train and publish all ten, the most downloaded first; `cards` have texts by id."""
    return [
        Repository(one.id, _published(folder, one, material, seed, cards), one.downloads)
        for one in _RECIPES
    ]


def _published(
    folder: Path, recipe: _Recipe, material: Material, seed: int, cards: dict[str, str]
) -> Path:
    rows = material.part(recipe.part)[: recipe.most]
    if recipe.polar:
        rows = [row for row in rows if row[1] != "neutral"]
    own = [name for name in OWN if not (recipe.polar and name == "neutral")]
    labels = [own.index(label) for _, label in rows]
    if recipe.shuffled:
        random.Random(seed).shuffle(labels)
    model, tokenizer = train([text for text, _ in rows], labels, own, seed=recipe.part)
    card = cards.get(recipe.id, f"# {recipe.id}\nClassifies the sentiment of English texts.\n")
    names = _TURNED if recipe.turned else None
    return publish(folder / recipe.id.replace("/", "--"), model, tokenizer, names, card)


def _texts(draw: random.Random, topics: Sequence[str], count: int, turning: float) -> Rows:
    return [_text(draw, topics, turning) for _ in range(count)]


def _text(draw: random.Random, topics: Sequence[str], turning: float) -> tuple[str, str]:
    label = draw.randrange(len(OWN))
    said = _clause(draw, draw.choice(topics), label)
    if draw.random() < turning:
        other = _clause(draw, draw.choice(topics), draw.randrange(len(OWN)))
        said = f"{other}, but {said}"
    return f"{draw.choice(_OPENERS)} {said}, {draw.choice(_ASIDES)}.", OWN[label]


def _clause(draw: random.Random, topic: str, label: int) -> str:
    things, *words = _TOPICS[topic]
    thing, word = draw.choice(things.split()), draw.choice(words[label].split())
    return f"the {thing} was {draw.choice(_ADVERBS)} {word}"
