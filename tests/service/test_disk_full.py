"""A stage on a disk that fills up: nothing half-written is named, and it ends when space is back.

The disk is a small tmpfs in a mount namespace of its own, which needs no root; it is reached
through /proc/PID/root of the process that keeps it.
"""

from __future__ import annotations

import errno
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from learners import Learner
from machine import Machine, eventually

from training.model_store import ModelStore

SIZE = 48_000_000
LEFT = 1_500_000  # one member's checkpoint, not three


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    mounted = tmp_path / "disk"
    mounted.mkdir()
    command = [
        *("bwrap", "--dev-bind", "/", "/", "--size", str(SIZE), "--tmpfs", str(mounted)),
        *("--die-with-parent", "sh", "-c", "echo $$; exec sleep infinity"),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as keeper:
        try:
            assert keeper.stdout
            yield Path(f"/proc/{int(keeper.stdout.readline())}/root{mounted}")
        finally:
            keeper.kill()


def fill(ballast: Path, left: int) -> None:
    """Fill the disk but for so many bytes."""
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(100_000))
        except OSError as error:
            assert error.errno == errno.ENOSPC
        file.truncate(ballast.stat().st_size - left)


def test_a_full_disk_delays_a_stage_and_breaks_nothing(tmp_path: Path, small_disk: Path) -> None:
    models, ballast = small_disk / "models", small_disk / "ballast"
    settings = {"STAGE_SIZE": "12", "STAGE_EPOCHS": "1", "RUNTIME": "torch-fp32"}
    with Machine(tmp_path, MODEL_DIR=str(models), **settings) as machine:
        learner = Learner(machine)
        fill(ballast, LEFT)
        learner.learn(12)
        machine.start("review", "push", "train")

        def told() -> bool:
            return any(
                "The disk is full. Free space in MODEL_DIR" in error["message"]
                for error in machine.wiring.journal.errors()
            )

        eventually(told, 120, "the journal to say what to do")
        assert learner.promotions.served() == learner.first and learner.problems() == []
        assert [path.stem for path in (models / "committees").iterdir()] == [learner.first]
        store = ModelStore(models)
        kept = [path.name for path in (models / "checkpoints").iterdir()]
        assert all(store.open(name).is_dir() for name in kept), "what has a name is whole"
        assert len(kept) < 3 and not list((models / "tmp").iterdir())
        assert learner.waiting() == 12 and learner.ends() == []

        ballast.unlink()
        eventually(lambda: learner.ended(1), 240, "the stage to end by itself")
        assert len(learner.ends()) == 1 and learner.problems() == []
        assert set(kept) <= set(learner.ends()[0].checkpoints.values()), "finished members are kept"
