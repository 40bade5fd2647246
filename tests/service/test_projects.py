"""Projects and their desks on a real Redis: what is put down is there until it is done."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import pytest
from redis import Redis

from backend.projects import Desk, HardSample, Project, Projects


def sample(task_id: int, control: str = "sentiment") -> HardSample:
    return HardSample(task_id, control, "a private text", ("Positive",), 0.4, "split", "tag-1")


@pytest.fixture
def projects(redis: Redis) -> Projects:
    return Projects(redis)


@pytest.fixture
def desk(projects: Projects) -> Desk:
    return projects.desk(7)


def at_once(*works: Callable[[], object]) -> None:
    gate = threading.Barrier(len(works))

    def run(work: Callable[[], object]) -> None:
        gate.wait()
        work()

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_a_record_is_kept_whole(projects: Projects) -> None:
    record = Project(7, "<View/>", "Tweets", "Be kind.", push=True, backend_id=3, tasks=100)
    projects.put(record)
    projects.put(Project(2))
    assert projects.get(7) == record
    assert projects.get(8) is None
    assert projects.ids() == [2, 7]


def test_an_unknown_project_can_be_updated(projects: Projects) -> None:
    assert projects.update(7, title="Tweets") == Project(7, title="Tweets")
    assert projects.get(7) == Project(7, title="Tweets")
    assert projects.ids() == [7]


def test_a_forgotten_project_is_not_listed(projects: Projects) -> None:
    projects.put(Project(7))
    projects.forget(7)
    assert projects.ids() == []


def test_concurrent_updates_keep_each_other_s_fields(projects: Projects) -> None:
    for _ in range(30):
        projects.put(Project(7))
        at_once(
            lambda: projects.update(7, push=True, backend_id=3),
            lambda: projects.update(7, tasks=100),
            lambda: projects.update(7, label_config="<View/>"),
        )
        assert projects.get(7) == Project(7, "<View/>", push=True, backend_id=3, tasks=100)


def test_hard_samples_wait_until_settled(desk: Desk) -> None:
    desk.add_hard([sample(1), sample(2), sample(2, "topic")])
    assert {one.member for one in desk.to_review()} == {"1:sentiment", "2:sentiment", "2:topic"}
    assert sample(1) in desk.hard()
    desk.settle_hard(["1:sentiment", "2:topic"])
    assert desk.to_review() == desk.hard() == [sample(2)]
    assert desk.waiting() == {"to_predict": 0, "to_patch": 0, "to_review": 1, "hard": 1}


def test_what_is_left_to_people_stays_hard_and_says_why(desk: Desk, redis: Redis) -> None:
    desk.add_hard([sample(1)])
    with redis.pipeline() as pipe:
        desk.leave_to_people([replace(sample(1), error="The LLM is unsure")], pipe)
        assert len(desk.to_review()) == 1  # not before the pipeline runs
        pipe.execute()
    assert desk.to_review() == []
    (left,) = desk.hard()
    assert left.error == "The LLM is unsure"
    assert left.text == "a private text"


def test_hard_samples_are_read_and_counted_however_many(
    desk: Desk, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backend.projects.AT_ONCE", 100)
    samples = [sample(task) for task in range(1, 1001)]
    desk.add_hard(samples)
    with redis.pipeline() as pipe:
        for why, some in (("unsure", samples[:3]), ("not worth it", samples[3:10])):
            desk.leave_to_people([replace(one, error=why) for one in some], pipe)
        pipe.execute()
    assert {one.member for one in desk.hard()} == {one.member for one in samples}
    assert {one.member for one in desk.to_review()} == {one.member for one in samples[10:]}
    assert desk.left_to_people() == {"not worth it": 7, "unsure": 3}
    desk.settle_hard([samples[0].member])
    assert desk.left_to_people() == {"not worth it": 7, "unsure": 2}
    monkeypatch.setattr("backend.projects.MANY", 900)
    clock = iter([0.0, 100.0, 200.0])  # begun, ended, looked
    monkeypatch.setattr("backend.projects.time", SimpleNamespace(monotonic=lambda: next(clock)))
    desk.left_to_people()
    desk.settle_hard([samples[1].member])
    assert desk.left_to_people() == {"not worth it": 7, "unsure": 2}, "kept for a while"


def test_a_sample_that_is_added_and_settled_at_once_is_whole_or_gone(desk: Desk) -> None:
    for _ in range(300):
        at_once(lambda: desk.add_hard([sample(1)]), lambda: desk.settle_hard(["1:sentiment"]))
        waiting = desk.waiting()
        assert waiting["to_review"] == waiting["hard"] == len(desk.to_review())


def test_task_text_never_shows_in_a_repr() -> None:
    assert "private" not in repr(sample(1))
    assert "private" not in repr(Project(1, "<private/>", guideline="private"))


def test_predictions_and_patches_wait_until_done(desk: Desk, redis: Redis) -> None:
    desk.want_predictions([3, 1, 3])
    desk.want_patches([5, 4])
    desk.want_predictions([])
    desk.want_patches(iter(()))
    assert desk.wanted_predictions() == [1, 3]
    assert desk.wanted_patches() == [4, 5]
    with redis.pipeline() as pipe:
        desk.predicted([1], pipe)
        desk.predicted([], pipe)
        desk.patched([5], pipe)
        pipe.execute()
    assert desk.wanted_predictions() == [3]
    assert desk.wanted_patches() == [4]


def test_nothing_is_left_to_do_for_deleted_tasks(desk: Desk) -> None:
    desk.add_hard([sample(1), sample(2), sample(1, "topic")])
    desk.want_predictions([1, 2])
    desk.want_patches([1, 2])
    desk.forget_tasks([1], ["sentiment", "topic"])
    assert desk.wanted_predictions() == desk.wanted_patches() == [2]
    assert desk.hard() == desk.to_review() == [sample(2)]


def test_a_candidate_waits_until_withdrawn(desk: Desk, redis: Redis) -> None:
    assert desk.candidate() is None
    with redis.pipeline() as pipe:
        desk.propose({"tag": "tag-2", "card": {"stage": 1}, "up_to": 9}, pipe)
        pipe.execute()
    assert desk.candidate() == {"tag": "tag-2", "card": {"stage": 1}, "up_to": 9}
    with redis.pipeline() as pipe:
        desk.withdraw(pipe)
        pipe.execute()
    assert desk.candidate() is None


def test_the_stage_s_state_changes_field_by_field(desk: Desk) -> None:
    assert desk.stage() == {}
    desk.set_stage(now=1, attempted=5)
    desk.set_stage(now=0)
    assert desk.stage() == {"now": "0", "attempted": "5"}


def test_projects_do_not_share_their_desks(projects: Projects, desk: Desk) -> None:
    desk.want_predictions([1])
    desk.add_hard([sample(1)])
    assert set(projects.desk(70).waiting().values()) == {0}
