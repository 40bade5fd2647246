"""A project's label config: which controls classify which text, with which labels.

Knows `Choices`, `Taxonomy` and `Rating` over `Text`, `HyperText` and `Paragraphs` whose text lies
in the task; every other tag is left alone. Knows nothing of predictions or annotations.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backend.config_labels import CONTROLS, answers_of
from backend.config_xml import FIX, MAX_CONFIG_BYTES, Tag, tags_of
from backend.errors import LabelConfigError
from backend.regions import TAKEN, Kind
from backend.task_text import Form, TextSource, has_variable, visible_text
from specialists.types import LabelSet

__all__ = ["MAX_CONFIG_BYTES", "Control", "guideline_of", "left_alone", "parse", "text_of"]

MAX_GUIDELINE_CHARS = 20_000
"""Some 5,000 tokens, sent with every call to the LLM: more than ten pages of instructions."""

MAX_CONTROLS = 50
"""Each has a committee of its own."""

MAX_NAME_CHARS = 200
"""Of a control: a part of keys and file rows."""

_FORMS: Mapping[str, Form] = {"text": "text", "hypertext": "html", "paragraphs": "dialogue"}
_RATIONALE_NAMES = ("rationale", "reason", "explanation")
_LISTED = 10


@dataclass(frozen=True)
class Control:
    """One tag that classifies: what it asks and about which text.

    `rationale` names the TextArea beside it that shows people why a label was proposed, if the
    project has one. `descriptions` are what the project says of its labels, by name.
    """

    name: str
    to_name: str
    labels: LabelSet
    text: TextSource
    kind: Kind = "choices"
    rationale: str | None = None
    descriptions: tuple[tuple[str, str], ...] = ()


def parse(xml: str) -> tuple[Control, ...]:
    """Read the classification controls of a label config, in its order.

    Raises LabelConfigError when it is not XML or nothing in it classifies text.
    """
    tags = tags_of(xml)
    controls = tuple(one for _, one in _read(tags) if isinstance(one, Control))
    if not controls:
        raise LabelConfigError("Nothing to classify", _found(tags), FIX)
    return controls


def left_alone(xml: str) -> tuple[str, ...]:
    """Say of each control that could classify a text why it does not. Raises as `parse` does."""
    read = _read(tags_of(xml))
    return tuple(f"{tag}: {why}" for tag, why in read if isinstance(why, str))


def text_of(control: Control, data: Mapping[str, Any]) -> str | None:
    """Take the control's text from a task's data; None when there is nothing usable."""
    return _encodable(control.text.read(data)).strip() or None


def guideline_of(project: Mapping[str, Any]) -> str:
    """How a project wants to be labelled: its description, and its instructions, which are HTML."""
    described = " ".join(str(project.get("description") or "").split())
    told = (described, visible_text(str(project.get("expert_instruction") or "")))
    return _encodable("\n".join(text for text in told if text)[:MAX_GUIDELINE_CHARS])


def _encodable(text: str) -> str:
    """Replace halves of surrogate pairs, legal in JSON, which no tokenizer or LLM takes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode(errors="replace").decode()
    return text


def _read(tags: Sequence[Tag]) -> list[tuple[Tag, Control | str]]:
    """Read each tag that could classify: the control, or why it is left alone."""
    asking = [tag for tag in tags if tag.kind in CONTROLS]
    if len(asking) > MAX_CONTROLS:
        raise LabelConfigError(
            "Too many controls",
            f"{len(asking)} tags could classify; at most {MAX_CONTROLS} are read.",
            "Split the project.",
        )
    objects = {tag["name"]: tag for tag in tags if tag["name"] and not tag["toname"]}
    areas = [tag for tag in tags if tag.kind == "textarea"]
    return [(tag, _control(tag, objects, areas)) for tag in asking]


def _control(tag: Tag, objects: Mapping[str, Tag], areas: Iterable[Tag]) -> Control | str:
    """Build the control of one tag; in words why not, when it does not classify a whole text."""
    if not tag["name"]:
        return "it has no name"
    if len(tag["name"]) > MAX_NAME_CHARS:
        return f"its name is longer than {MAX_NAME_CHARS} characters"
    if tag.says("perregion") or tag.says("peritem") or tag.says("labeling"):
        return "it is about parts of what is shown"
    wanted = [objects[name] for name in _targets(tag) if name in objects]
    target = next((one for one in wanted if not _unreadable(one)), None)
    if target is None:
        return next(map(_unreadable, wanted), "its toName names no tag")
    answers = answers_of(tag)
    if not answers.labels.labels:
        return "its labels are not in the label config"
    if answers.kind == "nested choices" and tag["name"] in TAKEN:
        return f"nested choices cannot be called '{tag['name']}'; give it another name"
    return Control(
        name=tag["name"],
        to_name=target["name"],
        labels=answers.labels,
        text=_source(target),
        kind=answers.kind,
        rationale=next((area["name"] for area in areas if _explains(area, target["name"])), None),
        descriptions=answers.descriptions,
    )


def _source(shown: Tag) -> TextSource:
    """Where the text of a tag lies."""
    return TextSource(
        shown["value"],
        _FORMS[shown.kind],
        shown["namekey"] or TextSource.name_key,
        shown["textkey"] or TextSource.text_key,
    )


def _unreadable(shown: Tag) -> str:
    """Why the text of a tag cannot be read from the task itself; empty when it can."""
    if shown.kind not in _FORMS:
        return f"{shown} is no text"
    if shown["valuetype"] == "url":
        return f"the text of {shown} lies behind a URL; put the text itself into the task's data"
    if shown["encoding"] not in ("", "none"):
        return f"the text of {shown} is encoded"
    if "{{" in shown["value"]:
        return f"{shown} is repeated"
    return (
        ""
        if has_variable(shown["value"])
        else f"{shown} shows no field of the task ($field), or too many"
    )


def _targets(tag: Tag) -> list[str]:
    """List the objects that a control points at."""
    return [name.strip() for name in tag["toname"].split(",")]


def _explains(area: Tag, target: str) -> bool:
    """Whether a TextArea is there to show a rationale, not to be written in."""
    read_only = area["editable"].lower() == "false"
    named = area["name"].lower() in _RATIONALE_NAMES
    return bool(area["name"]) and target in _targets(area) and (read_only or named)


def _found(tags: Sequence[Tag]) -> str:
    """Say which controls a config has, for the person who has to change it."""
    why = {id(tag): f" ({read})" for tag, read in _read(tags)}
    controls = [f"{tag}{why.get(id(tag), '')}" for tag in tags if tag["toname"]]
    listed = "; ".join(controls[:_LISTED]) or "none"
    return f"No control over text in the task was found. Controls in the label config: {listed}."
