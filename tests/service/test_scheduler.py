"""The scheduler and `is_due` on a real Redis: who is woken for what, and who is not."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from machine import CONFIG
from redis import Redis

from backend import pauses
from backend.jobs import lease_name, pause_key, reconcile, review, train
from backend.lease import Lease
from backend.projects import HardSample, Project
from backend.scheduler import Scheduler
from backend.settings import Settings
from backend.triggers import LEAST, is_due, trigger
from backend.wiring import Wiring
from meta_controller.batch_store import Batch, BatchStore
from specialists.types import Verdict
from training.card import Card

PROJECT = 7
STAGE_SIZE = 4


@pytest.fixture
def wiring(redis: Redis, redis_socket: str, tmp_path: Path) -> Iterator[Wiring]:
    """The parts of a fully configured worker that knows one project in which nothing waits."""
    wiring = Wiring(
        Settings(
            redis_url=f"unix://{redis_socket}",
            label_studio_url="http://127.0.0.1:1",
            label_studio_api_key="key",
            data_dir=tmp_path,
            llm_provider="scripted",
            llm_share=1.0,
            stage_size=STAGE_SIZE,
            promote_every=600,
        )
    )
    wiring.projects.put(Project(PROJECT, "<View/>"))
    wiring.redis.set(reconcile.next_key(PROJECT), time.time() + 3600)
    with wiring.redis, wiring.raw_redis:
        yield wiring
    wiring.evidence.close()


def change(wiring: Wiring, **settings: object) -> None:
    wiring.settings = replace(wiring.settings, **settings)


def tick(wiring: Wiring) -> list[str]:
    """The jobs that one tick enqueued, all for our project."""
    woken = Scheduler(wiring).tick()
    assert all(project == PROJECT for _, project in woken)
    return [job for job, _ in woken]


def hard(wiring: Wiring) -> None:
    sample = HardSample(1, "sentiment", "text", ("Positive",), 0.4, "split", "tag-1", gain=0.2)
    wiring.projects.desk(PROJECT).add_hard([sample])


def learnable(wiring: Wiring, first: int = 1, count: int = STAGE_SIZE) -> None:
    for task in range(first, first + count):
        wiring.pool(PROJECT).add(
            Verdict(task, "sentiment", "text", ("Positive",), "llm", "a-model", at=1.0)
        )
    arrived(wiring, seconds_ago=60)


def arrived(wiring: Wiring, **seconds_ago: float) -> None:
    """Let the newest verdict have come some time ago, `first` and `burst` too where they differ."""
    ago = seconds_ago.pop("seconds_ago")
    names = {"first": ago, "burst": ago, "newest": ago, **seconds_ago}
    times = {name: time.time() - one for name, one in names.items()}
    wiring.redis.hset(f"aa:project:{PROJECT}:pool:arrivals", mapping=times)


def candidate(wiring: Wiring) -> None:
    with wiring.redis.pipeline() as pipe:
        wiring.projects.desk(PROJECT).propose({"tag": "tag-2", "card": {}, "up_to": 1}, pipe)
        pipe.execute()


def batched(wiring: Wiring) -> None:
    """A batch that is to be looked at."""
    with wiring.redis.pipeline() as pipe:
        BatchStore(wiring.redis, PROJECT).put(pipe, Batch("b", "openai", "m", 1.0, 2.0, {}, {}))
        pipe.execute()


def everything(wiring: Wiring) -> None:
    hard(wiring)
    learnable(wiring)
    wiring.projects.desk(PROJECT).want_predictions([1])
    wiring.redis.delete(reconcile.next_key(PROJECT))


# Who is woken


def test_nobody_is_woken_for_nothing(wiring: Wiring) -> None:
    assert tick(wiring) == []


def test_all_that_waits_wakes_each_worker_once(wiring: Wiring) -> None:
    everything(wiring)
    assert sorted(tick(wiring)) == ["push", "reconcile", "review", "train"]
    assert tick(wiring) == []
    assert wiring.queues.lengths() == {"review": 2, "push": 1, "train": 1}


def test_work_that_was_begun_and_not_done_is_woken_again(wiring: Wiring) -> None:
    hard(wiring)
    assert tick(wiring) == ["review"]
    wiring.queues.queue("review").pop_job_id()
    wiring.queues.started("review", PROJECT)  # and there its worker died
    assert tick(wiring) == ["review"]


def test_nobody_is_woken_for_work_that_somebody_does(wiring: Wiring) -> None:
    everything(wiring)
    with ExitStack() as leases:
        for job in ("review", "push", "train", "reconcile"):
            leases.enter_context(Lease(wiring.redis, lease_name(job, PROJECT)))
        assert tick(wiring) == []
    assert len(tick(wiring)) == 4


def test_another_project_s_worker_does_not_count(wiring: Wiring) -> None:
    learnable(wiring)
    with Lease(wiring.redis, lease_name("train", 70)):
        assert tick(wiring) == ["train"]


def test_a_hard_sample_wakes_review_only_where_an_llm_is(wiring: Wiring) -> None:
    hard(wiring)
    change(wiring, llm_provider="none")
    assert tick(wiring) == []
    change(wiring, llm_provider="scripted")
    assert tick(wiring) == ["review"]


def test_a_hard_sample_waits_while_asking_is_paused(wiring: Wiring) -> None:
    hard(wiring)
    wiring.redis.set(pauses.paused_key(PROJECT), 1, ex=60)
    assert tick(wiring) == []
    wiring.redis.delete(pauses.paused_key(PROJECT))
    assert tick(wiring) == ["review"]


def test_a_person_s_pause_keeps_review_from_asking_and_from_batches(wiring: Wiring) -> None:
    hard(wiring)
    wiring.projects.update(PROJECT, tasks=1)
    batched(wiring)
    pauses.hold(wiring.redis, PROJECT)
    assert tick(wiring) == []
    wiring.projects.desk(PROJECT).want_patches([1])
    assert tick(wiring) == ["review"], "verdicts are still written back"
    pauses.release(wiring.redis, PROJECT)
    wiring.projects.desk(PROJECT).forget_tasks([1], [])
    wiring.queues.queue("review").empty()
    wiring.queues.started("review", PROJECT)
    assert tick(wiring) == ["review"]


def test_a_hard_sample_waits_for_people_when_llm_share_is_used_up(wiring: Wiring) -> None:
    hard(wiring)
    change(wiring, llm_share=0.5)  # of the one task that is known
    assert tick(wiring) == []
    wiring.projects.update(PROJECT, tasks=2, push=True)
    assert tick(wiring) == ["review"]


def test_new_verdicts_wake_review_for_a_refit_once(wiring: Wiring) -> None:
    change(wiring, llm_provider="none", stage_size=100)
    card = Card("tag-1", None, 0, "initial", "first", at=1.0)
    wiring.promotions(PROJECT).promote("tag-1", card, wiring.redis)
    learnable(wiring, count=7)
    assert tick(wiring) == []
    learnable(wiring, count=8)
    assert tick(wiring) == ["review"]
    project = wiring.projects.get(PROJECT)
    assert project
    wiring.projects.put(replace(project, label_config=CONFIG))
    wiring.queues.started("review", PROJECT)
    wiring.queues.queue("review").empty()
    with wiring.lease("review:7") as lease:
        review.work(wiring, PROJECT, lease)
    assert tick(wiring) == []


def test_a_job_that_failed_waits_alone(wiring: Wiring) -> None:
    everything(wiring)
    wiring.redis.set(pause_key("train", PROJECT), 1, ex=60)
    assert sorted(tick(wiring)) == ["push", "reconcile", "review"]
    wiring.redis.delete(pause_key("train", PROJECT))
    assert tick(wiring) == ["train"]


def test_a_verdict_to_write_back_wakes_review_also_without_an_llm(wiring: Wiring) -> None:
    change(wiring, llm_provider="none")
    wiring.redis.set(pauses.paused_key(PROJECT), 1, ex=60)
    wiring.projects.desk(PROJECT).want_patches([1])
    assert tick(wiring) == ["review"]


@pytest.mark.parametrize("missing", ["label_studio_url", "label_studio_api_key"])
def test_nothing_is_done_in_a_label_studio_that_is_not_configured(
    wiring: Wiring, missing: str
) -> None:
    wiring.projects.desk(PROJECT).want_predictions([1])
    wiring.projects.desk(PROJECT).want_patches([1])
    wiring.redis.delete(reconcile.next_key(PROJECT))
    change(wiring, **{missing: ""})
    assert tick(wiring) == []


def test_a_missing_prediction_wakes_push(wiring: Wiring) -> None:
    wiring.projects.desk(PROJECT).want_predictions([1])
    assert tick(wiring) == ["push"]


def test_a_candidate_wakes_push_and_no_stage(wiring: Wiring) -> None:
    learnable(wiring)
    candidate(wiring)
    change(wiring, label_studio_url="")
    assert tick(wiring) == ["push"]


def test_projects_take_turns_to_train(wiring: Wiring) -> None:
    ended = {3: 200.0, 5: 100.0, 9: 300.0}
    for project, at in ended.items():
        wiring.projects.put(Project(project, "<View/>"))
        wiring.redis.set(reconcile.next_key(project), time.time() + 3600)
        wiring.projects.desk(project).set_stage(now=1, ended_at=at)
    woken = Scheduler(wiring).tick()
    assert [project for job, project in woken if job == "train"] == [5, 3, 9]


def test_reconcile_is_due_at_its_time(wiring: Wiring) -> None:
    wiring.redis.set(reconcile.next_key(PROJECT), time.time() - 1)
    assert tick(wiring) == ["reconcile"]


def test_forgotten_projects_are_left_alone(wiring: Wiring) -> None:
    everything(wiring)
    wiring.projects.forget(PROJECT)
    assert tick(wiring) == []


def test_one_of_several_schedulers_works_and_another_takes_over(wiring: Wiring) -> None:
    hard(wiring)
    with Lease(wiring.redis, "scheduler"):  # another process schedules
        stop = threading.Event()
        thread = threading.Thread(target=Scheduler(wiring).run, args=(stop,))
        thread.start()
        time.sleep(2.5)
        assert wiring.queues.lengths()["review"] == 0
    deadline = time.monotonic() + 10
    while wiring.queues.lengths()["review"] == 0 and time.monotonic() < deadline:
        time.sleep(0.05)
    stop.set()
    thread.join(5)
    assert not thread.is_alive()
    assert wiring.queues.lengths()["review"] == 1
    assert not Lease.is_held(wiring.redis, "scheduler")


# When a stage is due


def test_a_stage_is_due_at_its_size(wiring: Wiring) -> None:
    learnable(wiring, count=STAGE_SIZE - 1)
    assert not is_due(wiring, PROJECT)
    learnable(wiring, first=STAGE_SIZE, count=1)
    assert is_due(wiring, PROJECT)


def test_what_a_refused_stage_tried_does_not_count_again(wiring: Wiring) -> None:
    learnable(wiring)
    desk = wiring.projects.desk(PROJECT)
    desk.set_stage(attempted=wiring.pool(PROJECT).sequence())
    assert not is_due(wiring, PROJECT)
    learnable(wiring, first=100, count=STAGE_SIZE - 1)
    assert not is_due(wiring, PROJECT)
    learnable(wiring, first=200, count=1)
    assert is_due(wiring, PROJECT)


def test_stages_keep_their_distance_from_the_last_promotion(wiring: Wiring) -> None:
    learnable(wiring)
    desk = wiring.projects.desk(PROJECT)
    desk.set_stage(promoted_at=time.time() - 590)
    assert not is_due(wiring, PROJECT)
    desk.set_stage(promoted_at=time.time() - 610)
    assert is_due(wiring, PROJECT)


def test_a_stage_waits_for_the_end_of_a_burst_but_not_for_ever(wiring: Wiring) -> None:
    wiring.pool(PROJECT).add(Verdict(99, "sentiment", "t", ("Positive",), "llm", "m", at=1.0))
    learnable(wiring)
    for newest, burst, due in ((1, 30, False), (6, 30, True), (1, 61, True)):
        arrived(wiring, seconds_ago=newest, burst=burst)
        assert is_due(wiring, PROJECT) is due, (newest, burst)


def test_a_stage_that_was_begun_goes_on_whatever_comes_meanwhile(wiring: Wiring) -> None:
    desk = wiring.projects.desk(PROJECT)
    learnable(wiring)
    arrived(wiring, seconds_ago=1, burst=30)
    desk.set_stage(running="{}", promoted_at=time.time())
    assert trigger(wiring, PROJECT) == "begun"
    desk.set_stage(running="")
    assert trigger(wiring, PROJECT) == ""


def test_verdicts_that_come_one_after_the_other_are_one_burst(wiring: Wiring) -> None:
    pool = wiring.pool(PROJECT)
    learnable(wiring, count=1)
    before = pool.arrivals()
    learned = Verdict(50, "sentiment", "text", ("Positive",), "llm", "a-model", at=1.0)
    pool.add(learned)
    one = pool.arrivals()
    assert one.burst == one.newest > before.newest and one.first == before.first
    pool.add(replace(learned, task_id=51))
    assert pool.arrivals().burst == one.burst and pool.arrivals().newest > one.newest
    latest = pool.arrivals()
    pool.add(replace(learned, task_id=51))  # says nothing new
    assert pool.arrivals() == latest


def test_time_starts_a_stage_with_fewer_verdicts(wiring: Wiring) -> None:
    change(wiring, stage_size=100, stage_every=3600.0)
    learnable(wiring, count=LEAST)
    arrived(wiring, seconds_ago=60, first=3599)
    assert trigger(wiring, PROJECT) == ""
    arrived(wiring, seconds_ago=60, first=3601)
    assert trigger(wiring, PROJECT) == "time"
    desk = wiring.projects.desk(PROJECT)
    desk.set_stage(ended_at=time.time() - 3599)
    assert trigger(wiring, PROJECT) == ""
    desk.set_stage(ended_at=time.time() - 3601)
    assert trigger(wiring, PROJECT) == "time"
    change(wiring, stage_every=0.0)
    assert trigger(wiring, PROJECT) == ""
    change(wiring, stage_every=3600.0)
    desk.set_stage(attempted=1)  # one less that no stage has tried
    assert trigger(wiring, PROJECT) == ""


def test_a_drift_starts_a_stage_once(wiring: Wiring) -> None:
    change(wiring, stage_size=100)
    desk = wiring.projects.desk(PROJECT)
    desk.set_stage(drift="sentiment: people agreed less.")
    learnable(wiring, count=LEAST - 1)
    assert trigger(wiring, PROJECT) == ""
    learnable(wiring, first=LEAST, count=1)
    assert trigger(wiring, PROJECT) == "drift"
    with wiring.redis.pipeline() as pipe:
        train._end(desk, pipe, wiring.pool(PROJECT).sequence())
        pipe.execute()
    learnable(wiring, first=LEAST + 1, count=LEAST)
    assert trigger(wiring, PROJECT) == "", "the stage that tried it has ended, whatever it brought"


def test_train_now_waits_for_nothing_but_a_candidate(wiring: Wiring) -> None:
    desk = wiring.projects.desk(PROJECT)
    desk.set_stage(promoted_at=time.time(), now=1)
    assert is_due(wiring, PROJECT)
    candidate(wiring)
    assert not is_due(wiring, PROJECT)
