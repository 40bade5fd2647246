"""Keep a set of programs running: start, restart what died, stop all of them.

For one machine without a process manager of its own (`make run`, `make demo`); in containers the
engine does this. Every program runs in a session of its own, so that stopping it reaches whatever
it started. What runs is noted in `processes.json`, so that `down` and the next start can stop
programs whose supervisor was killed.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

logger = logging.getLogger(__name__)

_POLL_S = 0.5
_BACKOFF_MAX_S = 5.0  # a program that died is back within 10 s, also one that dies at once
_STOP_S = 8.0
_LEFT_BEHIND_S = 1.0  # for the children of a program that died: nobody else is revived meanwhile
_LOG_MAX_BYTES = 20 * 1024 * 1024


@dataclass(frozen=True)
class Program:
    """A command to keep running; its log is `logs/<name>.log`."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass
class _Running:
    process: subprocess.Popen[bytes]
    started_at: float
    failures: int = 0
    restart_at: float = 0.0


@dataclass(frozen=True)
class _Record:
    """What `processes.json` holds: identities (pid, start time) of the supervisor and programs."""

    supervisor: list[int] = field(default_factory=list)
    programs: dict[str, list[int]] = field(default_factory=dict)


class Supervisor:
    """Runs programs until `stop`; not thread-safe but for `stop` and `wait`."""

    def __init__(self, data_dir: Path) -> None:
        self._logs = data_dir / "logs"
        self._record = data_dir / "processes.json"
        self._programs: dict[str, Program] = {}
        self._running: dict[str, _Running] = {}
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._watch, name="supervisor", daemon=True)

    def start(self, programs: Sequence[Program]) -> None:
        """Start programs and keep them running from now on; none after a request to stop."""
        if self._stopping.is_set():
            return
        self._logs.mkdir(parents=True, exist_ok=True)
        with self._lock:
            for program in programs:
                self._programs[program.name] = program
                self._running[program.name] = _Running(self._spawn(program), time.monotonic())
                self._note()
        if not self._thread.is_alive():
            self._thread.start()

    def stop(self) -> None:
        """Stop all programs, the last started first, and whatever they started."""
        self._stopping.set()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join()
        with self._lock:
            end_sessions([one.process.pid for one in reversed(self._running.values())])
            for one in self._running.values():
                one.process.wait()
            self._running.clear()
            self._record.unlink(missing_ok=True)

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until `stop` was called; whether it was."""
        return self._stopping.wait(timeout_s)

    def request_stop(self) -> None:
        """Ask `wait` to return; safe in a signal handler."""
        self._stopping.set()

    @staticmethod
    def ask_to_stop(pid: int) -> None:
        """Ask the supervisor process `pid` to stop everything."""
        _signal([pid], signal.SIGTERM)

    def _watch(self) -> None:
        while not self._stopping.wait(_POLL_S):
            with self._lock:
                for name, one in self._running.items():
                    if one.process.poll() is not None:
                        self._try_to_revive(name, one)

    def _try_to_revive(self, name: str, one: _Running) -> None:
        try:
            self._revive(name, one)
        except OSError as error:  # no memory, a full disk, a program that is being replaced
            logger.warning("%s cannot start, trying again: %s", name, error)
            one.restart_at = time.monotonic() + _BACKOFF_MAX_S

    def _revive(self, name: str, one: _Running) -> None:
        now = time.monotonic()
        if not one.restart_at:
            lived = now - one.started_at
            one.failures = one.failures + 1 if lived < 30 else 0
            wait = min(0.5 * 2**one.failures, _BACKOFF_MAX_S)
            one.restart_at = now + wait
            status = one.process.returncode
            logger.warning(
                "%s ended (status %s) and starts again; log: %s",
                name,
                status,
                self._logs / f"{name}.log",
            )
            end_sessions([one.process.pid], _LEFT_BEHIND_S)
        elif now >= one.restart_at:
            process = self._spawn(self._programs[name])
            self._running[name] = _Running(process, now, one.failures)
            self._note()

    def _spawn(self, program: Program) -> subprocess.Popen[bytes]:
        path = self._logs / f"{program.name}.log"
        if path.exists() and path.stat().st_size > _LOG_MAX_BYTES:
            path.replace(path.with_suffix(".log.1"))
        with path.open("ab") as log:
            return subprocess.Popen(
                list(program.argv),
                env=dict(program.env) or None,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _note(self) -> None:
        rows = {name: _identity(one.process.pid) for name, one in self._running.items()}
        aside = self._record.with_suffix(".tmp")
        aside.write_text(json.dumps(_Record(_identity(os.getpid()), rows).__dict__))
        aside.replace(self._record)


def supervisor_pid(data_dir: Path) -> int | None:
    """Pid of the supervisor that runs with this data folder, None when none does."""
    identity = _read(data_dir).supervisor
    return identity[0] if identity and _alive(identity) else None


def end_leftovers(data_dir: Path) -> list[str]:
    """End programs whose supervisor died; returns their names."""
    programs = _read(data_dir).programs
    names = [name for name, identity in programs.items() if session_pids(identity[0])]
    # A session id outlives its leader; only a reused pid could mislead, and its start differs.
    safe = [n for n in names if not _pid_reused(programs[n])]
    end_sessions([programs[name][0] for name in reversed(safe)])
    return safe


def end_sessions(leaders: Sequence[int], patience_s: float | None = None) -> None:
    """Ask each session's processes to end, one session after the other, then kill the rest."""
    for leader in leaders:
        _signal(session_pids(leader), signal.SIGTERM)
        deadline = time.monotonic() + (_STOP_S if patience_s is None else patience_s)
        while session_pids(leader) and time.monotonic() < deadline:
            time.sleep(0.05)
        _signal(session_pids(leader), signal.SIGKILL)


def session_pids(leader: int) -> list[int]:
    """Pids of the processes in the session that `leader` began; zombies are not counted."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            fields = _stat(int(entry.name))
            if fields and int(fields[3]) == leader and fields[0] != "Z":
                found.append(int(entry.name))
    return found


def _signal(pids: Sequence[int], number: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the state on (proc(5)); empty when it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return []
    return text.rpartition(")")[2].split()


def _identity(pid: int) -> list[int]:
    """A pid and its start time in clock ticks, which together name a process."""
    fields = _stat(pid)
    return [pid, int(fields[19]) if fields else 0]


def _alive(identity: Sequence[int]) -> bool:
    fields = _stat(identity[0])
    return bool(fields) and fields[0] != "Z" and int(fields[19]) == identity[1]


def _pid_reused(identity: Sequence[int]) -> bool:
    fields = _stat(identity[0])
    return bool(fields) and int(fields[19]) != identity[1]


def _read(data_dir: Path) -> _Record:
    try:
        return _Record(**json.loads((data_dir / "processes.json").read_text()))
    except (OSError, ValueError, TypeError):
        return _Record()
