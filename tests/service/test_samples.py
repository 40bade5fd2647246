"""What a selection rests on: whose answers, and none that a member or an audit has seen."""

from __future__ import annotations

import pytest
from world import PROJECT, TASKS, MakeWorld, World, audits

from backend import samples
from backend.samples import Sample
from training.card import Card
from training.gate import held_out
from training.model_store import CommitteeManifest


def take(world: World, tag: str = "") -> Sample:
    return samples.take(world.wiring, PROJECT, world.control, tag or world.tag)


def test_people_s_answers_alone_when_they_are_enough(make_world: MakeWorld) -> None:
    world = make_world()
    for task in range(1, 61):
        world.human(task)
    for task in range(50, 120):
        world.llm(task, world.wrong(task))
    found = take(world)
    assert (len(found.texts), found.source) == (60, "human")
    assert "60 texts that people answered" in found.rests_on
    assert found.truth is not None
    truth = dict(zip(found.texts, found.truth.tolist(), strict=True))
    assert truth == {world.text(task): world.truth[task] for task in range(1, 61)}


def test_the_llm_s_own_words_fill_up_and_that_is_said(make_world: MakeWorld) -> None:
    world = make_world()
    for task in range(1, 21):
        world.human(task)
    for task in range(21, 81):
        world.llm(task, world.right(task))
    found = take(world)
    assert (len(found.texts), found.source, found.verdicts) == (80, "llm", 80)
    assert "the LLM's among them" in found.rests_on


def test_too_few_verdicts_are_no_truth(make_world: MakeWorld) -> None:
    world = make_world()
    for task in range(1, 40):
        world.human(task)
    found = take(world)
    assert found.truth is None and found.source == "none" and len(found.texts) == 39
    assert "39 verdicts can be used, 50 are needed" in found.rests_on


def test_audits_are_left_out(make_world: MakeWorld) -> None:
    world = make_world(AUDIT_SHARE="0.3")
    for task in range(1, TASKS + 1):
        world.human(task)
    hidden = {world.text(task) for task in audits(0.3)}
    assert hidden and not hidden & set(take(world).texts)


def trained(world: World) -> str:
    """Serve a tag of stage 1 that learned everything up to now (epoch second 100)."""
    served = world.wiring.committees.manifest(world.tag)
    manifest = CommitteeManifest(PROJECT, 1, world.tag, served.controls)
    tag = world.wiring.store.save_committee(manifest)
    card = Card(tag, world.tag, 1, "promoted", "for the test", at=100.0)
    world.wiring.promotions(PROJECT).promote(tag, card, world.wiring.redis)
    return tag


def test_what_trained_members_learned_from_does_not_measure_them(make_world: MakeWorld) -> None:
    world = make_world()
    for task in range(1, TASKS + 1):
        world.human(task, at=1.0 if task <= 180 else 200.0)
    found = take(world, trained(world))
    honest = {world.text(t) for t in range(1, TASKS + 1) if t > 180 or held_out(world.text(t))}
    assert found.trained and set(found.texts) == honest


def test_where_too_few_are_left_members_are_measured_as_published(make_world: MakeWorld) -> None:
    world = make_world()
    for task in range(1, 101):
        world.human(task, at=1.0)
    found = take(world, trained(world))
    assert not found.trained and len(found.texts) == 100
    assert "as published" in found.rests_on


def test_a_large_project_gives_a_sample_the_same_one_each_time(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samples, "SAMPLE", 60)
    world = make_world()
    for task in range(1, TASKS + 1):
        world.human(task)
    first = take(world)
    assert len(first.texts) == 60 and first.texts == take(world).texts
    assert set(first.texts) != {world.text(task) for task in range(1, 61)}, "not the oldest"
