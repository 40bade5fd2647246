"""The supervisor with real programs: what dies is back, what is stopped is gone with its children.

Programs are small shell scripts that note their processes in files; `stubborn` ones have a child
that ignores SIGTERM.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from backend.programs import CannotStart, prepare
from backend.settings import Settings
from backend.supervisor import Program, Supervisor, end_leftovers, supervisor_pid

ROOT = Path(__file__).parents[2]
BACK_S = 10.0  # what docs/operate.md promises

RUNNER = """
import sys
from pathlib import Path
from backend.supervisor import Program, Supervisor
supervisor = Supervisor(Path(sys.argv[1]))
supervisor.start([Program(f"program-{n}", ["sh", "-c", argument])
                  for n, argument in enumerate(sys.argv[2:])])
supervisor.wait()
"""


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def wait_until(happened: Callable[[], bool], limit_s: float = 5.0) -> float:
    """Wait until something happened; returns the seconds it took."""
    start = time.monotonic()
    while not happened():
        assert time.monotonic() < start + limit_s, "it did not happen in time"
        time.sleep(0.02)
    return time.monotonic() - start


class Notes:
    """Where programs note the processes they are made of, a line for each start."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def script(self, name: str, *, stubborn: bool = False) -> str:
        """A program with a child."""
        ignore = "trap '' TERM; " if stubborn else ""
        return f'({ignore}exec sleep 600) & echo "$$ $!" >> {self.folder}/{name}.pids; wait'

    def program(self, name: str, *, stubborn: bool = False) -> Program:
        return Program(name, ["sh", "-c", self.script(name, stubborn=stubborn)])

    def starts(self, name: str) -> list[tuple[int, int]]:
        """(program, child) of each start."""
        path = self.folder / f"{name}.pids"
        lines = path.read_text().splitlines() if path.exists() else []
        return [(int(program), int(child)) for program, child in map(str.split, lines)]

    def all_pids(self) -> list[int]:
        names = [path.stem for path in self.folder.glob("*.pids")]
        return [pid for name in names for start in self.starts(name) for pid in start]


@pytest.fixture
def notes(tmp_path: Path) -> Iterator[Notes]:
    """Notes; what a failed test left running is killed."""
    notes = Notes(tmp_path)
    yield notes
    for pid in filter(alive, notes.all_pids()):
        os.kill(pid, signal.SIGKILL)


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    supervisor = Supervisor(tmp_path)
    yield supervisor
    supervisor.stop()


def test_killed_programs_are_back_in_time_and_their_children_gone(
    supervisor: Supervisor, notes: Notes
) -> None:
    names = ("one", "two")
    supervisor.start([notes.program(name, stubborn=True) for name in names])
    wait_until(lambda: all(notes.starts(name) for name in names))
    before = [notes.starts(name)[0] for name in names]
    for program, _ in before:
        os.kill(program, signal.SIGKILL)
    wait_until(lambda: all(len(notes.starts(name)) == 2 for name in names), BACK_S)
    assert not any(alive(pid) for start in before for pid in start)
    assert all(alive(pid) for name in names for pid in notes.starts(name)[1])


def test_a_program_that_dies_at_once_is_tried_again_and_again(
    supervisor: Supervisor, notes: Notes, tmp_path: Path
) -> None:
    tries = tmp_path / "tries"
    dies = Program("dies", ["sh", "-c", f"date +%s.%N >> {tries}; exit 3"])
    supervisor.start([dies, notes.program("lives")])
    wait_until(lambda: tries.exists() and len(tries.read_text().split()) == 5, 20)
    at = [float(line) for line in tries.read_text().split()]
    gaps = [later - earlier for earlier, later in zip(at, at[1:], strict=False)]
    assert min(gaps) > 0.5  # not a busy loop
    assert max(gaps) < 5 + 2 * 0.5 + 0.5  # the longest pause, and polls before and after it
    assert len(notes.starts("lives")) == 1


def test_a_program_that_cannot_be_started_for_a_while_comes_back(
    supervisor: Supervisor, notes: Notes, tmp_path: Path
) -> None:
    command = tmp_path / "command"

    def install() -> None:
        command.write_text(f"#!/bin/sh\n{notes.script('comes')}\n")
        command.chmod(0o755)

    install()
    supervisor.start([Program("comes", [str(command)]), notes.program("other")])
    wait_until(lambda: bool(notes.starts("comes")))
    command.unlink()
    os.kill(notes.starts("comes")[0][0], signal.SIGKILL)
    time.sleep(2.5)  # at least one attempt fails meanwhile
    install()
    wait_until(lambda: len(notes.starts("comes")) == 2, BACK_S)
    assert len(notes.starts("other")) == 1


def test_stop_ends_everything_also_what_ignores_it(
    notes: Notes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backend.supervisor._STOP_S", 1.0)
    supervisor = Supervisor(tmp_path)
    supervisor.start([notes.program("gentle"), notes.program("stubborn", stubborn=True)])
    wait_until(lambda: len(notes.all_pids()) == 4)
    assert all(map(alive, notes.all_pids()))
    assert supervisor_pid(tmp_path) == os.getpid()
    supervisor.stop()
    assert not any(map(alive, notes.all_pids()))
    assert supervisor_pid(tmp_path) is None
    assert supervisor.wait(0)
    supervisor.stop()  # twice does no harm


def test_nothing_is_started_after_a_request_to_stop(notes: Notes, tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path)
    supervisor.start([notes.program("first")])
    wait_until(lambda: bool(notes.starts("first")))
    supervisor.request_stop()
    time.sleep(1.0)  # the watching thread ends
    supervisor.start([notes.program("second")])
    supervisor.stop()
    assert notes.starts("second") == []
    assert not any(map(alive, notes.all_pids()))


def test_what_a_killed_supervisor_left_is_ended(notes: Notes, tmp_path: Path) -> None:
    names = ("one", "two")
    scripts = [notes.script(name) for name in names]
    runner = subprocess.Popen([sys.executable, "-c", RUNNER, str(tmp_path), *scripts], cwd=ROOT)
    try:
        wait_until(lambda: all(notes.starts(name) for name in names))
        wait_until(lambda: supervisor_pid(tmp_path) == runner.pid)
        with pytest.raises(CannotStart, match=f"runs already .*process {runner.pid}.* make down"):
            prepare(Settings(data_dir=tmp_path), {})
    finally:
        runner.kill()
        runner.wait()
    leader, child = notes.starts("one")[0]
    os.kill(leader, signal.SIGKILL)  # its child must be found without it
    assert supervisor_pid(tmp_path) is None
    assert alive(child)
    assert end_leftovers(tmp_path) == ["program-0", "program-1"]
    assert not any(map(alive, notes.all_pids()))
    assert end_leftovers(tmp_path) == []


def test_a_process_that_only_has_the_same_pid_is_spared(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as innocent:
        stranger = [innocent.pid, 1]  # started at another time than the noted one
        record = {"supervisor": stranger, "programs": {"web": stranger}}
        (tmp_path / "processes.json").write_text(json.dumps(record))
        assert supervisor_pid(tmp_path) is None
        assert end_leftovers(tmp_path) == []
        assert alive(innocent.pid)
        innocent.kill()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"unknown": 1}'])
def test_a_damaged_record_names_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "processes.json").write_text(text)
    assert supervisor_pid(tmp_path) is None
    assert end_leftovers(tmp_path) == []


def test_a_program_gets_its_environment_and_its_log(supervisor: Supervisor, tmp_path: Path) -> None:
    command = ["/bin/sh", "-c", 'echo "out $WORD"; echo err >&2; sleep 600']
    program = Program("says", command, {"WORD": "hunter2"})
    assert "hunter2" not in repr(program)
    supervisor.start([program])
    log = tmp_path / "logs" / "says.log"
    wait_until(lambda: log.exists() and log.read_text() == "out hunter2\nerr\n")


def test_a_taken_port_names_the_variable_that_changes_it(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "new")
    with socket.socket() as taken, socket.socket() as free:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        free.bind(("127.0.0.1", 0))
        port, other = taken.getsockname()[1], free.getsockname()[1]
        free.close()
        with pytest.raises(CannotStart, match=f"^Port {port} is taken;.* LABEL_STUDIO_PORT=PORT"):
            prepare(settings, {"PORT": other, "LABEL_STUDIO_PORT": port})
    prepare(settings, {"PORT": port, "LABEL_STUDIO_PORT": other})
    assert settings.data_dir.is_dir()
