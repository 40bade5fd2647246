"""benchmarks.scale on a small project: the product's own jobs run, nothing outgrows the data."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator

import pytest

from benchmarks.scale import __main__ as scale


@pytest.fixture
def as_it_was() -> Iterator[None]:
    """The benchmark takes the process for its own: environment and SIGTERM are given back."""
    environ, on_term = dict(os.environ), signal.getsignal(signal.SIGTERM)
    yield
    os.environ.clear()
    os.environ.update(environ)
    signal.signal(signal.SIGTERM, on_term)


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("as_it_was")
def test_a_small_project_grows_and_is_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(scale, "LEAST", 200)
    monkeypatch.setattr(scale, "LLM_SHARE", 0.05)
    monkeypatch.setattr(scale.refit, "NEW_SHARE", scale.refit.NEW_SHARE)  # restored afterwards
    assert scale.main(["--tasks", "2000"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["tasks"] == 2000
    assert found["verdicts"] > 30, "people answered and the LLM was asked"
    assert found["bytes_per_task_disk"] > 5000
    assert 0 < found["bytes_per_task_redis"] < 5000
    assert found["tasks_per_second"] > 0
