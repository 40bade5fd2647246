"""Request bodies: read with bounds, checked field by field; an error names the field.

They come from strangers. Whatever is read here is UTF-8 and JSON (RFC 8259), nested no deeper than
MAX_DEPTH, and every text in it can be stored.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NoReturn

import falcon

from backend.errors import BadRequest

MAX_TASKS = 100_000
"""In one request: Label Studio sends all selected tasks at once, and gives up after 100 s."""

MAX_DEPTH = 100
"""Of lists and objects in each other; what Label Studio sends has about ten levels."""

_HALF = re.compile(r"\\u[dD][89a-fA-F]")  # of a surrogate pair, or all of one


def read(req: falcon.Request, limit_bytes: int) -> dict[str, Any]:
    """The JSON object that a request carries.

    Raises:
        falcon.HTTPContentTooLarge: It has more than `limit_bytes`.
        BadRequest: It is no JSON object, or nested too deep.
    """
    raw = _raw(req, limit_bytes)
    try:
        body = _parsed(raw.decode())
    except (ValueError, RecursionError):
        raise BadRequest(
            "Not JSON", f"The body ({len(raw)} bytes) is not JSON.", "Send a JSON object in UTF-8."
        ) from None
    if not isinstance(body, dict):
        raise BadRequest(
            "Not an object", f"The body is a JSON {type(body).__name__}.", "Send a JSON object."
        )
    if _too_deep(body):
        raise BadRequest(
            "Nested too deep",
            f"Lists and objects are nested more than {MAX_DEPTH} levels deep.",
            "Send what Label Studio sends; leave deep structures out of the tasks' data.",
        )
    return body


def _raw(req: falcon.Request, limit_bytes: int) -> bytes:
    """The bytes of the body, one more than allowed at most."""
    size = req.content_length or 0
    if size <= limit_bytes:
        # A body in chunks tells no length; servers that mark its end themselves say so.
        marked = req.env.get("wsgi.input_terminated")
        try:
            raw: bytes = (req.stream if marked else req.bounded_stream).read(limit_bytes + 1)
        except Exception:  # each server has errors of its own for broken chunks and lost clients
            raise BadRequest(
                "Body broken off", "It ended before its end.", "Send the request again."
            ) from None
        size = len(raw)
    if size > limit_bytes:
        raise falcon.HTTPContentTooLarge(
            title="Body too large",
            description=f"It has {size} bytes or more; allowed are {limit_bytes} (MAX_BODY_MB). "
            "Send fewer tasks at once: python -m backend connect imports in parts.",
        )
    return raw


def _parsed(text: str) -> Any:
    """Parse JSON; halves of surrogate pairs, which neither UTF-8 nor Redis can store, become `?`.

    Of a key that comes twice in one object the last counts, as in every JSON reader of Python.
    """
    body = json.loads(text, parse_constant=_refuse)
    if _HALF.search(text):
        whole = json.dumps(body, ensure_ascii=False).encode(errors="replace")
        body = json.loads(whole)
    return body


def _refuse(constant: str) -> NoReturn:
    """NaN and Infinity are Python's, not JSON's; as scores they would spread."""
    raise ValueError(constant)


def _too_deep(body: dict[str, Any]) -> bool:
    """Whether it has more than MAX_DEPTH levels; by level, as recursion is what this guards."""
    level: list[Any] = [body]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True


def needed(body: Mapping[str, Any], name: str, expected: str) -> Any:
    """A field that must be there; raises BadRequest."""
    if body.get(name) in (None, ""):
        raise BadRequest(
            "Missing field", f"{name} is missing; expected {expected}.", f"Send {name}."
        )
    return body[name]


def text(body: Mapping[str, Any], name: str) -> str:
    """A text, empty where there is none."""
    value = body.get(name)
    return value if isinstance(value, str) else ""


def tasks(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The tasks; one without `data` among good ones costs only its own result."""
    given = body.get("tasks")
    if not isinstance(given, list):
        raise BadRequest(
            "No tasks",
            "tasks is missing or no list; expected a list of objects with data.",
            "Send tasks as Label Studio does.",
        )
    if len(given) > MAX_TASKS:
        raise BadRequest(
            "Too many tasks",
            f"tasks has {len(given)} of them; allowed are {MAX_TASKS} in one request.",
            "Send fewer at once, or run: python -m backend prelabel --project ID",
        )
    if given and not any(isinstance(t, dict) and isinstance(t.get("data"), dict) for t in given):
        raise BadRequest(
            "No data",
            "tasks[0].data is missing; expected an object such as {'text': '...'}.",
            "Send each task with its data.",
        )
    return [task if isinstance(task, dict) else {} for task in given]
