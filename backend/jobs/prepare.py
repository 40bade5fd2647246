"""The prepare job: the fastest form of each specialist that answers a project's texts as fp32 does.

Exports and compares, which takes seconds a model, once per checkpoint and machine kind; processes
that serve the models pick the result up by themselves.
"""

from __future__ import annotations

import logging
from itertools import chain, islice

from backend.errors import LabelStudioError
from backend.label_config import Control, parse, text_of
from backend.lease import Lease
from backend.projects import Project
from backend.wiring import Wiring

logger = logging.getLogger(__name__)

TEXTS = 512
"""Texts that a form is compared on; of fewer it is chance whether 1 % of the labels changed."""


def work(wiring: Wiring, project_id: int, lease: Lease) -> str:
    """Prepare the members of the served committee."""
    project = wiring.projects.get(project_id)
    if project is None or not project.label_config:
        return "Nothing is known of this project."
    return f"{prepare(wiring, project)} models prepared."


def prepare(wiring: Wiring, project: Project, tag: str | None = None) -> int:
    """Prepare what a tag, or the served one, uses and nobody prepared yet; returns how many models.

    Raises CheckpointDamaged.
    """
    tag, made = tag or wiring.promotions(project.id).served(), 0
    if tag is None:
        return 0
    for control in parse(project.label_config):
        if wiring.committees.is_prepared(tag, control.name):
            continue
        texts = project_texts(wiring, project.id, control)
        made += wiring.committees.prepare(tag, control.name, texts)
    return made


def project_texts(wiring: Wiring, project_id: int, control: Control) -> list[str]:
    """Up to TEXTS texts of a project: its tasks', else those of verdicts and hard samples.

    Tasks come first: hard samples alone lie near ties, where any rounding changes the label.
    """
    pool, desk = wiring.pool(project_id), wiring.projects.desk(project_id)
    found = chain(
        _task_texts(wiring, project_id, control),
        (one.text for one in pool.verdicts() if one.control == control.name),
        (one.text for one in desk.hard() if one.control == control.name),
    )
    return list(islice(dict.fromkeys(text for text in found if text.strip()), TEXTS))


def _task_texts(wiring: Wiring, project_id: int, control: Control) -> list[str]:
    if not wiring.has_label_studio:
        return []
    try:
        tasks = islice(wiring.label_studio.tasks(project_id), TEXTS)
        return [text for task in tasks if (text := text_of(control, task["data"]))]
    except LabelStudioError as error:
        logger.warning("project %d: no task texts to compare on: %s", project_id, error)
        return []
