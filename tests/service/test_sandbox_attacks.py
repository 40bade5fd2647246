"""Programs that attack: with the syntax check they do not start, without it they get nothing.

What could be got is real: files, an environment variable, listening sockets, processes. A machine
without isolation fails these tests and says what to install.
"""

from __future__ import annotations

import os
import pickle
import socket
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from attacks import ATTACKS, HARMLESS_TO_READ, STOPPED_BY_TIME, module

from specialists import isolation, lockdown
from specialists.contract import to_votes
from specialists.errors import SandboxError
from specialists.sandbox import Sandbox
from specialists.sandbox_process import Limits, SandboxProcess
from specialists.types import Label, LabelSet

LABELS = LabelSet((Label("a"), Label("b")))
LIMITS = Limits(memory_bytes=500_000_000, cpu_s=60, load_s=60.0, answer_s=30.0)
SHORT = replace(LIMITS, load_s=3.0, answer_s=1.0)
# Landlock is the kernel's; bubblewrap can be installed, and these tests fail without it.
KINDS = [isolation.BUBBLEWRAP, *([isolation.LANDLOCK] if lockdown.landlock_version() else [])]
SECRET = "AA_TEST_SECRET_KEY"
GONE_S = 10.0


@dataclass(frozen=True)
class Prey:
    """What an attacker would like to have, and what shows that one got at it."""

    folder: Path
    token: str
    listening: list[socket.socket] = field(default_factory=list)
    places: dict[str, str] = field(default_factory=dict)

    @property
    def model(self) -> Path:
        """The folder that the sandbox may read."""
        return self.folder / "model"

    def module(self, name: str) -> str:
        """A program with this machine's places in it."""
        program = ATTACKS[name]
        for place, value in self.places.items():
            program = program.replace(f"@{place}@", value)
        assert "@" not in program
        return module(program)

    def files(self) -> dict[str, object]:
        """Every file with its content, mode and times."""
        found = {}
        for path in sorted(self.folder.rglob("*")):
            stat = path.stat()
            content = path.read_bytes() if path.is_file() else b""
            found[str(path)] = (content, stat.st_mode, stat.st_uid, stat.st_mtime_ns, stat.st_nlink)
        return found

    def reached(self) -> list[int]:
        """The listeners that somebody reached."""
        found = []
        for listener in self.listening:
            with suppress(BlockingIOError):
                if listener.type == socket.SOCK_STREAM:
                    listener.accept()[0].close()
                else:
                    listener.recv(9)
                found.append(listener.family)
        return found


@pytest.fixture
def prey(monkeypatch: pytest.MonkeyPatch) -> Iterator[Prey]:
    # Not in /tmp, where a sandbox has a scratch folder of its own.
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name, ExitStack() as open_until_the_end:
        folder, token = Path(name), f"token-{uuid.uuid4().hex}"
        monkeypatch.setenv(SECRET, token)
        secret = folder / "secret.txt"
        secret.write_text(token)
        (folder / "array.npy").write_bytes(pickle.dumps(token))
        for model, content in (("model", "{}"), ("other", token)):
            (folder / model).mkdir()
            (folder / model / "config.json").write_text(content)
        made = Prey(folder, token)
        made.places.update(
            SECRET=repr(str(secret)),
            MODEL=repr(str(made.model)),
            OTHER_MODEL=repr(str(folder / "other" / "config.json")),
            PICKLE=repr(str(folder / "array.npy")),
            PARENT=str(os.getpid()),
        )
        listen(made, open_until_the_end)
        handle = open_until_the_end.enter_context(secret.open())
        os.set_inheritable(handle.fileno(), True)
        yield made


def listen(prey: Prey, stack: ExitStack) -> None:
    """Open real listeners of every kind."""
    name = f"aa-{uuid.uuid4().hex}"
    tcp = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    port = tcp.getsockname()[1]
    udp, unix, abstract = (
        stack.enter_context(socket.socket(family, kind))
        for family, kind in (
            (socket.AF_INET, socket.SOCK_DGRAM),
            (socket.AF_UNIX, socket.SOCK_STREAM),
            (socket.AF_UNIX, socket.SOCK_STREAM),
        )
    )
    udp.bind(("127.0.0.1", port))
    unix.bind(str(prey.folder / "socket"))
    abstract.bind(f"\0{name}")
    for listener in (unix, abstract):
        listener.listen()
    for listener in (tcp, udp, unix, abstract):
        listener.setblocking(False)
        prey.listening.append(listener)
    prey.places.update(PORT=str(port), UNIX=repr(str(prey.folder / "socket")), ABSTRACT=repr(name))


def workers() -> set[str]:
    """Processes of sandboxes on this machine."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if b"specialists.sandbox_worker" in (folder / "cmdline").read_bytes():
                found.add(folder.name)
    return found


def outcome(code: str, prey: Prey, kind: str, limits: Limits = LIMITS) -> str:
    """All that comes out of a program: "nothing", "refused: ...", or what it got."""
    process = None
    try:
        process = SandboxProcess(code, prey.model, isolation.find((kind,)), limits)
        answers = process.annotate(["a text", "another"])
        names = {name for row in answers for name in row}
        if names == {"nothing"} or any(name.startswith("got ") for name in names):
            return min(names)
        return f"believed {to_votes(answers, LABELS)}"
    except SandboxError as error:
        return f"refused: {error}"
    finally:
        if process:
            process.close()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ATTACKS)
def test_a_program_gets_nothing_from_its_process(name: str, kind: str, prey: Prey) -> None:
    before, others = prey.files(), workers()
    slow = name in STOPPED_BY_TIME
    found = outcome(prey.module(name), prey, kind, SHORT if slow else LIMITS)
    assert found == "nothing" or found.startswith("refused: ")
    assert ("took longer" in found) == slow, found
    assert prey.token not in found
    assert len(found) < 5000
    assert prey.files() == before
    assert prey.reached() == []
    until = time.monotonic() + GONE_S
    while workers() - others and time.monotonic() < until:
        time.sleep(0.02)
    assert workers() - others == set()


@pytest.mark.parametrize("name", [name for name in ATTACKS if name not in HARMLESS_TO_READ])
def test_a_program_does_not_pass_the_syntax_check(name: str, prey: Prey) -> None:
    with pytest.raises(SandboxError, match="not allowed"):
        Sandbox(prey.module(name), prey.model)


def test_without_a_sandbox_the_same_programs_get_what_they_want(prey: Prey) -> None:
    got = []
    for name in ("reads a file by its path", "reads the environment", "connects over TCP"):
        names: dict[str, Any] = {}
        exec(prey.module(name), names)
        got += names["annotate"](None, ["a text"])
    assert [prey.token in str(row) for row in got] == [True, True, False]
    assert prey.reached() == [socket.AF_INET]


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_program_got_would_be_seen(kind: str, prey: Prey) -> None:
    assert outcome(module("def attack(): return 'it'"), prey, kind) == "got it"
    fair = "def load(d): pass\ndef annotate(m, t): return [{'a': 0.5, 'b': 0.5} for _ in t]"
    assert outcome(fair, prey, kind).startswith("believed")


def test_there_are_many_programs() -> None:
    assert len(ATTACKS) >= 100
