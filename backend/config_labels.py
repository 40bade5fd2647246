"""Which labels a control lets people choose, read from its XML: flat ones, paths, or stars.

Results carry the alias where there is one; what people see instead becomes a synonym, and so do
`predicted_values`. Of paths only the leaves are labels: their parents are implied.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from backend.config_xml import Tag
from backend.errors import LabelConfigError
from backend.regions import MAX_DEPTH, Kind, name_of
from backend.task_text import visible_text
from specialists.types import Label, LabelSet

MAX_DESCRIPTION_CHARS = 500
MAX_RATING = 100
MAX_LABELS = 5000
"""Of one control: each is compared with every text, and stored with every vote."""

CONTROLS = ("choices", "taxonomy", "rating")
"""The kinds of tags that classify."""

_DEFAULT_RATING = "5"  # of Label Studio

_Path = tuple[Tag, ...]  # Choice tags, the outermost first


@dataclass(frozen=True)
class Answers:
    """What can be answered under a control, and what the project says of its labels, by name."""

    kind: Kind
    labels: LabelSet
    descriptions: tuple[tuple[str, str], ...] = ()


def answers_of(control: Tag) -> Answers:
    """Read a Choices, Taxonomy or Rating tag; without labels where the config has none.

    Raises LabelConfigError when they are nested deeper than MAX_DEPTH, or more than MAX_LABELS.
    """
    if control.kind == "rating":
        return _rating(control)
    if control.kind == "taxonomy":
        return _choices(control, "taxonomy", multiple=control["maxusages"] != "1")
    nested = control.says("allownested")
    return _choices(
        control, "nested choices" if nested else "choices", control["choice"] == "multiple"
    )


def _rating(control: Tag) -> Answers:
    """The stars, from one to all."""
    most = control["maxrating"] or _DEFAULT_RATING
    count = int(most) if re.fullmatch("[0-9]{1,3}", most) else 0
    stars = range(1, count + 1) if count <= MAX_RATING else range(0)
    labels = tuple(Label(str(n), (f"{n} stars" if n > 1 else "1 star",)) for n in stars)
    ends = (("1", "the lowest"), (str(count), "the highest")) if count > 1 else ()
    return Answers("rating", LabelSet(labels), ends if labels else ())


def _choices(control: Tag, kind: Kind, multiple: bool) -> Answers:
    """The choices below a tag, each name once."""
    found: dict[str, _Path] = {}
    for path in _outermost(control.element) if kind == "choices" else _leaves(control.element):
        parts = [choice.exact("alias") or choice.exact("value") for choice in path]
        if all(part.strip() for part in parts):
            found.setdefault(parts[0] if kind == "choices" else name_of(parts), path)
    if len(found) > MAX_LABELS:
        raise LabelConfigError(
            "Too many labels",
            f"{control} has {len(found)}; at most {MAX_LABELS} can be told apart.",
            "Leave labels out, or ask in two steps.",
        )
    shared = Counter(word.casefold() for path in found.values() for word in {*_own(path)})
    labels = tuple(Label(name, _synonyms(name, path, shared)) for name, path in found.items())
    described = ((name, _description(path)) for name, path in found.items())
    return Answers(kind, LabelSet(labels, multiple), tuple(pair for pair in described if pair[1]))


def _outermost(parent: Element) -> Iterator[_Path]:
    """Walk the Choice tags that lie in no other Choice, in document order."""
    waiting = list(parent)[::-1]
    while waiting:
        tag = Tag.of(waiting.pop())
        if tag.kind == "choice":
            yield (tag,)
        elif tag.kind not in CONTROLS:  # one within another has labels of its own
            waiting.extend(list(tag.element)[::-1])


def _leaves(parent: Element) -> Iterator[_Path]:
    """Walk the Choice tags that hold no other, each after those around it, in document order."""
    waiting: list[tuple[_Path, Element]] = [((), parent)]
    while waiting:
        above, around = waiting.pop()
        if len(above) > MAX_DEPTH:
            raise LabelConfigError(
                "Choices nested too deep",
                f"They are nested more than {MAX_DEPTH} levels deep.",
                "Leave levels out.",
            )
        inner = list(_outermost(around))
        if not inner and above:
            yield above
        waiting.extend(((*above, *choice), choice[0].element) for choice in inner[::-1])


def _own(path: _Path) -> tuple[str, ...]:
    """What the last choice of a path is called, in results and by people."""
    names = (path[-1]["alias"], path[-1]["value"])
    return tuple(name for name in names if name)


def _synonyms(name: str, path: _Path, shared: Counter[str]) -> tuple[str, ...]:
    """Other spellings of a label; of a path also its last part, where no other one ends so."""
    if len(path) > 1:
        own = [word for word in _own(path) if shared[word.casefold()] == 1]
        shown = [name_of(choice["value"] or choice["alias"] for choice in path), *own]
    else:
        shown = [path[0]["value"]]
    words = (word.strip() for word in (*shown, *path[-1]["predicted_values"].split(",")))
    return tuple(word for word in dict.fromkeys(words) if word and word != name)


def _description(path: Sequence[Tag]) -> str:
    """What people read beside a label and its parents."""
    return " ".join(filter(None, map(_told, path)))[:MAX_DESCRIPTION_CHARS]


def _told(choice: Tag) -> str:
    """What people read beside a choice: the `hint`, and `html` shown in place of its value."""
    said = dict.fromkeys(text for text in (visible_text(choice["html"]), choice["hint"]) if text)
    return " ".join(text for text in said if text.casefold() != choice["value"].casefold())
