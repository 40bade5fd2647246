"""A real Label Studio for tests: started once, with an account and a token.

Needs Label Studio in an environment of its own (its pins fight with ours):
`python -m venv .venv-label-studio && .venv-label-studio/bin/pip install label-studio==1.23.2`.
"""

from __future__ import annotations

import os
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
def label_studio_server(data_dir: Path, legacy_tokens: bool = False) -> Iterator[Server]:
    """Run Label Studio on a free port with `data_dir`; a fresh folder takes about 40 s."""
    if not EXECUTABLE.exists():
        pytest.fail(f"No Label Studio: install label-studio==1.23.2 so that {EXECUTABLE} exists.")
    env = environment(os.environ, EMAIL, PASSWORD, LEGACY_TOKEN if legacy_tokens else "")
    with LabelStudioProcess(EXECUTABLE, data_dir, free_port(), env) as process:
        process.ready()
        token = login_for_token(process.url, EMAIL, PASSWORD)
        yield Server(process.url, EMAIL, PASSWORD, token)


def free_port() -> int:
    """Ask the system for a port that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
