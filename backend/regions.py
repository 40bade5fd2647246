"""How an answer lies in a region's `value`, for each kind of control: written and read back.

Everywhere else an answer is label names. A path, of nested choices or of a taxonomy, is one name
from which the path follows again. Written is what the editor of Label Studio 1.23.2 stores and what
its check of predictions lets pass (label_studio_sdk 2.1.2, label_interface/control_tags.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

Kind = Literal["choices", "nested choices", "taxonomy", "rating"]
"""A rating's labels are "1", "2" and so on; those of the two in the middle are paths."""

SEPARATOR = " > "
MAX_DEPTH = 20
"""Of nested choices; taxonomies of libraries have about ten levels."""

TAKEN = frozenset("choices datetime labels number ranker rating selected taxonomy text".split())
"""What the editor looks for in a region's value: no control of nested choices can be called so."""

_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


def name_of(path: Iterable[str]) -> str:
    """The one name of a path; a ">" within a part is escaped, so no two paths share a name."""
    return SEPARATOR.join(part.replace("\\", "\\\\").replace(">", "\\>") for part in path)


def path_of(name: str) -> tuple[str, ...]:
    """The path that has this name."""
    return tuple(_ESCAPED.sub(r"\1", part) for part in name.split(SEPARATOR))


def type_of(kind: Kind) -> str:
    """The type of the regions of a kind of control, which is also a key of their value."""
    return "choices" if kind == "nested choices" else kind


def value_of(kind: Kind, control: str, labels: Sequence[str]) -> dict[str, Any]:
    """Write labels as the value of a region of a control; parents are implied by their leaves."""
    if kind == "choices":
        return {"choices": list(labels)}
    if kind == "rating":
        return {"rating": int(labels[0])}
    paths = [list(path_of(label)) for label in labels]
    if kind == "taxonomy":
        return {"taxonomy": paths}
    # Label Studio's check fails on paths ("unhashable type") but looks under the control's name
    # first; the editor looks there never, and does not keep it.
    parts = dict.fromkeys(part for path in paths for part in path)
    return {"choices": paths, control: {"choices": list(parts)}}


def labels_of(region: Mapping[str, Any]) -> tuple[str, ...]:
    """Read the labels that a region says, each once; none where it classifies nothing.

    By the region's own type, since an annotation keeps that of the day it was made.
    """
    kind, value = region.get("type"), region.get("value")
    said = value.get(kind) if isinstance(kind, str) and isinstance(value, Mapping) else None
    if kind == "rating":
        return _stars(said)
    if kind not in ("choices", "taxonomy") or not isinstance(said, list):
        return ()
    items = [tuple(map(str, one)) if isinstance(one, list) else str(one) for one in said]
    paths = [one for one in items if isinstance(one, tuple)]
    parents = {path[:end] for path in paths for end in range(1, min(len(path), MAX_DEPTH))}
    leaves = (one for one in items if one != () and one not in parents)
    names = (name_of(one) if isinstance(one, tuple) else one for one in leaves)
    return tuple(dict.fromkeys(names))


def _stars(said: Any) -> tuple[str, ...]:
    """Read a rating; 0 is none."""
    if isinstance(said, bool) or not isinstance(said, int | float) or not said:
        return ()
    return (f"{said:g}" if isinstance(said, float) else str(said),)
