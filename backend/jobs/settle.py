"""Settling: all verdicts of a project in the names of the labels that it has now."""

from __future__ import annotations

from backend.jobs.known import asked_key
from backend.wiring import Wiring
from specialists.types import Verdict
from training.label_names import current, fits


def settle(wiring: Wiring, project_id: int) -> list[Verdict]:
    """Bring all verdicts under the served labels; returns those that it set aside.

    The LLM may be asked about their texts again: it chose among other labels.
    """
    tag = wiring.promotions(project_id).served()
    if tag is None:
        return []
    names = wiring.committees.label_names(project_id)
    wiring.slice(project_id).follow(names.control)
    now = {name: one.labels for name, one in wiring.committees.manifest(tag).controls.items()}
    aside = wiring.pool(project_id).settle(
        lambda verdict: current(verdict, names, now),
        lambda verdict: fits(verdict, now.get(verdict.control)),
    )
    asked = [f"{one.task_id}:{one.control}" for one in aside if one.source == "llm"]
    if asked:
        wiring.redis.hdel(asked_key(project_id), *asked)
    return aside
