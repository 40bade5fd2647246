"""Models are opened once by content, in the form that was prepared for them."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest
from tiny_models import WORDS, publish

from specialists import runtime as runtimes
from specialists.committee import Committee
from specialists.models import Models
from specialists.transformer import Transformer
from specialists.types import Label, LabelSet, SpecialistRef

LABELS = LabelSet((Label("negative"), Label("positive")))
MAP = {"NEG": "negative", "POS": "positive"}
TEXTS = [" ".join(WORDS[n % 7 : n % 17 + 2]) for n in range(40)]


@pytest.fixture
def ref(tmp_path: Path) -> SpecialistRef:
    return SpecialistRef("tiny", str(publish(tmp_path / "tiny", ("NEG", "POS"))), MAP)


def opened(models: Models, ref: SpecialistRef, labels: LabelSet = LABELS) -> Transformer:
    found = models.specialist(ref, labels, None)
    assert isinstance(found, Transformer)
    return found


def test_specialists_of_all_projects_share_model_and_tokenizer(
    ref: SpecialistRef, tmp_path: Path
) -> None:
    models = Models()
    other = LabelSet((Label("positive"), Label("other"), Label("negative")))
    one, two = opened(models, ref), opened(models, ref, other)
    assert one.runtime is two.runtime and one.encoding is two.encoding
    stranger = SpecialistRef("b", str(publish(tmp_path / "b", ("NEG", "POS"), seed=1)), MAP)
    three = opened(models, stranger)
    assert three.runtime is not one.runtime
    assert three.encoding is one.encoding, "equal tokenizers are one, whatever folder they lie in"
    committee = Committee(LABELS, [("one", one), ("two", two), ("three", three)])
    assert sum(committee.sizes.values()) == one.size_bytes + three.size_bytes


def test_what_nobody_uses_any_more_leaves_memory(ref: SpecialistRef) -> None:
    models = Models()
    opened(models, ref)
    assert len(models._runtimes) == 0


@pytest.mark.parametrize("runtime", ["torch-bf16", "onnx-fp32", "openvino-bf16"])
def test_a_prepared_model_runs_in_its_form_with_the_same_votes(
    ref: SpecialistRef, tmp_path: Path, runtime: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Any CPU computes bf16; those without instructions for it are only too slow to be offered it.
    monkeypatch.setattr(runtimes, "has_arithmetic", lambda kind: True)
    models = Models(tmp_path / "exports", "cpu", runtime)
    plain = opened(models, ref)
    assert (plain.runtime.name, models.is_prepared(ref, None)) == ("torch-fp32", False)
    assert models.prepare(ref, None, TEXTS)
    assert models.is_prepared(ref, None)
    assert not models.prepare(ref, None, TEXTS), "once is enough"
    fast = opened(models, ref)
    assert fast.runtime.name == runtime
    assert np.abs(fast.observe(TEXTS).votes - plain.observe(TEXTS).votes).mean() < 0.02
    again = opened(Models(tmp_path / "exports", "cpu", runtime), ref)
    np.testing.assert_array_equal(again.observe(TEXTS).votes, fast.observe(TEXTS).votes)


def test_a_source_that_cannot_be_opened_leaves_nothing_to_prepare(tmp_path: Path) -> None:
    models = Models(tmp_path / "exports", "cpu", "auto")
    gone = SpecialistRef("gone", str(tmp_path / "nowhere"), MAP)
    assert models.is_prepared(gone, None)
    assert not models.prepare(gone, None, TEXTS)


def test_forms_that_nobody_opened_for_long_are_swept(ref: SpecialistRef, tmp_path: Path) -> None:
    models = Models(tmp_path / "exports", "cpu", "onnx-fp32")
    models.prepare(ref, None, TEXTS)
    (folder,) = (tmp_path / "exports").iterdir()
    os.utime(folder, (0, 0))
    kept = opened(models, ref)  # opening it counts as use
    assert models.sweep(3600, (), 60) == 0
    os.utime(folder, (0, 0))
    assert models.sweep(3600, (), 60) == 1
    assert np.isfinite(kept.observe(TEXTS).votes).all()
    assert not models.is_prepared(ref, None)


def test_forms_of_checkpoints_that_no_tag_has_are_swept_sooner(
    ref: SpecialistRef, tmp_path: Path
) -> None:
    models = Models(tmp_path / "exports", "cpu", "onnx-fp32")
    for number, name in enumerate(("kept", "refused"), 1):
        models.prepare(ref, publish(tmp_path / name, ("NEG", "POS"), seed=number), TEXTS)
    models.prepare(ref, None, TEXTS)
    for folder in (tmp_path / "exports").iterdir():
        os.utime(folder, (0, time.time() - 600))
    assert models.sweep(3600, {"kept"}, 900) == 0
    assert models.sweep(3600, {"kept"}, 60) == 1
    assert models.is_prepared(ref, None)
    assert models.is_prepared(ref, tmp_path / "kept")
    assert not models.is_prepared(ref, tmp_path / "refused")
