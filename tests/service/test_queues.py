"""The queues on a real Redis: a job only wakes a worker, so one that waits is enough."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from redis import Redis

from backend import queues as module
from backend.queues import Queues


@pytest.fixture
def queues(redis: Redis, redis_socket: str) -> Iterator[Queues]:
    with Redis(unix_socket_path=redis_socket) as raw:
        yield Queues(raw)


def test_waking_twice_enqueues_once(queues: Queues) -> None:
    assert queues.wake("review", 7)
    assert not queues.wake("review", 7)
    assert queues.lengths() == {"review": 1, "push": 0, "train": 0}


def test_each_job_of_each_project_waits_for_itself(queues: Queues) -> None:
    woken = [queues.wake(job, project) for job in module.QUEUES for project in (1, 2)]
    assert all(woken)
    assert queues.lengths() == {"review": 6, "push": 8, "train": 2}


def test_a_job_carries_ids_in_plain_json(queues: Queues) -> None:
    queues.wake("reconcile", 7)
    (job,) = queues.queue("review").jobs
    assert job.func_name == "backend.jobs.run"
    assert job.args == ["reconcile", 7]
    assert job.kwargs == {}


def test_once_it_started_it_can_be_woken_again(queues: Queues) -> None:
    queues.wake("train", 7)
    (job,) = queues.queue("train").jobs
    queues.queue("train").remove(job.id)  # as a worker takes it
    queues.started("train", 7)
    assert queues.wake("train", 7)


def test_while_a_job_waits_for_a_busy_worker_no_other_piles_up(
    queues: Queues, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_QUEUED_S", 1)
    queues.wake("train", 7)
    time.sleep(1.1)
    assert not queues.wake("train", 7)
    assert queues.lengths()["train"] == 1


def test_a_job_that_was_lost_is_enqueued_again(
    queues: Queues, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_QUEUED_S", 1)
    queues.wake("train", 7)
    queues.queue("train").pop_job_id()  # its worker died before it began
    assert not queues.wake("train", 7)  # it may still begin
    time.sleep(1.1)
    assert queues.wake("train", 7)


def test_only_workers_that_report_are_counted(queues: Queues, redis: Redis) -> None:
    for kind, name in (("review", "a"), ("review", "b"), ("train", "c")):
        queues.report(kind, name)
        queues.report(kind, name)
    assert queues.workers() == {"review": 2, "push": 0, "train": 1}
    queues.gone("review", "a")
    assert queues.workers() == {"review": 1, "push": 0, "train": 1}
    # A killed worker says nothing more: its key must go by itself within seconds.
    assert all(0 < redis.ttl(key) <= 10 for key in redis.scan_iter("aa:worker:*"))


def test_a_job_s_state_can_be_asked(queues: Queues) -> None:
    assert queues.job("unknown") is None
    queues.wake("push", 7)
    (job,) = queues.queue("push").jobs
    assert queues.job(job.id) == {
        "job_id": job.id,
        "status": "queued",
        "description": "push project 7",
        "meta": {},
    }
