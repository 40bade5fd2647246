"""Which runtime is chosen for a model, what is kept of it, and by whom it can be opened."""

from __future__ import annotations

import json
import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_models import WORDS, publish

from specialists import parity, preparation
from specialists.encoder import Encoder
from specialists.export import CannotExport
from specialists.loading import find_parts, open_model
from specialists.parity import Parity
from specialists.preparation import TRIALS, open_prepared, prepare, prepared

TEXTS = [" ".join((WORDS * 3)[n : n + n % 9 + 1]) for n in range(30)]


class Published:
    """A tiny classifier with its texts encoded."""

    def __init__(self, folder: Path, **more: Any) -> None:
        publish(folder, ("NEG", "POS"), spread=0.2, **more)
        self.model, tokenizer = open_model(find_parts(str(folder), None))
        self.encoder = Encoder(tokenizer, self.model.config)
        self.encoded = [one.ids[0] for one in self.encoder.encode(TEXTS)]

    def prepare(self, folder: Path, *names: str) -> preparation.Prepared:
        return prepare(self.model, self.encoder, self.encoded, folder, names)


def no_model() -> Any:
    raise AssertionError("an exported runtime must not load torch weights")


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Published:
    return Published(tmp_path_factory.mktemp("tiny") / "bert")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "exports" / "model"


@pytest.fixture
def onnx_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    """No compared runtime passes, whatever it answers."""
    monkeypatch.setattr(parity, "compare", lambda *_, **__: Parity(0.5, 0.3, len(TEXTS)))


@pytest.mark.parametrize("name", ["onnx-fp32", "openvino-bf16", "torch-bf16", "torch-fp32"])
def test_what_was_prepared_opens_and_answers_as_fp32(
    published: Published, folder: Path, name: str
) -> None:
    batch = published.encoder.pad(published.encoded)
    wanted = preparation.TorchRuntime(published.model, "fp32", "cpu").forward(*batch)
    assert prepared(folder, [name]) is None
    assert published.prepare(folder, name, "torch-fp32").name == name
    assert prepared(folder, [name, "torch-fp32"]) == name
    factory = (lambda: published.model) if name.startswith("torch") else no_model
    runtime = open_prepared(folder, name, factory)
    assert runtime is not None
    assert runtime.name == name
    np.testing.assert_allclose(runtime.forward(*batch).logits, wanted.logits, atol=0.05)


def test_the_first_that_passes_is_kept_and_the_rest_is_not_tried(
    published: Published, folder: Path
) -> None:
    found = published.prepare(folder, "onnx-fp32", "openvino-bf16", "torch-fp32")
    assert [trial.runtime for trial in found.tried] == ["onnx-fp32"]
    assert found.tried[0].texts == len(TEXTS)
    assert found.tried[0].passed
    assert files(folder) == ["onnx-fp32", TRIALS]


def test_what_differs_is_passed_over_with_a_reason_and_leaves_nothing(
    published: Published,
    folder: Path,
    onnx_differs: None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        found = published.prepare(folder, "onnx-fp32", "torch-fp32")
    assert found.name == prepared(folder, ["onnx-fp32", "torch-fp32"]) == "torch-fp32"
    first, last = found.tried
    assert (first.passed, last.passed) == (False, True)
    assert "agrees with fp32 on 0.5000 of 30 texts (at least 0.99)" in first.why
    assert f"onnx-fp32: passed over: {first.why}" in caplog.messages
    assert files(folder) == [TRIALS]
    assert json.loads((folder / TRIALS).read_text())["tried"][0]["agreement"] == 0.5


def test_what_cannot_be_made_is_passed_over(
    published: Published, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def export(*_: Any) -> None:
        raise CannotExport("Odd", "no trace")

    monkeypatch.setattr(preparation, "export_onnx", export)
    found = published.prepare(folder, "openvino-int8", "torch-bf16", "torch-fp32")
    assert found.name == "torch-bf16"
    assert found.tried[0].why.startswith("CannotExport: Odd cannot be exported to ONNX (no trace)")
    assert files(folder) == [TRIALS]


def test_the_reference_stands_when_nothing_that_was_asked_for_passes(
    published: Published, folder: Path, onnx_differs: None
) -> None:
    assert published.prepare(folder, "onnx-fp32").name == "torch-fp32"
    assert prepared(folder, ["onnx-fp32"]) == "torch-fp32"


def test_labels_of_a_sigmoid_head_are_compared_as_sets(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []
    compare = parity.compare

    def spy(*logits: Any, sigmoid: bool) -> Parity:
        seen.append(sigmoid)
        return compare(*logits, sigmoid=sigmoid)

    monkeypatch.setattr(parity, "compare", spy)
    model = Published(tmp_path / "bert", problem_type="multi_label_classification")
    model.prepare(folder, "torch-bf16")
    assert seen == [True]


def test_a_faster_one_that_was_not_tried_is_still_to_be_prepared(
    published: Published, folder: Path
) -> None:
    published.prepare(folder, "torch-bf16", "torch-fp32")
    assert prepared(folder, ["torch-bf16", "torch-fp32"]) == "torch-bf16"
    assert prepared(folder, ["onnx-fp32", "torch-bf16", "torch-fp32"]) is None


def test_machines_with_other_runtimes_add_to_a_shared_folder(
    published: Published, folder: Path
) -> None:
    published.prepare(folder, "torch-bf16", "torch-fp32")
    published.prepare(folder, "onnx-fp32", "torch-fp32")
    assert prepared(folder, ["torch-bf16", "torch-fp32"]) == "torch-bf16"
    assert prepared(folder, ["onnx-fp32", "torch-fp32"]) == "onnx-fp32"


def test_those_who_prepare_at_once_make_it_once(
    published: Published, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    make = preparation.make_files

    def spy(name: str, *more: Any) -> None:
        made.append(name)
        make(name, *more)

    monkeypatch.setattr(preparation, "make_files", spy)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: published.prepare(folder, "onnx-fp32"), range(4)))
    assert made == ["onnx-fp32"]
    assert {one.name for one in found} == {"onnx-fp32"}


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": 0, "tried": []}', '{"format": 1}'])
def test_what_others_wrote_counts_as_nothing(published: Published, folder: Path, text: str) -> None:
    published.prepare(folder, "torch-bf16")
    (folder / TRIALS).write_text(text)
    assert prepared(folder, ["torch-bf16"]) is None


def test_files_that_cannot_be_read_are_forgotten_and_can_be_made_again(
    published: Published, folder: Path
) -> None:
    published.prepare(folder, "onnx-fp32", "torch-fp32")
    (folder / "onnx-fp32" / "model.onnx").write_bytes(b"torn")
    assert open_prepared(folder, "onnx-fp32", no_model) is None
    assert prepared(folder, ["onnx-fp32", "torch-fp32"]) is None
    published.prepare(folder, "onnx-fp32", "torch-fp32")
    assert open_prepared(folder, "onnx-fp32", no_model) is not None
