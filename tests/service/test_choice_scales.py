"""Multiple choice on a real Redis: verdicts teach each label's threshold, open tasks follow."""

from __future__ import annotations

import numpy as np
import pytest
from machine import CONFIG
from world import PROJECT, TASKS, World

from backend.evidence_store import Row, text_hash
from backend.jobs import refit
from backend.jobs.stored import Stored
from backend.label_config import parse
from backend.projects import Project
from specialists.decision import PaperRule
from specialists.evidence import Evidence
from specialists.types import Verdict

MEMBERS = ("ada", "ben")


@pytest.fixture
def stored(world: World) -> Stored:
    """240 texts, each of one label alone, to which both members give 0.4, and 0.1 to others."""
    xml = CONFIG.replace('toName="text">', 'toName="text" choice="multiple">')
    (control,) = parse(xml)
    assert control.labels.multiple
    wiring = world.wiring
    wiring.projects.put(Project(PROJECT, xml, tasks=TASKS))
    made = Stored(wiring, PROJECT, control, wiring.committees.ensure(PROJECT, (control,)))
    rows = []
    for task in range(1, TASKS + 1):
        votes = np.full((1, 2, 3), 0.1, dtype=np.float32)
        votes[0, :, world.truth[task]] = 0.4
        piece = Evidence(votes).pack()[0]
        rows.append(Row(task, text_hash(world.text(task)), MEMBERS, piece))
    wiring.evidence.put(PROJECT, control.name, made.tag, rows)
    return made


def verdict(world: World, task: int, source: str, *labels: str) -> Verdict:
    person = {"annotation_id": 1000 + task} if source == "human" else {"answer": labels}
    name = world.control.name
    return Verdict(task, name, world.text(task), labels, source, "1", 1.0, **person)


def test_verdicts_teach_thresholds_and_open_tasks_are_decided_by_them(
    world: World, stored: Stored
) -> None:
    rows = stored.rows(range(101, 141))
    assert all(one.hard and not one.labels for one in stored.decisions(rows))
    for task in range(1, 61):
        source = "human" if task % 2 else "llm"
        world.pool.add(verdict(world, task, source, world.right(task)))
    assert refit.is_due(world.wiring, PROJECT) and world.refit()
    rule = stored.rule(MEMBERS)
    assert isinstance(rule, PaperRule)
    for row, found in zip(rows, stored.decisions(rows), strict=True):
        assert found.labels == (world.right(row.task_id),) and not found.hard
        assert found.reason == "2 of 2 agree" and found.confidence > 0.5
    assert 150 in world.desk.wanted_patches() and 1 not in world.desk.wanted_patches()
    assert not refit.is_due(world.wiring, PROJECT)


def test_too_few_verdicts_teach_nothing(world: World, stored: Stored) -> None:
    for task in range(1, 8):
        world.pool.add(verdict(world, task, "human", world.right(task)))
    assert not world.refit()
    assert not stored.decisions(stored.rows([100]))[0].labels


def test_the_papers_rule_by_choice_learns_nothing(world: World, stored: Stored) -> None:
    project = world.wiring.projects.get(PROJECT)
    assert project
    for task in range(1, 61):
        world.pool.add(verdict(world, task, "human", world.right(task)))
    world.wiring.projects.put(Project(PROJECT, project.label_config, tasks=TASKS, rule="paper"))
    assert not world.refit()
    assert not stored.decisions(stored.rows([100]))[0].labels


def test_a_person_goes_before_the_llm_and_other_texts_teach_nothing(
    world: World, stored: Stored
) -> None:
    for task in range(1, 41):
        world.pool.add(verdict(world, task, "llm", *world.labels))
        world.pool.add(verdict(world, task, "human", world.right(task)))
    for task in range(41, 101):
        old = verdict(world, task, "human", *world.labels)
        world.pool.add(Verdict(**{**old.__dict__, "text": "the text before it was edited"}))
    assert world.refit()
    (found,) = stored.decisions(stored.rows([200]))
    assert found.labels == (world.right(200),)
