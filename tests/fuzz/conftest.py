"""Fuzzing: one running backend for all targets, and the table at the end of the long form."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

import pytest
from machine import Machine
from runs import LONG
from served import INPUTS, Served, tiny_members

FAILED: Counter[str] = Counter()


@pytest.fixture(scope="session")
def members(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Three tiny classifiers, as SPECIALISTS names them."""
    return tiny_members(tmp_path_factory.mktemp("members"))


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory, members: str) -> Iterator[Served]:
    """The app in this process, over a Redis of its own."""
    with Served(tmp_path_factory.mktemp("open"), SPECIALISTS=members) as one:
        yield one


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory, members: str) -> Iterator[Served]:
    """The same with a password and a webhook secret."""
    secrets = {"BASIC_AUTH_USER": "u", "BASIC_AUTH_PASS": "p", "WEBHOOK_SECRET": "s3"}
    with Served(tmp_path_factory.mktemp("guarded"), SPECIALISTS=members, **secrets) as one:
        yield one


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory, members: str) -> Iterator[Machine]:
    """The web process, as it is run."""
    with Machine(tmp_path_factory.mktemp("process"), SPECIALISTS=members) as one:
        one.start("web")
        yield one


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Count failures by target."""
    report = (yield).get_result()  # type: ignore[misc]
    if report.failed and "fuzz" in item.path.parts:
        FAILED[item.name.split("[")[0]] += 1


def pytest_unconfigure(config: pytest.Config) -> None:
    """Print the table after the long form, its last line JSON."""
    if LONG:
        print(f"\n{'target':40} {'inputs':>8} {'failures':>8}")
        for target in sorted({*INPUTS, *FAILED}):
            print(f"{target:40} {INPUTS[target]:8} {FAILED[target]:8}")
        print(json.dumps({"inputs": INPUTS.total(), "failures": FAILED.total()}))
