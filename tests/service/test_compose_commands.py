"""The commands that compose file and Dockerfile name, run for real over a copy of the image.

The copy holds only the files that the Dockerfile copies; the environment is the compose file's,
with the folders, secrets, Redis and ports of this machine. As there, a process may write to its
volume and to a temporary folder alone, and has no capability (it is not another user here: that one
might not be let into the folder of this environment).
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
from redis import AuthenticationError, Redis
from redis import ConnectionError as RedisConnectionError

from backend import embedded_redis
from tests import deployment
from tests.deployment import services

START_S = 120.0  # torch is imported; the machine may be busy
STOP_S = 15.0
KINDS = ("review", "push", "train")
WORKERS = (*KINDS, "train-gpu")
PASSWORD = "own redis_password"

# Run as: sh -c CONFINED sh FOLDER COMMAND...; mounts are those of this process alone.
CONFINED = """
set -e
mount --bind "$1" "$1"
mount --bind "$1/data" "$1/data"
mount --bind "$1/tmp" "$1/tmp"
mount -o remount,bind,ro "$1"
mount -o remount,bind,ro /
cd "$1/app"
shift
exec setpriv --no-new-privs --bounding-set -all --inh-caps -all "$@"
"""


@dataclass(frozen=True)
class Machine:
    """Where the commands run: a folder with the image's files, a Redis and a free port."""

    folder: Path
    redis_url: str
    port: int

    def argv(self, command: list[str]) -> list[str]:
        """A command of the image with this Python and this port."""
        assert command[0] == "python"
        rest = [part.replace("0.0.0.0:9090", f"127.0.0.1:{self.port}") for part in command[1:]]
        rest = [part.replace(":9090/", f":{self.port}/") for part in rest]
        return [*confined(self.folder), sys.executable, *rest]

    def environment(self, service: str) -> dict[str, str]:
        """The service's environment with what differs on this machine; nothing is inherited."""
        given = services({"LLM_PROVIDER": "none"})[service]["environment"]
        secrets = f"{self.folder / 'secrets'}/"
        return {
            **deployment.image_environment(),
            **{name: text.replace(deployment.SECRETS, secrets) for name, text in given.items()},
            "REDIS_URL": self.redis_url,
            "DATA_DIR": str(self.folder / "data"),
            "MODEL_DIR": str(self.folder / "data" / "models"),
            "HF_HOME": str(self.folder / "data" / "huggingface"),
            "TMPDIR": str(self.folder / "tmp"),
            "DEVICE": "cpu",
            "HOME": str(self.folder / "home"),
            "PATH": os.environ["PATH"],
        }

    def healthy(self, service: str, check: list[str]) -> bool:
        """Whether the service's health check says so."""
        done = subprocess.run(
            self.argv(check),
            env=self.environment(service),
            capture_output=True,
            timeout=60,
        )
        return done.returncode == 0

    @contextmanager
    def running(self, service: str, command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
        """The service's command as a process of its own session; whatever is left is killed."""
        log = self.folder / f"{service}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                self.argv(command),
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


def confined(folder: Path) -> list[str]:
    """What a command is run by so that it can do no more than in its container."""
    own_rights = [] if os.geteuid() == 0 else ["--map-root-user"]
    return ["unshare", "--mount", *own_rights, "sh", "-c", CONFINED, "sh", str(folder)]


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
    """A folder with the files that the image would hold, and its mounts beside them."""
    folder = tmp_path_factory.mktemp("image")
    for name in ("app", "data", "tmp", "home", "secrets"):
        (folder / name).mkdir()
    for name in deployment.compose()["secrets"]:
        (folder / "secrets" / name).write_text(f"own {name}\n")
    for source in deployment.copied():
        if source.is_dir():
            ignore = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, folder / "app" / source.name, ignore=ignore)
        else:
            shutil.copy(source, folder / "app")
    return folder


@pytest.fixture(scope="module")
def redis_port(image: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A Redis on TCP, started by the compose file's own command."""
    port, folder = free_port(), tmp_path_factory.mktemp("redis")
    *shell, script = services()["redis"]["command"]
    here = f"{embedded_redis.executable()} - --port {port} --bind 127.0.0.1 --dir {folder}"
    script = script.replace("redis-server -", here)
    script = script.replace(deployment.SECRETS, f"{image / 'secrets'}/")
    quiet = subprocess.DEVNULL
    server = subprocess.Popen([*shell, script], stdout=quiet, stderr=quiet)
    try:
        with Redis(port=port, password=PASSWORD) as client:
            until(lambda: answers(client), server, 10)
            assert client.info("persistence")["aof_enabled"] == 1
            assert client.config_get("maxmemory") == {"maxmemory": str(1 << 30)}
        shown = Path(f"/proc/{server.pid}/cmdline").read_text()
        assert "redis-server" in shown and PASSWORD not in shown
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
    with Redis(port=redis_port, password=PASSWORD, decode_responses=True) as client:
        client.flushall()
        yield client


@pytest.fixture
def machine(image: Path, redis_port: int, client: Redis) -> Machine:
    return Machine(image, f"redis://127.0.0.1:{redis_port}/0", free_port())


def test_a_command_can_write_to_its_volume_and_a_temporary_folder_alone(machine: Machine) -> None:
    script = (
        "import os, sys\n"
        "for path in sys.argv[1:]:\n"
        "    try: open(path + '/written', 'w').close(); print(os.path.basename(path))\n"
        "    except OSError: pass\n"
        "print([l for l in open('/proc/self/status') if l.startswith(('CapEff', 'NoNewPrivs'))])"
    )
    folders = [machine.folder / name for name in ("app", "data", "tmp", "home")]
    places = [str(one) for one in (*folders, Path(__file__).parent, Path("/usr"))]
    argv = machine.argv(["python", "-c", script, *places])
    said = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60).stdout
    assert said.splitlines()[:-1] == ["data", "tmp"]
    assert "CapEff:\\t0000000000000000" in said
    assert "NoNewPrivs:\\t1" in said


def test_redis_wants_the_password(redis_port: int) -> None:
    with Redis(port=redis_port) as stranger, pytest.raises(AuthenticationError):
        stranger.ping()


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
    lonely = Machine(machine.folder, f"redis://127.0.0.1:{free_port()}/0", machine.port)
    with lonely.running("review", services()["review"]["command"]) as process:
        assert process.wait(START_S) == 1
    assert "check REDIS_URL" in (machine.folder / "review.log").read_text()
    assert not lonely.healthy("review", check_of("review"))
