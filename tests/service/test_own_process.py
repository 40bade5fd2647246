"""Fine-tuning in processes of their own: the same bits, and no failure lost on the way."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_models import publish

from specialists import registry
from specialists.errors import SpecialistUnavailable
from specialists.types import Label, LabelSet, SpecialistRef
from training import fine_tune as here
from training import own_process
from training.course import Course, Member
from training.errors import TrainingError
from training.fine_tune import Example
from training.model_store import ModelStore
from training.params import FineTuneParams

LABELS = LabelSet((Label("negative"), Label("positive")))
MAP = {"NEG": "negative", "POS": "positive"}
EXAMPLES = [Example("so very good", ("positive",)), Example("so very bad", ("negative",))] * 4
PARAMS = FineTuneParams(epochs=2, batch_size=4, seed=5)


@pytest.fixture
def ref(tmp_path: Path) -> SpecialistRef:
    return SpecialistRef("tiny", str(publish(tmp_path / "published", ("NEG", "POS"))), MAP)


def train(
    ref: SpecialistRef,
    out: Path,
    progress: Callable[[float, float], None],
    params: FineTuneParams = PARAMS,
) -> None:
    own_process.fine_tune(ref, LABELS, None, EXAMPLES, out, params, progress)


def test_two_at_once_write_what_one_here_writes(ref: SpecialistRef, tmp_path: Path) -> None:
    told: dict[str, list[float]] = {"a": [], "b": []}

    def run(name: str) -> None:
        train(ref, tmp_path / name, lambda share, loss: told[name].append(share))

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(run, told))
    threads = torch.get_num_threads()
    here.fine_tune(ref, LABELS, None, EXAMPLES, tmp_path / "here", PARAMS)
    assert torch.get_num_threads() == threads
    wanted = load_file(tmp_path / "here" / "adapter_model.safetensors")
    for name, shares in told.items():
        found = load_file(tmp_path / name / "adapter_model.safetensors")
        assert all(torch.equal(found[key], wanted[key]) for key in wanted), name
        assert shares == [0.25, 0.5, 0.75, 1.0]


def test_a_model_that_cannot_be_had_says_so_here(tmp_path: Path) -> None:
    gone = SpecialistRef("gone", str(tmp_path / "nowhere"), MAP)
    with pytest.raises(SpecialistUnavailable, match="nowhere") as caught:
        train(gone, tmp_path / "out", lambda share, loss: None)
    assert caught.value.source == gone.source


def test_a_killed_process_is_an_error_that_names_member_and_device(
    ref: SpecialistRef, tmp_path: Path
) -> None:
    def kill(share: float, loss: float) -> None:
        for child in multiprocessing.active_children():
            child.kill()

    with pytest.raises(TrainingError, match="tiny: the process that trained it on cpu"):
        train(ref, tmp_path / "out", kill, replace(PARAMS, epochs=1_000))


def test_a_stage_that_is_over_takes_its_process_along(ref: SpecialistRef, tmp_path: Path) -> None:
    class Over(Exception):
        """The lease was lost."""

    def stop(share: float, loss: float) -> None:
        raise Over

    with pytest.raises(Over):
        train(ref, tmp_path / "out", stop, replace(PARAMS, epochs=1_000))
    assert not multiprocessing.active_children()


def test_what_memory_is_too_small_for_trains_in_smaller_parts(tmp_path: Path) -> None:
    """A shipped specialist, 256 tokens a text; the whole batch would take over a gigabyte."""
    labels = LabelSet((Label("positive"), Label("neutral"), Label("negative")))
    ref = registry.default_members(labels)[0]
    texts = [f"item {n} was not what we hoped for " * 40 for n in range(8)]
    member = Member(ref, labels, [Example(text, ("negative",)) for text in texts])
    params = FineTuneParams(epochs=1, batch_size=4, memory_mb=900)
    told: dict[str, str] = {}
    store = ModelStore(tmp_path)
    course = Course(
        params, store, own_process.fine_tune, lambda *_: None, told.__setitem__, ["cpu"]
    )
    assert course.train({"a": member}, {}) == told
    assert course.at_once["a"] < 4
    assert store.open(told["a"]).is_dir()
