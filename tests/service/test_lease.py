"""The lease on a real Redis with real holders: one at a time, and none writes after it lost it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from redis import Redis
from redis.client import Pipeline

from backend.lease import Lease, LeaseHeld, LeaseLost

ROOT = Path(__file__).parents[2]
TTL_S = 1.5
HOLDER = f"""
import sys
from redis import Redis
from backend.lease import Lease, LeaseLost
client = Redis(unix_socket_path=sys.argv[1], decode_responses=True)
with Lease(client, "work", ttl_s={TTL_S}) as lease:
    print(lease.token, flush=True)
    sys.stdin.readline()
    try:
        lease.transaction(lambda pipe: pipe.set("written", "by the old holder"))
        print("written", flush=True)
    except LeaseLost as error:
        print("lost:", error, flush=True)
"""


@contextmanager
def holder(redis_socket: str) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lease `work` and writes when it reads a line."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, redis_socket],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert ":" in read(process)
            yield process
        finally:
            process.kill()


def read(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def wait_until(happened: Callable[[], bool], limit_s: float = 10.0) -> None:
    deadline = time.monotonic() + limit_s
    while not happened():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def test_a_lease_has_one_holder(redis: Redis) -> None:
    with Lease(redis, "work"):
        assert Lease.is_held(redis, "work")
        with pytest.raises(LeaseHeld, match="work"), Lease(redis, "work"):
            pytest.fail("held twice")
        with Lease(redis, "other work"):
            pass
        assert Lease.is_held(redis, "work")
    assert not Lease.is_held(redis, "work")
    with Lease(redis, "work"):
        pass


def test_of_many_at_once_one_gets_it(redis: Redis) -> None:
    gate, got = threading.Barrier(8), []

    def take() -> None:
        gate.wait()
        try:
            with Lease(redis, "work") as lease:
                got.append(lease.token)
                done.wait(5)
        except LeaseHeld:
            refused.release()

    done, refused = threading.Event(), threading.Semaphore(0)
    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for _ in range(7):
        assert refused.acquire(timeout=5)
    done.set()
    for thread in threads:
        thread.join()
    assert len(got) == 1


def test_a_lease_ends_with_the_work_that_failed(redis: Redis) -> None:
    with pytest.raises(ZeroDivisionError), Lease(redis, "work"):
        raise ZeroDivisionError
    assert not Lease.is_held(redis, "work")


def test_a_live_holder_keeps_it_past_its_life(redis: Redis) -> None:
    with Lease(redis, "work", ttl_s=1.0) as lease:
        time.sleep(2.0)
        lease.check()


def test_a_killed_holder_loses_it_and_the_work_can_be_taken(
    redis: Redis, redis_socket: str
) -> None:
    with holder(redis_socket) as process:
        process.kill()
        process.wait()
        assert Lease.is_held(redis, "work")  # nobody freed it: it has to expire
        killed_at = time.monotonic()
        wait_until(lambda: not Lease.is_held(redis, "work"))
        assert time.monotonic() - killed_at < TTL_S + 0.5
        with Lease(redis, "work") as lease:
            lease.check()


def test_a_holder_that_was_paused_writes_nothing_over_its_successor(
    redis: Redis, redis_socket: str
) -> None:
    with holder(redis_socket) as process:
        os.kill(process.pid, signal.SIGSTOP)
        wait_until(lambda: not Lease.is_held(redis, "work"))
        with Lease(redis, "work") as successor:
            os.kill(process.pid, signal.SIGCONT)
            print(file=process.stdin, flush=True)
            assert read(process).startswith("lost: work")
            process.wait(10)
            successor.check()  # leaving, it did not free what is not its own
        assert redis.get("written") is None


def test_a_holder_that_still_has_it_writes(redis: Redis, redis_socket: str) -> None:
    with holder(redis_socket) as process:
        print(file=process.stdin, flush=True)
        assert read(process) == "written\n"
    assert redis.get("written") == "by the old holder"


def test_a_lease_lost_between_the_check_and_the_write_writes_nothing(redis: Redis) -> None:
    with Lease(redis, "work") as lease:

        def write(pipe: Pipeline) -> None:
            redis.set(Lease.key("work"), "somebody else's")
            pipe.set("written", 1)

        with pytest.raises(LeaseLost):
            lease.transaction(write)
        with pytest.raises(LeaseLost):
            lease.check()
    assert redis.get("written") is None
    assert redis.get(Lease.key("work")) == "somebody else's"


def test_a_renewal_during_a_write_only_repeats_it(redis: Redis) -> None:
    calls = []
    with Lease(redis, "work") as lease:

        def write(pipe: Pipeline) -> None:
            calls.append(1)
            if len(calls) == 1:
                redis.pexpire(Lease.key("work"), 10_000)
            pipe.incr("written")

        lease.transaction(write)
    assert len(calls) == 2
    assert redis.get("written") == "1"


def test_a_failing_write_leaves_nothing_and_the_lease_usable(redis: Redis) -> None:
    with Lease(redis, "work") as lease:

        def write(pipe: Pipeline) -> None:
            pipe.set("written", 1)
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            lease.transaction(write)
        assert redis.get("written") is None
        lease.transaction(lambda pipe: pipe.set("written", 2))
    assert redis.get("written") == "2"


def test_many_writers_under_constant_renewal_lose_nothing(redis: Redis) -> None:
    stop = threading.Event()

    def renew() -> None:
        while not stop.wait(0.001):
            redis.pexpire(Lease.key("work"), 10_000)

    with Lease(redis, "work") as lease:

        def work() -> None:
            for _ in range(50):
                lease.transaction(lambda pipe: pipe.incr("written"))

        renewer = threading.Thread(target=renew)
        writers = [threading.Thread(target=work) for _ in range(4)]
        for thread in (renewer, *writers):
            thread.start()
        for thread in writers:
            thread.join()
        stop.set()
        renewer.join()
    assert redis.get("written") == "200"
