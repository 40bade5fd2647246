"""A project's label config: which controls classify which text, with which labels.

Reads Label Studio's XML and the task data that it names. Knows `Choices` over `Text` and
`HyperText`; every other tag is left alone. Knows nothing of predictions or annotations. The XML
comes from strangers: its size is bounded and document types (and so entities) are refused, as
Label Studio itself does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from html import unescape
from typing import Any
from xml.etree import ElementTree

from backend.errors import LabelConfigError
from specialists.types import Label, LabelSet

MAX_CONFIG_BYTES = 1_048_576
"""Thousands of choices fit into 200 kB; more than this is no label config."""

MAX_DESCRIPTION_CHARS = 500
MAX_GUIDELINE_CHARS = 20_000
"""Some 5,000 tokens, sent with every call to the LLM: more than ten pages of instructions."""

_FIX = "Give the project a <Choices> tag whose toName names a <Text> or <HyperText> tag."
_RATIONALE_NAMES = ("rationale", "reason", "explanation")
_VARIABLE = re.compile(r"\$([^\s$]+)")
_INLINE = frozenset("a abbr b code em font i mark small span strong sub sup u".split())

# The attributes and the end of a tag; a ">" inside a quoted value does not end it.
_TAG_REST = r"""(?:[^>=]++|=\s*+(?:"[^"]*+"|'[^']*+')?+)*+(?:>|\Z)"""

# Every alternative that starts also matches, if need be up to the end of the text: no start is
# tried twice, and that is what makes the substitution linear.
_MARKUP = re.compile(
    rf"""<!--(?:-?>|.*?(?:--!?>|\Z))
    |<(?P<hidden>script|style)(?=[\s/>]){_TAG_REST}.*?(?:</(?P=hidden)(?=[\s/>])[^>]*+(?:>|\Z)|\Z)
    |</?+(?P<tag>[a-z][^\s/>]*+){_TAG_REST}
    |<[!?/][^>]*+(?:>|\Z)""",
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)


@dataclass(frozen=True)
class Control:
    """One `Choices` tag: what it asks and about which text.

    `field` is the key of the text in the task's data; `rationale` names the TextArea beside it
    that shows people why a label was proposed, if the project has one. `descriptions` are what the
    project says of its labels, by name.
    """

    name: str
    to_name: str
    labels: LabelSet
    field: str
    html: bool
    rationale: str | None
    descriptions: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class _Tag:
    """One XML element with lower-case names, as Label Studio's editor reads it."""

    kind: str
    attributes: Mapping[str, str]
    element: ElementTree.Element

    def __getitem__(self, name: str) -> str:
        return self.attributes.get(name, "").strip()


def parse(xml: str) -> tuple[Control, ...]:
    """Read the classification controls of a label config, in its order.

    Raises LabelConfigError when it is not XML or nothing in it classifies text.
    """
    tags = [_tag(element) for element in _root(xml).iter()]
    objects = {tag["name"]: tag for tag in tags if _holds_text(tag)}
    areas = [tag for tag in tags if tag.kind == "textarea"]
    found = (_control(tag, objects, areas) for tag in tags if tag.kind == "choices")
    controls = tuple(control for control in found if control is not None)
    if not controls:
        raise LabelConfigError("Nothing to classify", _found(tags), _FIX)
    return controls


def text_of(control: Control, data: Mapping[str, Any]) -> str | None:
    """Take the control's text from a task's data; None when there is nothing usable."""
    value = data.get(control.field)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    text = _visible_text(value) if control.html and isinstance(value, str) else str(value)
    return _encodable(text).strip() or None


def _encodable(text: str) -> str:
    """Replace halves of surrogate pairs, legal in JSON, which no tokenizer or LLM takes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode(errors="replace").decode()
    return text


def _root(xml: str) -> ElementTree.Element:
    """Parse the XML, refusing what could make parsing expensive."""
    size = len(xml.encode("utf-8", "surrogatepass"))
    if size > MAX_CONFIG_BYTES:
        raise LabelConfigError(
            "Label config too large",
            f"It has {size} bytes; at most {MAX_CONFIG_BYTES} are read.",
            "Shorten it.",
        )
    if "<!DOCTYPE" in xml:
        raise LabelConfigError(
            "Not a label config", "It has a document type.", "Remove <!DOCTYPE>."
        )
    try:
        return ElementTree.fromstring(xml)
    except (ElementTree.ParseError, ValueError) as error:
        raise LabelConfigError(
            "Not XML", f"The label config does not parse: {error}.", _FIX
        ) from error


def _tag(element: ElementTree.Element) -> _Tag:
    """Normalise names: the editor does not tell `toName` from `toname`."""
    attributes = {name.lower(): value for name, value in element.attrib.items()}
    return _Tag(element.tag.lower(), attributes, element)


def _holds_text(tag: _Tag) -> bool:
    """Whether the tag shows text that lies in the task itself, not behind a URL."""
    return tag.kind in ("text", "hypertext") and tag["valuetype"] != "url" and bool(_field(tag))


def _field(tag: _Tag) -> str:
    """Return the one variable of a tag's value (`$text` -> `text`), or an empty string."""
    names = _VARIABLE.findall(tag["value"])
    return names[0] if len(names) == 1 else ""


def _control(tag: _Tag, objects: Mapping[str, _Tag], areas: Iterable[_Tag]) -> Control | None:
    """Build the control of one Choices tag; None when it does not classify a whole text."""
    target = next((name for name in _targets(tag) if name in objects), None)
    labels = _labels(tag)
    per_part = "true" in (tag["perregion"].lower(), tag["peritem"].lower())
    if target is None or not labels or not tag["name"] or per_part:
        return None
    return Control(
        name=tag["name"],
        to_name=target,
        labels=LabelSet(labels, multiple=tag["choice"] == "multiple"),
        field=_field(objects[target]),
        html=objects[target].kind == "hypertext",
        rationale=next((area["name"] for area in areas if _explains(area, target)), None),
        descriptions=tuple(_descriptions(tag)),
    )


def _targets(tag: _Tag) -> list[str]:
    """List the objects that a control points at."""
    return [name.strip() for name in tag["toname"].split(",")]


def _explains(area: _Tag, target: str) -> bool:
    """Whether a TextArea is there to show a rationale, not to be written in."""
    read_only = area["editable"].lower() == "false"
    named = area["name"].lower() in _RATIONALE_NAMES
    return bool(area["name"]) and target in _targets(area) and (read_only or named)


def _labels(choices: _Tag) -> tuple[Label, ...]:
    """Read the labels of one Choices tag, each name once.

    Results carry the alias where there is one; the value shown to people becomes a synonym, and
    so do `predicted_values`. Of nested choices the outermost are labels.
    """
    labels: dict[str, Label] = {}
    for element in _outermost(choices.element):
        tag = _tag(element)
        name = tag["alias"] or tag["value"]
        shown = [tag["value"], *tag["predicted_values"].split(",")]
        synonyms = dict.fromkeys(word.strip() for word in shown)
        if name:
            labels.setdefault(name, Label(name, tuple(w for w in synonyms if w and w != name)))
    return tuple(labels.values())


def _descriptions(choices: _Tag) -> Iterator[tuple[str, str]]:
    """What people read beside each label: the `hint`, and `html` shown in place of its value."""
    for element in _outermost(choices.element):
        tag = _tag(element)
        name = tag["alias"] or tag["value"]
        shown = _visible_text(tag["html"])
        said = dict.fromkeys(text for text in (shown, tag["hint"]) if text)
        told = " ".join(text for text in said if text.casefold() != tag["value"].casefold())
        if name and told:
            yield name, told[:MAX_DESCRIPTION_CHARS]


def guideline_of(project: Mapping[str, Any]) -> str:
    """How a project wants to be labelled: its description, and its instructions, which are HTML."""
    described = " ".join(str(project.get("description") or "").split())
    told = (described, _visible_text(str(project.get("expert_instruction") or "")))
    return _encodable("\n".join(text for text in told if text)[:MAX_GUIDELINE_CHARS])


def _outermost(parent: ElementTree.Element) -> Iterator[ElementTree.Element]:
    """Walk the Choice tags below `parent` that lie in no other Choice, in document order."""
    waiting = list(parent)[::-1]
    while waiting:
        element = waiting.pop()
        if element.tag.lower() == "choice":
            yield element
        else:
            waiting.extend(list(element)[::-1])


def _found(tags: Iterable[_Tag]) -> str:
    """Say which controls a config has, for the person who has to change it."""
    controls = [f"{tag.element.tag} '{tag['name']}'" for tag in tags if tag["toname"]]
    listed = ", ".join(controls[:10]) or "none"
    return f"No Choices over text in the task were found. Controls in the label config: {listed}."


def _visible_text(page: str) -> str:
    """Strip what a reader of the HTML page would not see and fold its white space.

    Runs in linear time on any input, which `html.parser` does not (a megabyte of `<a ` takes it
    hours). Like a browser, an unclosed tag or comment swallows the rest.
    """
    return " ".join(unescape(_MARKUP.sub(_gap, page)).split())


def _gap(markup: re.Match[str]) -> str:
    """Keep the words of two paragraphs apart, but not the letters of one word."""
    return "" if (markup["tag"] or "").lower() in _INLINE else " "
