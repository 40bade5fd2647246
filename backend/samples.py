"""The texts of a project on which candidates are measured, and what is known of them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np

from backend.audit import is_audit
from backend.jobs.known import is_honest, said_by_llm, trained_at
from backend.jobs.prepare import project_texts
from backend.label_config import Control
from backend.wiring import Wiring
from meta_controller.label_maps import Ints
from meta_controller.selection import LEAST_VERDICTS
from specialists.types import Verdict
from training.card import HeldOutSource

SAMPLE = 400
"""Texts at most: a model of BERT's size takes some ten seconds for them on two cores."""


@dataclass(frozen=True)
class Sample:
    """Texts, and their labels as indices (texts,), None when too few are known.

    `source` says whose labels they are. `trained` is false when trained members may not be
    measured on them, because they learned from these texts.
    """

    texts: tuple[str, ...] = field(repr=False)
    truth: Ints | None
    source: HeldOutSource
    trained: bool
    verdicts: int

    @property
    def rests_on(self) -> str:
        """One sentence on what the measurements rest on."""
        count = len(self.texts)
        trained = (
            ""
            if self.trained
            else " Trained members were measured as published: they learned from these texts."
        )
        if self.source == "human":
            return f"It rests on {count} texts that people answered.{trained}"
        if self.source == "llm":
            return (
                f"It rests on {count} texts with verdicts, the LLM's among them: those are hard "
                f"samples, and as right as the LLM is.{trained}"
            )
        return (
            f"It rests on agreement and confidence over {count} texts only: {self.verdicts} "
            f"verdicts can be used, {LEAST_VERDICTS} are needed to measure accuracy. What most "
            "candidates get wrong looks right here; choose again after more answers."
        )


def take(wiring: Wiring, project_id: int, control: Control, tag: str) -> Sample:
    """The sample of one control: people's answers if there are enough, else all verdicts.

    Audits are left out: they measure what is chosen. So is what the served members learned from,
    unless that leaves too few: then members are measured as they were published.
    """
    share, since = wiring.settings.audit_share, trained_at(wiring, project_id, tag)
    every = [
        verdict
        for verdict in wiring.pool(project_id).effective().values()
        if verdict.control == control.name
        and len(_labels(verdict)) == 1
        and _labels(verdict)[0] in control.labels.names
        and not is_audit(project_id, verdict.task_id, share)
    ]
    held_out = wiring.slice(project_id).held_out()
    honest = _enough([verdict for verdict in every if is_honest(verdict, since, held_out)])
    known = honest or _enough(every)
    if not known:
        found = project_texts(wiring, project_id, control)[:SAMPLE]
        return Sample(tuple(found), None, "none", True, len(every))
    drawn = sorted(known.items(), key=lambda item: hashlib.sha256(item[0].encode()).digest())
    rows = dict(drawn[:SAMPLE])
    truth = [control.labels.names.index(_labels(verdict)[0]) for verdict in rows.values()]
    people = all(verdict.source == "human" for verdict in rows.values())
    source: HeldOutSource = "human" if people else "llm"
    return Sample(tuple(rows), np.array(truth), source, bool(honest), len(known))


def _enough(verdicts: list[Verdict]) -> dict[str, Verdict]:
    """Verdicts by text: people's if they are enough, else all if they are, else none."""
    people = {one.text: one for one in verdicts if one.source == "human"}
    every = {one.text: one for one in verdicts} | people
    for known in (people, every):
        if len(known) >= LEAST_VERDICTS:
            return known
    return {}


def _labels(verdict: Verdict) -> tuple[str, ...]:
    """What was said, not what the committee that is to be judged made of it."""
    return said_by_llm(verdict) if verdict.source == "llm" else verdict.labels
