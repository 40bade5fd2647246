"""A real S3 server in a process of its own, and a wire to it that can break."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest
from label_studio_server import free_port
from machine import eventually

VARIABLES = {
    "AWS_ACCESS_KEY_ID": "tester",
    "AWS_SECRET_ACCESS_KEY": "not-for-any-log",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_MAX_ATTEMPTS": "2",
}


@contextmanager
def s3_server(folder: Path) -> Iterator[int]:
    """Run it; gives its port."""
    port = free_port()
    with (folder / "s3.log").open("wb") as log:
        command = [sys.executable, "-m", "moto.server", "-p", str(port)]
        server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        url = f"http://127.0.0.1:{port}/"
        eventually(lambda: httpx.get(url).status_code == 200, 60, "the S3 server (pip: moto[s3])")
        yield port
    finally:
        server.kill()
        server.wait(10)


class Wire:
    """Copies bytes between clients and a port, counts those to it, and breaks when told."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._door.getsockname()[1]
        self._open: list[socket.socket] = []
        self._lock = threading.Lock()
        self.broken = False
        self._left: int | None = None
        self._action: Callable[[], object] = lambda: None
        self.sent = 0
        self._copying: list[threading.Thread] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def after(self, size: int, action: Callable[[], object]) -> None:
        """Call `action` once so many more bytes came from clients."""
        self._left, self._action = size, action

    def cut(self) -> None:
        """Break every connection, and refuse new ones until `mend`."""
        self.broken = True
        with self._lock:
            for one in self._open:
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        self.broken, self._left = False, None

    def close(self) -> None:
        self.cut()
        self._door.shutdown(socket.SHUT_RDWR)
        self._accepting.join(10)
        self._door.close()
        for thread in self._copying:
            thread.join(10)
        for one in self._open:
            one.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._door.accept()
            except OSError:
                return
            if self.broken:
                client.close()
                continue
            server = socket.create_connection(("127.0.0.1", self._target))
            with self._lock:
                self._open += [client, server]
            for ends in ((client, server, True), (server, client, False)):
                self._copying.append(threading.Thread(target=self._copy, args=ends, daemon=True))
                self._copying[-1].start()

    def _copy(self, source: socket.socket, sink: socket.socket, count: bool) -> None:
        with suppress(OSError):
            while data := source.recv(16_384):
                if count:
                    self._counted(len(data))
                sink.sendall(data)
        for one in (source, sink):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _counted(self, size: int) -> None:
        with self._lock:
            self.sent += size
            if self._left is None:
                return
            self._left -= size
            if self._left > 0:
                return
            self._left = None
        self._action()


def make_bucket(name: str) -> str:
    """A bucket on the server of the environment; returns its URL."""
    import fsspec

    fsspec.filesystem("s3").mkdir(name)
    return f"s3://{name}/models"


def use(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    """Let this process and those that it starts reach the server by a port."""
    import fsspec

    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("NO_PROXY", os.environ.get("NO_PROXY", "") + ",127.0.0.1")
    fsspec.filesystem("s3").clear_instance_cache()
