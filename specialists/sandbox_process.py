"""One isolated process with one module in it, asked over a socket, killed when it is late.

It believes nothing that comes out: an answer has a size, a time and a form, and whatever breaks
one of them ends the process. It does not look at the code; `sandbox.py` does, before.
"""

from __future__ import annotations

import json
import math
import socket
import subprocess
import time
import weakref
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from specialists import isolation
from specialists.errors import SandboxError
from specialists.isolation import Isolation
from specialists.sandbox_worker import LENGTH

# Kinds of SandboxError.
FORM = "its answer has another form"
LATE = "it took too long"
ENDED = "its process ended"
RAISED = "it raised an error"

_MAX_ANSWER_BYTES = 8_000_000
_EXIT_S = 10.0  # a killed process is gone at once; this is for a machine that swaps

Answers = list[dict[str, float]]


@dataclass(frozen=True)
class Limits:
    """What one process may take.

    `memory_bytes` is what it may allocate, beside the model's files and libraries that it maps;
    `cpu_s` is for its whole life: who serves for longer starts a new one.
    """

    memory_bytes: int = 4_000_000_000
    cpu_s: int = 3600
    load_s: float = 180.0
    answer_s: float = 60.0

    def of_process(self) -> dict[str, int]:
        """The limits that the kernel keeps, by their names in `resource`."""
        return {
            "AS": 2 * self.memory_bytes + 8_000_000_000,
            "DATA": self.memory_bytes,
            "CPU": self.cpu_s,
            "FSIZE": isolation.SCRATCH_BYTES,
            "NOFILE": 256,
            "NPROC": 1,
            "CORE": 0,
        }


class SandboxProcess:
    """Runs a module's `annotate`; for one thread at a time."""

    def __init__(self, code: str, model_dir: Path, kind: Isolation, limits: Limits) -> None:
        """Start a process and load the module in it; raises SandboxError."""
        self._limits, model_dir = limits, model_dir.absolute()
        self._socket, theirs = socket.socketpair()
        with theirs:
            command = kind.command(model_dir)
            process = _starter().submit(_start, command, theirs).result()
        self._end = weakref.finalize(self, _end, process, self._socket)  # whoever forgets it
        order = {
            "isolation": kind.name,
            "readable": isolation.readable(model_dir),
            "limits": limits.of_process(),
            "code": code,
            "model_dir": str(model_dir),
        }
        try:
            if self._ask(order, limits.load_s) != {"loaded": True}:
                raise SandboxError("it answered something else than it was asked", FORM)
        except SandboxError:
            self.close()
            raise

    @property
    def alive(self) -> bool:
        """Whether it can be asked again."""
        return self._end.alive

    def annotate(self, texts: Sequence[str]) -> Answers:
        """What the module answers, one a text: finite numbers by name; raises SandboxError."""
        answer = self._ask({"texts": list(texts)}, self._limits.answer_s)
        found = _answers(answer.get("answers"))
        if found is None:
            raise self._ended(
                "annotate must return a list of dicts from label to a finite number", FORM
            )
        if len(found) != len(texts):
            raise self._ended(
                f"annotate got {len(texts)} texts and returned {len(found)} results", FORM
            )
        return found

    def close(self) -> None:
        """Kill the process and all that it holds."""
        self._end()

    def _ask(self, message: dict[str, Any], limit_s: float) -> dict[str, Any]:
        """Send a message and read the answer; the process is closed when there is none."""
        until = time.monotonic() + limit_s
        try:
            raw = json.dumps(message).encode()
            self._socket.settimeout(limit_s)
            self._socket.sendall(LENGTH.pack(len(raw)) + raw)
            (length,) = LENGTH.unpack(self._read(LENGTH.size, until))
            if length > _MAX_ANSWER_BYTES:
                raise self._ended(f"its answer is larger than {_MAX_ANSWER_BYTES} bytes", FORM)
            found = json.loads(self._read(length, until))
        except TimeoutError:
            raise self._ended(f"it took longer than {limit_s:g} s and was stopped", LATE) from None
        except OSError:
            raise self._ended("its process ended, perhaps for lack of memory", ENDED) from None
        except (ValueError, RecursionError):
            raise self._ended("its answer is no JSON", FORM) from None
        if not isinstance(found, dict):
            raise self._ended("its answer is no JSON object", FORM)
        if "error" in found:
            raise SandboxError(str(found["error"]), RAISED)
        return found

    def _read(self, length: int, until: float) -> bytes:
        """Exactly so many bytes; raises TimeoutError, and ConnectionError when it is gone."""
        parts = []
        while length:
            self._socket.settimeout(max(0.001, until - time.monotonic()))
            part = self._socket.recv(min(length, 1 << 20))
            if not part:
                raise ConnectionError
            parts.append(part)
            length -= len(part)
            if time.monotonic() > until:
                raise TimeoutError
        return b"".join(parts)

    def _ended(self, why: str, kind: str) -> SandboxError:
        self.close()
        return SandboxError(why, kind)


def _answers(found: Any) -> Answers | None:
    """What came out, if it has the form of answers."""
    fine = isinstance(found, list) and all(
        isinstance(row, dict)
        and all(isinstance(one, float) and math.isfinite(one) for one in row.values())
        for row in found
    )
    return found if fine else None


def _end(process: subprocess.Popen[bytes], channel: socket.socket) -> None:
    process.kill()
    channel.close()
    with suppress(subprocess.TimeoutExpired):
        process.wait(_EXIT_S)


def _start(command: list[str], theirs: socket.socket) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        stdin=theirs.fileno(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=isolation.ENVIRONMENT,
        cwd="/",
        start_new_session=True,
    )


@cache
def _starter() -> ThreadPoolExecutor:
    """A thread that lives as long as we do: the kernel kills its children when it ends."""
    return ThreadPoolExecutor(1, thread_name_prefix="sandbox")
