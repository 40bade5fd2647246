"""The programs of one machine: embedded Redis, web process and workers, under the supervisor."""

from __future__ import annotations

import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType

import httpx

from backend import embedded_redis
from backend.committees import check_runtime
from backend.environment import replaced
from backend.errors import BackendError
from backend.settings import Settings
from backend.supervisor import Program, Supervisor, end_leftovers, supervisor_pid

_START_S = 60.0


class CannotStart(BackendError):
    """Something else is in the way; the message says what to change."""


def child_environment(settings: Settings, environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of our processes: ours, with Redis and folders made absolute."""
    return {
        # Threads that spin while they wait slow a machine that runs several of us four times.
        "OMP_WAIT_POLICY": "PASSIVE",
        **replaced(environ, {"REDIS_URL": embedded_redis.url(settings)}),
        "DATA_DIR": str(settings.data_dir.absolute()),
        "MODEL_DIR": settings.bucket or str(settings.models.absolute()),
        "PYTHONUNBUFFERED": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }


def redis_program(settings: Settings) -> list[Program]:
    """The embedded Redis; none when REDIS_URL names another."""
    if settings.redis_url:
        return []
    return [Program("redis", embedded_redis.command(settings.data_dir))]


def backend_programs(settings: Settings, environ: Mapping[str, str]) -> list[Program]:
    """The web process and one worker of each kind."""
    env = child_environment(settings, environ)
    web = [
        *(sys.executable, "-m", "gunicorn", "--no-control-socket"),
        *("--logger-class", "backend.web.server_log.ServerLog"),
        *("--worker-class", "gthread", "--workers", "1", "--threads", str(settings.web_threads)),
        *("--bind", f"{settings.host}:{settings.port}", "--timeout", "120", "_wsgi:app"),
    ]
    workers = [
        Program(kind, [sys.executable, "-m", "backend", "worker", kind], env)
        for kind in ("review", "push", "train")
    ]
    return [Program("web", web, env), *workers]


def prepare(settings: Settings, ports: Mapping[str, int]) -> None:
    """Make sure that nothing is in the way; `ports` maps the variable to the port it sets.

    Raises:
        CannotStart: It runs already, or a port is taken.
        RuntimeUnavailable: This machine lacks what RUNTIME asks for.
    """
    check_runtime(settings)
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    running = supervisor_pid(settings.data_dir)
    if running is not None:
        raise CannotStart(
            f"It runs already with DATA_DIR={settings.data_dir} (process {running}); "
            "stop it with: make down"
        )
    end_leftovers(settings.data_dir)
    for variable, port in ports.items():
        if _taken(settings.host, port):
            raise CannotStart(f"Port {port} is taken; choose another one with {variable}=PORT.")


def wait_for_web(settings: Settings, supervisor: Supervisor) -> None:
    """Wait until the web process answers.

    Raises:
        CannotStart: It does not within a minute (names the log), or Ctrl-C came before that.
    """
    url = f"http://127.0.0.1:{settings.port}/health"
    _until(lambda: httpx.get(url, timeout=2).status_code == 200, settings, "web", supervisor)


def wait_for_redis(settings: Settings, supervisor: Supervisor) -> None:
    """Wait until Redis answers; raises as `wait_for_web` does."""
    client = embedded_redis.connect(settings, decode=True)
    _until(lambda: bool(client.ping()), settings, "redis", supervisor)


def stop_on_signals(supervisor: Supervisor) -> None:
    """Let SIGINT and SIGTERM end the supervisor's `wait`."""

    def stop(number: int, frame: FrameType | None) -> None:
        supervisor.request_stop()

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)


def down(data_dir: Path, say: Callable[[str], None]) -> None:
    """Stop what `run` or `demo` started with this data folder, also when its supervisor died."""
    pid = supervisor_pid(data_dir)
    if pid is not None:
        Supervisor.ask_to_stop(pid)
        deadline = time.monotonic() + 90
        while supervisor_pid(data_dir) == pid and time.monotonic() < deadline:
            time.sleep(0.1)
    left = end_leftovers(data_dir)
    (data_dir / "processes.json").unlink(missing_ok=True)
    if pid is None and not left:
        say("Nothing runs.")
    else:
        say("Stopped.")


def _taken(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return True
    return False


def _until(
    ready: Callable[[], bool], settings: Settings, name: str, supervisor: Supervisor
) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        try:
            if ready():
                return
        except Exception:  # not up yet, in whatever way its client says so
            pass
        if supervisor.wait(0.1):
            raise CannotStart("Stopped before everything was up.")
    log = settings.data_dir / "logs" / f"{name}.log"
    raise CannotStart(f"{name} does not answer within {_START_S:.0f} s; see {log}")
