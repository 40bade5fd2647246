"""The XML of a label config, read as Label Studio's editor reads it: names in any case.

It comes from strangers: its size is bounded and document types (and so entities) are refused, as
Label Studio itself does. Knows no tag's meaning.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from xml.etree import ElementTree

from backend.errors import LabelConfigError

MAX_CONFIG_BYTES = 1_048_576
"""Thousands of choices fit into 200 kB; more than this is no label config."""

_SHOWN_CHARS = 60  # of a name in a message

FIX = (
    "Give the project a <Choices>, <Taxonomy> or <Rating> tag whose toName names a <Text>, "
    '<HyperText> or <Paragraphs> tag, with value="$field" for a field that holds the text itself.'
)


@dataclass(frozen=True)
class Tag:
    """One XML element with lower-case names: the editor does not tell `toName` from `toname`."""

    kind: str
    attributes: Mapping[str, str]
    element: ElementTree.Element

    @classmethod
    def of(cls, element: ElementTree.Element) -> Tag:
        """Read an element."""
        attributes = {name.lower(): value for name, value in element.attrib.items()}
        return cls(element.tag.lower(), attributes, element)

    def __getitem__(self, name: str) -> str:
        return self.exact(name).strip()

    def exact(self, name: str) -> str:
        """An attribute with the white space around it, which is part of a label's name."""
        return self.attributes.get(name, "")

    def says(self, name: str) -> bool:
        """Whether an attribute is "true"."""
        return self[name].lower() == "true"

    def __str__(self) -> str:
        return f"{_short(self.element.tag)} '{_short(self['name'])}'"


def _short(name: str) -> str:
    return name if len(name) <= _SHOWN_CHARS else f"{name[:_SHOWN_CHARS]}..."


def tags_of(xml: str) -> list[Tag]:
    """All tags of a label config, in its order.

    Raises LabelConfigError when it is not XML or could be expensive to parse.
    """
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
        return [Tag.of(element) for element in ElementTree.fromstring(xml).iter()]
    except (ElementTree.ParseError, ValueError) as error:
        raise LabelConfigError(
            "Not XML", f"The label config does not parse: {error}.", FIX
        ) from error
