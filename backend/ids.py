"""Ids of Label Studio: whole numbers as its database has them, and ours can hold."""

from __future__ import annotations

from typing import Any, TypeGuard

from backend.errors import BadRequest

MAX_ID = 2**63 - 1
"""Of a BIGINT of PostgreSQL, and of an INTEGER of SQLite."""

_DIGITS = 19


def is_id(value: object) -> TypeGuard[int]:
    """Whether an id is one that Label Studio can give."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_ID


def project_number(value: Any) -> int:
    """The project id of `7`, `"7"` or Label Studio's `"7.1795324913"` (id.created_at).

    Raises:
        BadRequest: It is none of these.
    """
    head = str(value)[: _DIGITS + 1].partition(".")[0]
    if head.isascii() and head.isdecimal() and is_id(int(head)):
        return int(head)
    raise BadRequest(
        "Unknown project",
        f"project is {str(value)[:40]!r}; expected an id such as '7', at most {MAX_ID}.",
        "Send the project as Label Studio does.",
    )
