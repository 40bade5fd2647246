"""The head of the queue on a real Redis, with made-up evidence: who gets a place, and when."""

from __future__ import annotations

import numpy as np
from world import PROJECT, TASKS, MakeWorld, World, audits

from backend.evidence_store import Row, text_hash
from backend.jobs.queue_order import LONGEST, SHORTEST, arrange, seen_from
from backend.predictions import HEAD
from specialists.evidence import Evidence


def active(world: World) -> World:
    """The same project, whose Label Studio serves the lowest scores first."""
    world.wiring.projects.update(PROJECT, active_learning=True)
    return world


def arranged(world: World, room: int = 8, tag: str = "") -> list[int]:
    """The tasks at the head after arranging it anew, the first one first."""
    project = world.wiring.projects.get(PROJECT)
    assert project
    with world.wiring.lease("review:7") as lease:
        arrange(world.wiring, project, tag or world.tag, world.pool.verdicts(), room, lease)
    places = world.desk.places(tag or world.tag)
    return sorted(places, key=places.__getitem__)


def forget_patches(world: World) -> None:
    world.wiring.redis.delete(f"aa:project:{PROJECT}:to_patch")


def test_a_refit_gives_places_below_every_other_score_and_asks_for_patches(world: World) -> None:
    active(world)
    for task in range(1, 61):
        world.human(task)
    world.refit()
    places = world.desk.places(world.tag)
    assert len(places) == SHORTEST and len(set(places.values())) == SHORTEST
    assert all(0 < place < HEAD for place in places.values())
    assert not set(places) & set(range(1, 61)), "answered tasks have no place"
    assert set(places) <= set(world.desk.wanted_patches())


def test_without_active_learning_nothing_gets_a_place(world: World) -> None:
    for task in range(1, 61):
        world.human(task)
    world.refit()
    assert world.desk.places(world.tag) == {}


def test_the_head_grows_with_what_is_answered_between_two_refits(world: World) -> None:
    assert len(arranged(world)) == SHORTEST
    assert len(arranged(world, room=40)) == 80
    assert len(arranged(world, room=10**6)) == min(LONGEST, TASKS)


def test_arranging_twice_changes_nothing(world: World) -> None:
    first = arranged(world)
    forget_patches(world)
    assert arranged(world) == first
    assert world.desk.wanted_patches() == []


def test_a_task_that_is_answered_loses_its_place_and_only_what_moves_is_patched(
    world: World,
) -> None:
    first, *others = arranged(world)
    forget_patches(world)
    world.human(first)
    after = arranged(world)
    patched = set(world.desk.wanted_patches())
    assert first not in after and first in patched
    assert set(others) & set(after) - patched


def test_what_the_llm_answered_and_audits_have_no_place(make_world: MakeWorld) -> None:
    world = make_world(AUDIT_SHARE="0.3")
    world.observe()
    world.llm(5, world.right(5))
    found = arranged(world, room=TASKS)
    assert len(found) == TASKS - len({5, *audits(0.3)})
    assert not set(found) & {5, *audits(0.3)}


def test_the_head_covers_all_kinds_of_texts(world: World) -> None:
    kinds = {int(world.truth[task]) for task in arranged(world)[:6]}
    assert kinds == {0, 1, 2}


def test_a_project_of_one_task_or_none_has_a_queue(make_world: MakeWorld) -> None:
    world = make_world()
    assert arranged(world) == []
    world.observe(tasks=[1])
    assert arranged(world) == [1]


def test_tags_have_queues_of_their_own_until_they_are_not_kept(world: World) -> None:
    world.observe("tag-2")
    before = arranged(world)
    world.human(before[0])
    arranged(world, tag="tag-2")
    assert before[0] in world.desk.places(world.tag), "as its predictions show it"
    assert before[0] not in world.desk.places("tag-2")
    world.desk.prune_places({"tag-2"})
    assert world.desk.places(world.tag) == {} and world.desk.places("tag-2")


def test_a_text_that_was_observed_without_the_view_resembles_none() -> None:
    votes, view = np.full((2, 1, 3), 1 / 3, np.float32), np.ones((2, 8), np.float32)
    view[1] = np.nan
    seen = seen_from(Evidence(votes, frozen=view), np.zeros(4, np.float32))
    assert np.linalg.norm(seen, axis=1).tolist() == [1.0, 0.0]
    assert seen_from(Evidence(votes), np.ones(8, np.float32)).tolist() == np.zeros((2, 8)).tolist()


def test_votes_alone_and_views_that_are_no_numbers_give_an_order(make_world: MakeWorld) -> None:
    world = make_world()
    votes = world.rng.dirichlet(np.ones(3), size=(20, 1)).astype(np.float32)
    frozen = world.rng.normal(size=(20, 8)).astype(np.float32)
    frozen[3] = np.nan
    for seen in (Evidence(votes), Evidence(votes, frozen=frozen)):
        rows = [
            Row(task, text_hash(world.text(task)), ("ada",), piece)
            for task, piece in enumerate(seen.pack(), start=1)
        ]
        world.wiring.evidence.put(PROJECT, world.control.name, world.tag, rows)
        assert sorted(arranged(world)) == list(range(1, 21))
