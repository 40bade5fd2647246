"""Which text of a task a control is about: templates, nested fields, dialogues and HTML.

Variables mean what they mean in the editor of Label Studio 1.23.2 (`parseValue` in its
`utils/data.js`): `$field`, `$a.b`, `$a[0].text`, alone or within other words; a key that has dots
itself is looked for first. Knows no XML: `label_config` tells which tag is read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from html import unescape
from typing import Any, Literal

Form = Literal["text", "html", "dialogue"]

MAX_CHARS = 1_000_000
"""Of a text: models read 65,536 of them at most (specialists/encoder.py), the rest is not kept."""

_MAX_VARIABLES = 100  # in one template: each may stand for MAX_CHARS
_VARIABLE = re.compile(r"\$([\w\[\].{}]+)")
_KEY = re.compile(r"[^.\[\]]+")
_INDEX = re.compile(r"[0-9]{1,9}")
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
class TextSource:
    """Where a text lies in a task's data, and in what form.

    `value` is a template such as `$text` or `Title: $title`. Of a dialogue, a list of turns,
    `name_key` is the key of who speaks and `text_key` that of what is said.
    """

    value: str
    form: Form = "text"
    name_key: str = "author"
    text_key: str = "text"

    def read(self, data: Mapping[str, Any]) -> str:
        """Take the text from a task's data, MAX_CHARS at most.

        It is empty when none of its variables has a value.
        """
        whole = _VARIABLE.fullmatch(self.value)
        if self.form == "dialogue":
            return self._dialogue(_find(data, whole[1]))[:MAX_CHARS] if whole else ""
        text = _plain(_find(data, whole[1])) if whole else self._filled(data)
        return (visible_text(text) if self.form == "html" else text)[:MAX_CHARS]

    def _filled(self, data: Mapping[str, Any]) -> str:
        """The template with its variables filled in; what a task lacks is left out."""
        names = _VARIABLE.findall(self.value)
        found = {name: _plain(_find(data, name))[:MAX_CHARS] for name in names}
        if not any(text.strip() for text in found.values()):
            return ""
        return _VARIABLE.sub(lambda variable: found[variable[1]], self.value)

    def _dialogue(self, turns: Any) -> str:
        """One line a turn, `Name: what is said`."""
        lines = []
        for turn in turns if isinstance(turns, list) else ():
            if isinstance(turn, Mapping):
                name, said = (
                    _plain(turn.get(key)).strip() for key in (self.name_key, self.text_key)
                )
                if said:
                    lines.append(f"{name}: {said}" if name else said)
        return "\n".join(lines)


def has_variable(value: str) -> bool:
    """Whether a template takes anything from a task, and not absurdly much."""
    return 0 < len(_VARIABLE.findall(value)) <= _MAX_VARIABLES


def _find(data: Mapping[str, Any], path: str) -> Any:
    """Look a variable up; None where a task has no such field."""
    if path in data:
        return data[path]
    found: Any = data
    for key in _KEY.findall(path):
        if isinstance(found, Mapping):
            found = found.get(key)
        elif isinstance(found, list) and _INDEX.fullmatch(key):
            found = found[int(key)] if int(key) < len(found) else None
        else:
            return None
    return found


def _plain(value: Any) -> str:
    """A value as text: strings and numbers, lists of them as lines, nothing else."""
    if isinstance(value, list):
        return "\n".join(filter(None, (_plain(one) for one in value if not isinstance(one, list))))
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    return str(value)


def visible_text(page: str) -> str:
    """Strip what a reader of the HTML page would not see and fold its white space.

    Runs in linear time on any input, which `html.parser` does not (a megabyte of `<a ` takes it
    hours). Like a browser, an unclosed tag or comment swallows the rest.
    """
    return " ".join(unescape(_MARKUP.sub(_gap, page)).split())


def _gap(markup: re.Match[str]) -> str:
    """Keep the words of two paragraphs apart, but not the letters of one word."""
    return "" if (markup["tag"] or "").lower() in _INLINE else " "
