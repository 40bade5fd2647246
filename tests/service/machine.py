"""A machine for service tests: a Redis of its own and our programs as processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from label_studio_server import free_port

from backend import programs
from backend.settings import Settings
from backend.supervisor import end_sessions
from backend.wiring import Wiring

ROOT = Path(__file__).parents[2]
CONFIG = (
    '<View><Text name="text" value="$text"/><Choices name="sentiment" toName="text">'
    '<Choice value="positive"/><Choice value="neutral"/><Choice value="negative"/></Choices></View>'
)


class Machine:
    """Programs of one backend; use it as a context manager."""

    def __init__(self, folder: Path, **settings: str) -> None:
        # A unix socket's path must stay short, and pytest's folders are long.
        self._short = tempfile.TemporaryDirectory(prefix="aa-")
        data_dir = Path(self._short.name)
        self.environ = {
            **os.environ,
            "DATA_DIR": str(data_dir),
            "MODEL_DIR": str(folder / "models"),
            "PORT": str(free_port()),
            "LLM_PROVIDER": "none",
            "PROMOTE_EVERY": "0",
            "LABEL_STUDIO_URL": "",
            "LABEL_STUDIO_API_KEY": "",
            **settings,
        }
        self.settings = Settings.from_env(self.environ)
        self.wiring = Wiring(self.settings)
        self.folder = folder
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._left: list[int] = []  # killed alone

    def __enter__(self) -> Machine:
        self.start("redis")
        eventually(lambda: self.wiring.redis.ping(), 10, "Redis")
        return self

    def __exit__(self, *error: object) -> None:
        for name in list(self._running):
            self.kill(name)
        end_sessions(self._left, 0.5)
        self._short.cleanup()

    def start(self, *names: str) -> None:
        """Start programs by name: redis, web, review, push, train."""
        known = programs.redis_program(self.settings)
        known += programs.backend_programs(self.settings, self.environ)
        for program in known:
            if program.name in names:
                with (self.folder / f"{program.name}.log").open("ab") as log:
                    self._running[program.name] = subprocess.Popen(
                        list(program.argv),
                        env={**os.environ, **program.env},
                        cwd=ROOT,
                        stdout=log,
                        stderr=log,
                        start_new_session=True,
                    )
        if "web" in names:
            eventually(
                lambda: self.http("GET", "/health").status_code == 200, 60, "the web process"
            )

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        """Kill a program and whatever it started, at once."""
        process = self._running.pop(name)
        os.kill(process.pid, number)
        process.wait(30)
        end_sessions([process.pid])

    def second(self, name: str, **settings: str) -> str:
        """Start one more of a program, with settings of its own; returns the name it goes by."""
        first = self._running.pop(name, None)
        environ, self.environ = self.environ, {**self.environ, **settings}
        try:
            self.start(name)
        finally:
            self.environ = environ
        other = f"{name} {len(self._running) + 1}"
        self._running[other] = self._running.pop(name)
        if first:
            self._running[name] = first
        return other

    def kill_alone(self, name: str) -> None:
        """Kill a program at once and leave what it started alone, until the end of the test."""
        process = self._running.pop(name)
        process.kill()
        process.wait(30)
        self._left.append(process.pid)

    def pid(self, name: str) -> int:
        """The process of a program that runs."""
        return self._running[name].pid

    def http(self, method: str, path: str, **more: Any) -> httpx.Response:
        """Ask the web process."""
        url = f"http://127.0.0.1:{self.settings.port}{path}"
        return httpx.request(method, url, timeout=60, **more)

    def post(self, path: str, body: Any, **more: Any) -> httpx.Response:
        """POST JSON to the web process."""
        return self.http("POST", path, json=body, **more)

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `python -m backend ...` on this machine."""
        return subprocess.run(
            [sys.executable, "-m", "backend", *arguments],
            env=self.environ,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def log(self, name: str) -> str:
        """What a program printed."""
        return (self.folder / f"{name}.log").read_text()


def eventually(check: Callable[[], Any], timeout_s: float, what: str) -> Any:
    """Wait until `check` gives something true; errors count as not yet."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            if found := check():
                return found
        except Exception as error:
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {timeout_s:.0f} s: {what}") from error
        assert time.monotonic() < deadline, f"not within {timeout_s:.0f} s: {what}"
        time.sleep(0.1)
