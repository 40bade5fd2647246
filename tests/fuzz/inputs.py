"""What fuzzing sends: any JSON, tasks, label configs, and recorded hooks that were changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

from hypothesis import strategies as st
from served import SECRET_TEXT

HOOKS: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "unit/data/webhook_payloads.json").read_text()
)
CONFIG = (
    '<View><Text name="text" value="$text"/><Choices name="sentiment" toName="text">'
    '<Choice value="positive"/><Choice value="neutral"/><Choice value="negative"/></Choices></View>'
)

_ODD = (
    "",
    " ",
    "\x00",
    "\ud83d",
    "\udc00",
    "\u202e",
    "💥",
    "﷽",
    "\n\r\t",
    "$text",
    "<b>",
    "%00",
    "'",
)


def _deep(levels: int, inner: Any) -> Any:
    for _ in range(levels):
        inner = [inner]
    return inner


odd_texts = st.one_of(
    st.sampled_from(_ODD),
    st.text(st.characters(codec=None), max_size=30),
    st.sampled_from(
        ["x" * 70_000, SECRET_TEXT, f"so good {SECRET_TEXT}", "http://169.254.169.254/"]
    ),
)
odd_numbers = st.one_of(
    st.sampled_from([0, -1, 1, 2**31, 2**63 - 1, 2**63, 2**64, 10**30, -(10**30), 10**400]),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([5e-324, 1.7e308, -0.0]),
)
scalars = st.one_of(st.none(), st.booleans(), odd_numbers, odd_texts)
_nested = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(odd_texts, inner, max_size=4)
    ),
    max_leaves=8,
)
_refused = st.one_of(  # as a whole, so that the rest of the body is not read: rare
    st.builds(_deep, st.sampled_from([90, 110, 900, 980]), scalars),
    st.sampled_from([float("nan"), float("inf")]),
)
anything = st.integers(0, 20).flatmap(lambda one: _nested if one else _refused)
"""Any JSON value, and what Python's reader takes for one."""

project_ids = st.one_of(
    st.sampled_from([1, "1", "1.1795324913", "٣", "1.", ".1", "-1", "1e3", " 1", "9" * 5000]),
    anything,
)
tasks = st.one_of(
    st.fixed_dictionaries(
        {"data": st.fixed_dictionaries({"text": st.one_of(odd_texts, anything)})},
        optional={"id": st.one_of(st.integers(1, 50), anything), "total_annotations": anything},
    ),
    anything,
)

# Label configs

_NAMES = ("text", "sentiment", "t", "", "a b", "Ä", "x" * 300, "choices", "9", "a:b", "text,t")
_VALUES = (
    "$text",
    "$a.b[0]",
    "$",
    "$text $text",
    "positive",
    "a &gt; b",
    "x" * 3000,
    "true",
    "url",
)
_ATTRIBUTES = (
    *("name", "toName", "TONAME", "value", "alias", "hint", "html", "choice", "allowNested"),
    *("maxRating", "maxUsages", "perRegion", "perItem", "valueType", "encoding", "nameKey"),
    *("textKey", "predicted_values", "editable", "labeling", "required", "weird"),
)
_KINDS = (
    *("View", "Text", "HyperText", "Paragraphs", "Choices", "Choice", "Taxonomy", "Rating"),
    *("TextArea", "Header", "choices", "TEXT", "Labels", "Repeater", "Ünï"),
)
_attribute_values = st.one_of(
    st.sampled_from((*_NAMES, *_VALUES, "0", "5", "100", "101", "-1", "1e9", "single", "multiple")),
    st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=12),
)
_attributes = st.dictionaries(st.sampled_from(_ATTRIBUTES), _attribute_values, max_size=5)


def _tag(kind: str, attributes: dict[str, str], inner: list[str]) -> str:
    told = "".join(f" {name}={quoteattr(value)}" for name, value in attributes.items())
    return f"<{kind}{told}>{''.join(inner)}</{kind}>"


_trees = st.recursive(
    st.builds(_tag, st.sampled_from(_KINDS), _attributes, st.just([])),
    lambda inner: st.builds(
        _tag, st.sampled_from(_KINDS), _attributes, st.lists(inner, max_size=5)
    ),
    max_leaves=15,
)


@st.composite
def _choices(draw: st.DrawFn) -> str:
    """Controls that point at texts that exist, mostly: configs that are used, not refused."""
    shown = draw(st.sampled_from(["Text", "HyperText", "Paragraphs"]))
    value = draw(st.sampled_from(["$text", "$text.0", "a $text b", "$text[0]", "$x"]))
    controls = []
    for number in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(["Choices", "Taxonomy", "Rating"]))
        own = {**draw(_attributes), "name": f"c{number}", "toName": "text"}
        labels = draw(st.lists(_attribute_values, max_size=4))
        inner = [_tag("Choice", {**draw(_attributes), "value": label}, []) for label in labels]
        if draw(st.booleans()):
            inner = [_tag("Choice", {"value": "outer"}, inner)]
        controls.append(_tag(kind, own, inner))
    if draw(st.booleans()):
        controls.append(_tag("TextArea", {"name": "rationale", "toName": "text"}, []))
    return _tag("View", {}, [_tag(shown, {"name": "text", "value": value}, []), *controls])


@st.composite
def _broken(draw: st.DrawFn, whole: st.SearchStrategy[str]) -> str:
    """A config with a piece cut out, doubled or put in."""
    xml = draw(whole)
    at = draw(st.integers(0, len(xml)))
    piece = draw(
        st.sampled_from(
            [
                *("", "<", ">", "&", "&x;", "]]>", "<!--", "\x00", "\ud800", "<?pi?>", '"', "&#0;"),
                '<!DOCTYPE a [<!ENTITY x "xx">]>',
                '<?xml version="1.0" encoding="UTF-16"?>',
                "<View>" * 500,
                "<![CDATA[",
            ]
        )
    )
    return xml[:at] + piece + xml[at + draw(st.integers(0, 5)) :]


configs = st.one_of(_choices(), _trees, _broken(st.one_of(_choices(), _trees)), st.just(CONFIG))
"""Label configs: usable ones, trees of known and unknown tags, and broken ones."""


# Recorded hooks


@st.composite
def hooks(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """A recorded hook by its name, with one to four of its values replaced, left out or doubled."""
    name = draw(st.sampled_from(sorted(HOOKS)))
    body = json.loads(json.dumps(HOOKS[name]))
    for _ in range(draw(st.integers(1, 4))):
        _change(draw, body)
    return name, body


def _change(draw: st.DrawFn, value: Any) -> None:
    """Walk down from an object or a list to one of its values, and change that."""
    while value:
        keys = sorted(value) if isinstance(value, dict) else range(len(value))
        key: Any = draw(st.sampled_from(list(keys)))
        if isinstance(value[key], dict | list) and draw(st.integers(0, 3)):
            value = value[key]
            continue
        how = draw(st.sampled_from(["replace", "replace", "remove", "wrap"]))
        if how == "replace":
            value[key] = draw(anything)
        elif how == "remove":
            del value[key]
        else:
            value[key] = [value[key], value[key]]
        return
