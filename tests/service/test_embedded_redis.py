"""The embedded Redis: what it holds survives a kill, wherever the data folder lies."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from redis import RedisError

from backend import embedded_redis
from backend.queues import Queues
from backend.settings import Settings


@contextmanager
def server(settings: Settings) -> Iterator[subprocess.Popen[bytes]]:
    """The embedded server as the supervisor starts it, answering."""
    process = subprocess.Popen(
        embedded_redis.command(settings.data_dir),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        with embedded_redis.connect(settings, decode=True) as client:
            deadline = time.monotonic() + 10
            while True:
                try:
                    client.ping()
                    break
                except RedisError:
                    assert process.poll() is None, "the server ended"
                    assert time.monotonic() < deadline, "the server does not answer"
                    time.sleep(0.02)
        yield process
    finally:
        process.kill()
        process.wait()


def test_keys_and_queued_jobs_survive_a_kill(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    with server(settings) as process:
        with embedded_redis.connect(settings, decode=True) as client:
            client.set("key", "value")
        with embedded_redis.connect(settings, decode=False) as raw:
            for project in range(50):
                assert Queues(raw).wake("train", project)
        process.kill()
    with server(settings):
        with embedded_redis.connect(settings, decode=True) as client:
            assert client.get("key") == "value"
        with embedded_redis.connect(settings, decode=False) as raw:
            jobs = Queues(raw).queue("train").jobs
            assert [job.args for job in jobs] == [["train", project] for project in range(50)]


def test_it_listens_in_the_data_folder_for_its_user_only(tmp_path: Path) -> None:
    path = embedded_redis.socket_path(tmp_path)
    assert path == tmp_path.resolve() / "redis" / "redis.sock"
    with server(Settings(data_dir=tmp_path)):
        assert path.stat().st_mode & 0o777 == 0o700
        assert path.parent.stat().st_mode & 0o077 == 0


def test_a_long_data_folder_falls_back_to_a_short_socket_path(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / ("long" * 30))
    path = embedded_redis.socket_path(settings.data_dir)
    assert len(str(path)) <= 100
    assert path == embedded_redis.socket_path(settings.data_dir)
    assert path != embedded_redis.socket_path(tmp_path / ("other" * 30))
    try:
        with server(settings):
            assert path.exists()
            assert list((settings.data_dir / "redis").iterdir())  # the data stays where it belongs
    finally:
        path.unlink(missing_ok=True)


@pytest.mark.parametrize("name", ["two words", "a#b", "a?b=c", "a%41", "ä"])
def test_any_folder_name_will_do(tmp_path: Path, name: str) -> None:
    settings = Settings(data_dir=tmp_path / name)
    with server(settings), embedded_redis.connect(settings, decode=True) as client:
        client.set("key", name)
    assert (tmp_path / name / "redis" / "appendonly.aof").stat().st_size > 0


def test_an_address_that_is_set_is_taken(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, redis_url="redis://other:6380/1")
    assert embedded_redis.url(settings) == "redis://other:6380/1"


@pytest.mark.parametrize(
    ("more", "step"),
    [({}, "make run"), ({"redis_url": "unix:///nowhere/redis.sock"}, "check REDIS_URL")],
)
def test_a_redis_that_does_not_answer_says_what_to_do(
    tmp_path: Path, more: dict[str, str], step: str
) -> None:
    settings = Settings.from_env(
        {"DATA_DIR": str(tmp_path), **{key.upper(): value for key, value in more.items()}}
    )
    with (
        embedded_redis.connect(settings, decode=True) as client,
        pytest.raises(embedded_redis.RedisMissing, match=step),
    ):
        embedded_redis.check(client, settings)
