"""Several annotators, from their hooks to what trains: who is reliable, and what they say together.

Bodies are Label Studio's (WIRE: one hook an annotation), on a real Redis and evidence store.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from typing import Any

import numpy as np
import pytest
from machine import CONFIG
from world import PROJECT, MakeWorld, World

from backend import people
from backend.jobs import train
from backend.jobs.known import committee_said, people_said
from backend.model import AutoAnnotator
from specialists.types import Verdict
from training.card import Card
from training.gate import held_out

SKILLS = {11: 0.92, 12: 0.85, 13: 0.4}  # by user id; 13 is careless
ANSWERED = 90


@pytest.fixture
def team(make_world: MakeWorld) -> World:
    """A project in which three people answered the same tasks, each right as often as scripted."""
    made = make_world()
    made.observe()
    rng = np.random.default_rng(3)
    for task in range(1, ANSWERED + 1):
        for person, skill in SKILLS.items():
            wrong = made.labels[(made.truth[task] + rng.integers(1, 3)) % 3]
            annotate(made, task, person, made.right(task) if rng.random() < skill else wrong)
    return made


def annotate(world: World, task: int, person: int, label: str, **more: Any) -> None:
    """Label Studio tells of an annotation."""
    region = {"from_name": "sentiment", "to_name": "text", "type": "choices", "id": "a"}
    body = {
        "annotation": {
            "id": 1000 * person + task,
            "task": task,
            "completed_by": person,
            "result": [{**region, "value": {"choices": [label]}}],
            "was_cancelled": False,
            "ground_truth": False,
            "lead_time": 2.0,
            "updated_at": f"2026-11-22T10:{person}:00.{task:06d}Z",
            **more,
        },
        "project": {"id": PROJECT, "label_config": CONFIG},
        "task": {"id": task, "data": {"text": world.text(task)}},
    }
    AutoAnnotator.use(world.wiring)
    AutoAnnotator(PROJECT, CONFIG).fit("ANNOTATION_CREATED", body)


def accuracy(world: World, said: dict[int, str]) -> float:
    return float(np.mean([said[task] == world.right(task) for task in range(1, ANSWERED + 1)]))


def together(world: World) -> dict[int, str]:
    found = people_said(world.pool.verdicts(), "sentiment")
    return {task: verdict.labels[0] for task, verdict in found.items()}


def majority(world: World) -> dict[int, str]:
    """The label that most people gave; of equals the latest answer's."""
    given: dict[int, list[Verdict]] = {}
    for one in sorted(world.pool.verdicts(), key=lambda one: one.at):
        given.setdefault(one.task_id, []).append(one)
    found = {}
    for task, same in given.items():
        votes = Counter(one.labels[0] for one in same)
        found[task] = max(same, key=lambda one: (votes[one.labels[0]], one.at)).labels[0]
    return found


def test_the_careless_one_is_found_and_what_they_say_together_beats_the_majority(
    team: World,
) -> None:
    rows = {row["person"]: row for row in people.collect(team.wiring, PROJECT)}
    assert {name for name, row in rows.items() if row["stands_out"]} == {"13"}
    for person, skill in SKILLS.items():
        row = rows[str(person)]
        assert row["answers"] == row["compared"] == ANSWERED
        assert row["low"] <= skill <= row["high"]
    assert set(rows["11"]["by_label"]) == set(team.labels)
    ours, plain = accuracy(team, together(team)), accuracy(team, majority(team))
    print(f"together {ours:.3f}, majority {plain:.3f}")
    assert ours > plain


def test_the_table_names_people_where_it_can(team: World) -> None:
    told = people.render(people.collect(team.wiring, PROJECT), {"13": "carla@example.com"})
    assert "carla@example.com stands out: right in" in told
    assert "user 11: 90 answers" in told
    assert people.names(team.wiring) == {}, "there is no Label Studio"
    json.dumps(people.collect(team.wiring, PROJECT))


def test_nobody_is_accused_after_few_answers(make_world: MakeWorld) -> None:
    made = make_world()
    assert people.render(people.collect(made.wiring, PROJECT), {}) == "Nobody has answered yet."
    for task in range(1, 6):
        for person in SKILLS:
            annotate(made, task, person, made.wrong(task) if person == 13 else made.right(task))
    rows = people.collect(made.wiring, PROJECT)
    assert not any(row["stands_out"] for row in rows)
    assert "Nobody stands out. Of 3 too little is known." in people.render(rows, {})


def test_people_who_share_no_task_are_not_compared(make_world: MakeWorld) -> None:
    made = make_world()
    for task in range(1, 21):
        annotate(made, task, 11 + task % 2, made.right(task))
    told = people.render(people.collect(made.wiring, PROJECT), {})
    assert "nobody's answers can be checked" in told
    assert all(v.chance is None for v in made.pool.effective().values())


def test_skips_bulk_copies_and_second_answers_are_what_they_are(team: World) -> None:
    label = team.labels[0]
    annotate(team, 200, 11, label, was_cancelled=True)
    annotate(team, 200, 12, label, parent_prediction=5, lead_time=None)
    assert 200 not in together(team)
    annotate(team, 201, 11, team.labels[1])
    annotate(team, 201, 11, label, id=99_999, updated_at="2026-11-22T11:00:00Z")
    assert together(team)[201] == label


def test_ground_truth_wins_and_waits_for_the_next_stage(team: World) -> None:
    task = next(t for t, label in together(team).items() if label == team.right(t))
    waiting, wrong = team.pool.waiting(), team.wrong(task)
    number = team.pool.sequence()
    said = next(v for v in team.pool.verdicts() if v.task_id == task and v.author == "13")
    annotate(team, task, 13, wrong if said.labels[0] != wrong else said.labels[0])
    annotate(team, task, 13, wrong, ground_truth=True)
    assert together(team)[task] == wrong
    assert people_said(team.pool.verdicts(), "sentiment")[task].chance == 1.0
    assert team.pool.waiting() == waiting
    assert team.pool.waiting(after=number), "the same answer, but certain now"


def test_the_committee_is_one_more_voice_but_not_about_what_judges_it(team: World) -> None:
    voices = committee_said(team.wiring, PROJECT, "sentiment", team.tag, team.pool.verdicts())
    assert len(voices) == ANSWERED
    alone = people_said(team.pool.verdicts(), "sentiment")
    learned = train._learnable(team.wiring, PROJECT, team.tag)
    changed = {
        task: held_out(verdict.text)
        for task, verdict in alone.items()
        if learned[task, "sentiment"].chance != verdict.chance
    }
    assert changed and not any(changed.values())
    assert any(held_out(verdict.text) for verdict in alone.values())


def test_a_committee_that_learned_a_text_has_no_voice_about_it(team: World) -> None:
    card = Card(team.tag, parent=None, stage=1, decision="refused", reason="", at=time.time() + 60)
    team.wiring.promotions(PROJECT).refuse(card, team.wiring.redis)
    voices = committee_said(team.wiring, PROJECT, "sentiment", team.tag, team.pool.verdicts())
    assert voices
    assert all(held_out(team.text(task)) for task in voices)
