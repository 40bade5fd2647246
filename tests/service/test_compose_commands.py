"""The commands that compose file and Dockerfile name, run for real over a copy of the image.

The copy holds only the files that the Dockerfile copies; the environment is the compose file's,
with the folders, Redis and ports of this machine.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from redis import ConnectionError as RedisConnectionError
from redis import Redis

from backend import embedded_redis
from tests import deployment
from tests.deployment import REQUIRED, services

START_S = 120.0  # torch is imported; the machine may be busy
STOP_S = 15.0
KINDS = ("review", "push", "train")
WORKERS = (*KINDS, "train-gpu")


@dataclass(frozen=True)
class Machine:
    """Where the commands run: the image's files, a Redis and a free port."""

    app: Path
    redis_url: str
    port: int

    def argv(self, command: list[str]) -> list[str]:
        """A command of the image with this Python and this port."""
        assert command[0] == "python"
        rest = [part.replace("0.0.0.0:9090", f"127.0.0.1:{self.port}") for part in command[1:]]
        return [sys.executable, *(part.replace(":9090/", f":{self.port}/") for part in rest)]

    def environment(self, service: str) -> dict[str, str]:
        """The service's environment with what differs on this machine; nothing is inherited."""
        return {
            **deployment.image_environment(),
            **services({**REQUIRED, "LLM_PROVIDER": "none"})[service]["environment"],
            "REDIS_URL": self.redis_url,
            "DATA_DIR": str(self.app.parent / "data"),
            "MODEL_DIR": str(self.app.parent / "data" / "models"),
            "HF_HOME": str(self.app.parent / "data" / "huggingface"),
            "DEVICE": "cpu",
            "HOME": str(self.app.parent),
            "PATH": os.environ["PATH"],
        }

    def healthy(self, service: str, check: list[str]) -> bool:
        """Whether the service's health check says so."""
        done = subprocess.run(
            self.argv(check),
            cwd=self.app,
            env=self.environment(service),
            capture_output=True,
            timeout=60,
        )
        return done.returncode == 0

    @contextmanager
    def running(self, service: str, command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
        """The service's command as a process of its own session; whatever is left is killed."""
        log = self.app.parent / f"{service}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                self.argv(command),
                cwd=self.app,
                env=self.environment(service),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            yield process
        except BaseException:
            print(log.read_text(errors="replace"))
            raise
        finally:
            if members(process.pid):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def members(group: int) -> list[int]:
    """The living processes of a process group."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, its_group = stat.read_text().rpartition(")")[2].split()[:3]
        except OSError:  # it ended
            continue
        if int(its_group) == group and state != "Z":
            found.append(int(stat.parent.name))
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(true: Callable[[], bool], process: subprocess.Popen[bytes], timeout_s: float) -> None:
    """Wait for it; fail when the time or the process ends before."""
    deadline = time.monotonic() + timeout_s
    while not true():
        assert process.poll() is None, f"It ended with status {process.returncode}."
        assert time.monotonic() < deadline, f"Not within {timeout_s:.0f} s."
        time.sleep(0.3)


def check_of(service: str) -> list[str]:
    argv: list[str] = services()[service]["healthcheck"]["test"][1:]
    return argv


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the image would hold, and nothing else."""
    app = tmp_path_factory.mktemp("image") / "app"
    app.mkdir()
    for source in deployment.copied():
        if source.is_dir():
            ignore = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, app / source.name, ignore=ignore)
        else:
            shutil.copy(source, app)
    return app


@pytest.fixture(scope="module")
def redis_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A Redis on TCP, started by the compose file's own command."""
    port, folder = free_port(), tmp_path_factory.mktemp("redis")
    options = [*services()["redis"]["command"][1:], "--port", str(port), "--bind", "127.0.0.1"]
    quiet = subprocess.DEVNULL
    command = [embedded_redis.executable(), *options, "--dir", str(folder)]
    server = subprocess.Popen(command, stdout=quiet, stderr=quiet)
    try:
        with Redis(port=port) as client:
            until(lambda: answers(client), server, 10)
            assert client.info("persistence")["aof_enabled"] == 1
        yield port
    finally:
        server.terminate()
        server.wait(10)


def answers(client: Redis) -> bool:
    try:
        return bool(client.ping())
    except RedisConnectionError:
        return False


@pytest.fixture
def client(redis_port: int) -> Iterator[Redis]:
    with Redis(port=redis_port, decode_responses=True) as client:
        client.flushall()
        yield client


@pytest.fixture
def machine(image: Path, redis_port: int, client: Redis) -> Machine:
    return Machine(image, f"redis://127.0.0.1:{redis_port}/0", free_port())


@pytest.mark.parametrize("source", ["docker-compose.yml", "Dockerfile"])
def test_the_web_process_gets_healthy_and_ends_cleanly(machine: Machine, source: str) -> None:
    if source == "Dockerfile":
        command, check = deployment.image_command(), deployment.image_health_check()
    else:
        command, check = services()["web"]["command"], check_of("web")
    assert not machine.healthy("web", check)
    with machine.running("web", command) as process:
        until(lambda: machine.healthy("web", check), process, START_S)
        process.send_signal(signal.SIGTERM)
        assert process.wait(STOP_S) == 0
        assert members(process.pid) == []
    assert not machine.healthy("web", check)


@pytest.mark.parametrize("service", WORKERS)
def test_a_worker_gets_healthy_and_ends_cleanly(
    machine: Machine, client: Redis, service: str
) -> None:
    check = check_of(service)
    client.set("aa:worker:push:push-another-machine-1-abcdef", 1)
    assert not machine.healthy(service, check), "another machine's worker is not this one"
    with machine.running(service, services()[service]["command"]) as process:
        until(lambda: machine.healthy(service, check), process, START_S)
        process.send_signal(signal.SIGTERM)
        assert process.wait(STOP_S) == 0
        assert members(process.pid) == []
    assert not machine.healthy(service, check)
    assert client.keys("aa:worker:*") == ["aa:worker:push:push-another-machine-1-abcdef"]


def test_a_killed_worker_is_unhealthy_within_seconds(machine: Machine) -> None:
    check = check_of("push")
    with machine.running("push", services()["push"]["command"]) as process:
        until(lambda: machine.healthy("push", check), process, START_S)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    deadline = time.monotonic() + 15
    while machine.healthy("push", check):
        assert time.monotonic() < deadline
        time.sleep(0.5)


def test_a_worker_without_redis_ends_with_the_next_step(machine: Machine) -> None:
    lonely = Machine(machine.app, f"redis://127.0.0.1:{free_port()}/0", machine.port)
    with lonely.running("review", services()["review"]["command"]) as process:
        assert process.wait(START_S) == 1
    assert "check REDIS_URL" in (machine.app.parent / "review.log").read_text()
    assert not lonely.healthy("review", check_of("review"))
