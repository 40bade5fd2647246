"""What a request asks, as a local server that stands for an LLM reads it; and its answer in words.

Understands both wire formats and prompts about one sample or several. It knows nothing that a model
would not be told.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_SAMPLE = re.compile(
    r'<(sample-[0-9a-f]{16})(?: id="(?P<id>\w+)")?>\n(?P<text>.*?)\n</\1>', re.DOTALL
)


@dataclass(frozen=True)
class Asked:
    """One request; `ids` are empty where it asks about one sample alone.

    `words` are what an answer's label may be, "unsure" among them; None without a strict schema.
    """

    system: str = field(repr=False)
    user: str = field(repr=False)
    texts: tuple[str, ...] = field(repr=False)
    ids: tuple[str, ...] = ()
    words: tuple[str, ...] | None = None


def read(body: Mapping[str, Any]) -> Asked:
    """Read the JSON body of a request."""
    system, user = _system(body), str(body["messages"][-1]["content"])
    found = list(_SAMPLE.finditer(user))
    texts = tuple(match["text"] for match in found)
    ids = tuple(match["id"] for match in found if match["id"])
    return Asked(system, user, texts, ids, _words(_schema(body)))


def answer(asked: Asked, labels: Sequence[str], reason: str) -> str:
    """The answer to a request: a label for each of its samples, in its order."""
    said = [{"label": label, "reason": reason} for label in labels]
    if not asked.ids:
        return json.dumps(said[0])
    pairs = zip(asked.ids, said, strict=True)
    return json.dumps({"answers": [{"id": name, **one} for name, one in pairs]})


def _system(body: Mapping[str, Any]) -> str:
    system = body.get("system")
    if system is None:
        return str(body["messages"][0]["content"])
    return system if isinstance(system, str) else "".join(part["text"] for part in system)


def _schema(body: Mapping[str, Any]) -> Mapping[str, Any]:
    config = body.get("output_config", {}).get("format") or body.get("response_format", {})
    schema = config.get("schema") or config.get("json_schema", {}).get("schema") or {}
    return schema if isinstance(schema, dict) else {}


def _words(schema: Mapping[str, Any]) -> tuple[str, ...] | None:
    properties = schema.get("properties", {})
    if "answers" in properties:
        properties = properties["answers"]["items"]["properties"]
    label = properties.get("label", {}).get("enum")
    return tuple(label) if label else None
