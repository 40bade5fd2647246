"""What holds for every test: its folder is its marker, and unit tests reach no network."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any, NoReturn

import pytest

TESTS = Path(__file__).parent
TIERS = ("unit", "service", "fuzz", "e2e", "faults")

# Read by torch when it is first imported: tests share their cores with other programs.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with the name of its folder."""
    for item in items:
        tier = item.path.relative_to(TESTS).parts[0]
        if tier in TIERS:
            item.add_marker(tier)


@pytest.fixture(autouse=True)
def no_network(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a unit test, fail whatever looks up or connects to a host."""
    if request.node.get_closest_marker("unit") is None:
        return
    connect = socket.socket.connect

    def refuse(*target: Any, **more: Any) -> NoReturn:
        raise RuntimeError(f"A unit test must not reach the network: {target[0]!r}")

    def local_only(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6):
            refuse(address)
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", local_only)
    monkeypatch.setattr(socket.socket, "connect_ex", local_only)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
