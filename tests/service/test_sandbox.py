"""The sandbox: it starts when needed, ends when it should, and says in a sentence what failed."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from test_sandbox_attacks import KINDS, SHORT, workers

from specialists import isolation, lockdown
from specialists.errors import NoIsolation, SandboxError
from specialists.sandbox import Limits, Sandbox
from specialists.sandbox_process import SandboxProcess

ROOT = Path(__file__).parents[2]
LIMITS = Limits(memory_bytes=500_000_000, cpu_s=60, load_s=60.0, answer_s=30.0)
COUNTS = """
import itertools


def load(model_dir):
    return itertools.count()


def annotate(model, texts):
    if "fail" in texts:
        raise ValueError("on purpose")
    while "hang" in texts:
        pass
    return [{"calls": float(next(model)), "length": float(len(text))} for text in texts]
"""


def eventually(holds: Callable[[], bool], limit_s: float = 15.0) -> None:
    until = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < until, "not in time"
        time.sleep(0.02)


def test_the_model_is_loaded_once_and_asked_often(tmp_path: Path) -> None:
    others, one = workers(), Sandbox(COUNTS, tmp_path, LIMITS)
    assert workers() == others  # nothing runs before the first question
    assert one.annotate(["a", "bcd"]) == [{"calls": 0, "length": 1}, {"calls": 1, "length": 3}]
    assert one.annotate(["e\u00e9\U0001f600"]) == [{"calls": 2, "length": 3}]
    one.close()
    eventually(lambda: workers() <= others)
    assert one.annotate(["a"]) == [{"calls": 0, "length": 1}]
    one.close()


def test_what_the_code_raises_comes_with_its_line_and_the_process_goes_on(tmp_path: Path) -> None:
    one = Sandbox(COUNTS, tmp_path, LIMITS)
    one.annotate(["a"])
    with pytest.raises(SandboxError, match=r"(?s)module.py\", line \d+.*ValueError: on purpose"):
        one.annotate(["fail"])
    assert one.annotate(["a"])[0]["calls"] == 1
    one.close()


def test_a_process_that_is_late_or_dead_is_replaced(tmp_path: Path) -> None:
    others, one = workers(), Sandbox(COUNTS, tmp_path, SHORT)
    with pytest.raises(SandboxError, match="took longer than 1 s"):
        one.annotate(["hang"])
    eventually(lambda: workers() <= others)
    assert one.annotate(["a"])[0]["calls"] == 0
    for pid in workers() - others:
        os.kill(int(pid), signal.SIGKILL)
    with pytest.raises(SandboxError, match="its process ended"):
        one.annotate(["a"])
    assert one.annotate(["a"])[0]["calls"] == 0
    one.close()


def test_code_that_fails_again_and_again_is_left_alone(tmp_path: Path) -> None:
    one = Sandbox("def load(d):\n    return 1 / 0\ndef annotate(m, t):\n    return []", tmp_path)
    for _ in range(3):
        with pytest.raises(SandboxError, match="ZeroDivisionError"):
            one.annotate(["a"])
    others = workers()
    with pytest.raises(SandboxError, match="3 times in a row"):
        one.annotate(["a"])
    assert workers() <= others


def test_threads_take_turns(tmp_path: Path) -> None:
    one, seen = Sandbox(COUNTS, tmp_path, LIMITS), []

    def ask() -> None:
        for _ in range(20):
            seen.extend(row["calls"] for row in one.annotate(["a"]))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen) == list(range(80))
    one.close()


def test_the_process_outlives_the_thread_that_asked_first(tmp_path: Path) -> None:
    one = Sandbox(COUNTS, tmp_path, LIMITS)
    first = threading.Thread(target=one.annotate, args=(["a"],))
    first.start()
    first.join()
    time.sleep(0.2)  # the kernel's signal, if there were one
    assert one.annotate(["a"])[0]["calls"] == 1
    one.close()


def test_a_sandbox_that_nobody_holds_ends(tmp_path: Path) -> None:
    others, one = workers(), Sandbox(COUNTS, tmp_path, LIMITS)
    one.annotate(["a"])
    assert workers() - others
    del one
    gc.collect()
    eventually(lambda: workers() <= others)


@pytest.mark.parametrize("kind", KINDS)
def test_a_process_that_never_listens_dies_with_us(kind: str, tmp_path: Path) -> None:
    others = workers()
    program = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from specialists.isolation import find
from specialists.sandbox_process import Limits, SandboxProcess
kind = find(({kind!r},))
SandboxProcess("while True: pass", Path({str(tmp_path)!r}), kind, Limits())
"""
    parent = subprocess.Popen([sys.executable, "-c", program])
    eventually(lambda: bool(workers() - others))
    time.sleep(0.5)  # into its loop
    assert workers() - others
    parent.kill()
    parent.wait()
    eventually(lambda: workers() <= others)


@pytest.mark.parametrize("kind", KINDS)
def test_of_a_model_its_data_can_be_read_and_no_code_or_pickle(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blob = tmp_path / "blobs" / "1234"
    blob.parent.mkdir()
    blob.write_text("{}")
    model = tmp_path / "snapshots" / "main"
    model.mkdir(parents=True)
    (model / "config.json").symlink_to(blob)  # as the Hub's cache has it
    (model / "tokenizer.json").symlink_to("/etc/passwd")
    for name in ("modeling.py", "pytorch_model.bin", "vocab.txt"):
        (model / name).write_text("x")
    reads = """
import os
def load(model_dir):
    found = {}
    for name in ("config.json", "vocab.txt", "tokenizer.json", "modeling.py", "pytorch_model.bin"):
        try:
            with open(os.path.join(model_dir, name)) as file:
                found[name] = float(len(file.read()))
        except OSError:
            found[name] = -1.0
    return found
def annotate(model, texts):
    return [model]
"""
    monkeypatch.chdir(model.parent)
    one = SandboxProcess(reads, Path(model.name), isolation.find((kind,)), LIMITS)
    assert one.annotate(["a"]) == [
        {
            "config.json": 2,
            "vocab.txt": 1,
            "tokenizer.json": -1,
            "modeling.py": -1,
            "pytorch_model.bin": -1,
        }
    ]
    one.close()


def test_landlock_stands_in_for_bubblewrap_and_without_both_nothing_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    isolation.find.cache_clear()
    try:
        assert isolation.find().name == "bubblewrap"
        isolation.find.cache_clear()
        monkeypatch.setenv("PATH", "/nowhere")
        if isolation.LANDLOCK in KINDS:
            assert isolation.find().name == "landlock"
            one = Sandbox(COUNTS, tmp_path, LIMITS)
            assert one.annotate(["a"])[0]["calls"] == 0
            one.close()
        isolation.find.cache_clear()
        monkeypatch.setattr(lockdown, "landlock_version", lambda: 0)
        with pytest.raises(NoIsolation, match="apt-get install bubblewrap"):
            Sandbox(COUNTS, tmp_path)
    finally:
        isolation.find.cache_clear()
