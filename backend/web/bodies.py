"""Request bodies: read with a bound, checked field by field; an error names the field."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import falcon

from backend.errors import BadRequest


def read(req: falcon.Request, limit_bytes: int) -> dict[str, Any]:
    if (req.content_length or 0) > limit_bytes:
        raise falcon.HTTPContentTooLarge(
            title="Body too large",
            description=f"It has {req.content_length} bytes; allowed are {limit_bytes} "
            "(MAX_BODY_MB). Send fewer tasks at once: python -m backend connect imports in parts.",
        )
    raw = req.bounded_stream.read(limit_bytes + 1)
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        raise BadRequest(
            "Not JSON", f"The body ({len(raw)} bytes) is not JSON.", "Send a JSON object."
        ) from None
    if not isinstance(body, dict):
        raise BadRequest(
            "Not an object", f"The body is a JSON {type(body).__name__}.", "Send a JSON object."
        )
    return body


def needed(body: Mapping[str, Any], name: str, expected: str) -> Any:
    if body.get(name) in (None, ""):
        raise BadRequest(
            "Missing field", f"{name} is missing; expected {expected}.", f"Send {name}."
        )
    return body[name]


def text(body: Mapping[str, Any], name: str) -> str:
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
    if given and not any(isinstance(t, dict) and isinstance(t.get("data"), dict) for t in given):
        raise BadRequest(
            "No data",
            "tasks[0].data is missing; expected an object such as {'text': '...'}.",
            "Send each task with its data.",
        )
    return [task if isinstance(task, dict) else {} for task in given]
