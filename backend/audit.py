"""Audits: the random tasks that measure how often accepted labels are wrong.

On some a person answers without seeing ours, and nothing learns from them. Of as many others, where
one is configured, an LLM is asked although the committee is sure, and of the first ones that people
answered, so that its errors are known: people's answers alone are unbiased, the LLM's make their
interval narrower (training/intervals.py:prediction_powered).
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
    return _place(project_id, task_id) < share


def is_llm_audit(project_id: int, task_id: int, share: float) -> bool:
    """Whether a task is one of which the LLM is asked to measure: `share` of all, none an audit."""
    return share <= _place(project_id, task_id) < 2 * share


def _place(project_id: int, task_id: int) -> float:
    """Where a task lies between 0 and 1, as by chance."""
    digest = hashlib.sha256(f"{project_id}:{task_id}".encode()).digest()
    return int.from_bytes(digest[:_BYTES], "big") / _RANGE
