"""Audits: the random tasks on which a person answers without seeing ours.

Their answers measure how often accepted labels are wrong, and nothing learns from them.
"""

from __future__ import annotations

import hashlib

_BYTES = 8
_RANGE = 256.0**_BYTES


def is_audit(project_id: int, task_id: int, share: float) -> bool:
    """Whether a task is an audit when `share` (0..1) of all tasks are.

    Chosen by a hash, so that every process agrees without asking, and a larger share keeps the
    audits of a smaller one.
    """
    digest = hashlib.sha256(f"{project_id}:{task_id}".encode()).digest()
    return int.from_bytes(digest[:_BYTES], "big") < share * _RANGE
