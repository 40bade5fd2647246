"""A real Label Studio for tests, with an account and a token.

Needs Label Studio in an environment of its own (its pins fight with ours):
`python -m venv .venv-label-studio && .venv-label-studio/bin/pip install label-studio==1.23.2`.
"""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from backend.label_studio_process import LabelStudioProcess, environment, login_for_token

EXECUTABLE = Path(__file__).parent.parent / ".venv-label-studio" / "bin" / "label-studio"
EMAIL = "admin@example.com"
PASSWORD = "secret-of-a-test"
LEGACY_TOKEN = "0123456789abcdef0123456789abcdef01234567"


@dataclass(frozen=True)
class Server:
    """A Label Studio that answers; `token` is a personal access token (PAT) of its owner."""

    url: str
    email: str
    password: str
    token: str = field(repr=False)


@contextmanager
def label_studio_server(data_dir: Path) -> Iterator[Server]:
    """Run Label Studio on a free port with `data_dir`, which is new."""
    token = first_start(data_dir)
    with _started(data_dir) as process:
        yield Server(process.url, EMAIL, PASSWORD, token)


def first_start(data_dir: Path) -> str:
    """Lay into `data_dir` what a first start leaves, and return the token that was made then.

    It is made once a machine: a first start runs every migration, which takes 40 s.
    """
    if not EXECUTABLE.exists():
        pytest.fail(f"No Label Studio: install label-studio==1.23.2 so that {EXECUTABLE} exists.")
    kept = EXECUTABLE.parents[1] / "first-start"
    if not kept.exists():
        making = kept.with_suffix(".new")
        shutil.rmtree(making, ignore_errors=True)
        with _started(making) as process:
            token = login_for_token(process.url, EMAIL, PASSWORD)
        (making / "token").write_text(token)
        making.rename(kept)
    shutil.copytree(kept, data_dir, dirs_exist_ok=True)
    return (kept / "token").read_text()


@contextmanager
def _started(data_dir: Path) -> Iterator[LabelStudioProcess]:
    env = environment(os.environ, EMAIL, PASSWORD)
    with LabelStudioProcess(EXECUTABLE, data_dir, free_port(), env) as process:
        process.ready()
        yield process


def free_port() -> int:
    """Ask the system for a port that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
