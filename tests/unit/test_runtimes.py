"""Every runtime on tiny models: alone, in batches, padded, in threads; what a machine offers."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from specialists import runtime as runtimes
from specialists import runtime_onnx, runtime_openvino
from specialists.export import export_onnx
from specialists.runtime import VIEWS, Ints, Runtime, RuntimeUnavailable, candidates
from specialists.runtime_onnx import OnnxRuntime
from specialists.runtime_openvino import OpenVinoRuntime
from specialists.runtime_torch import TorchRuntime

# How far a row may move with what is beside it, and from fp32, relative to the largest value. A CPU
# without int8 instructions adds products in 16 bits, which saturate: the product offers it no int8.
INT8 = 0.1 if runtimes.has_arithmetic("int8") else 0.25
TOLERANCE = {"fp32": 1e-4, "bf16": 0.05, "int8": INT8, "int8x64": INT8}
NAMES = (
    "torch-fp32",
    "torch-bf16",
    "onnx-fp32",
    "onnx-int8",
    "openvino-bf16",
    "openvino-int8",
    "openvino-int8x64",
)
WIDTH = runtime_openvino.GROUPS["int8"]  # groups of weights with a scale of their own
LENGTHS = (3, 17, 40, 1, 8, 25)


def classifier() -> Any:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=60,
        hidden_size=2 * WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=3 * WIDTH,
        max_position_embeddings=64,
        num_labels=3,
        initializer_range=0.1,
    )
    return BertForSequenceClassification(config).eval()


def opened(name: str, model: Any, folder: Path) -> Runtime:
    program, precision = name.split("-")
    if program == "torch":
        return TorchRuntime(model, precision, "cpu")
    export_onnx(model, folder / "graph.onnx")
    files = folder / name
    files.mkdir()
    if program == "onnx":
        runtime_onnx.write(folder / "graph.onnx", files, precision)
        return OnnxRuntime(files, precision)
    runtime_openvino.write(folder / "graph.onnx", files, precision)
    return OpenVinoRuntime(files, precision)


@pytest.fixture(scope="module")
def reference() -> Runtime:
    return TorchRuntime(classifier(), "fp32", "cpu")


@pytest.fixture(scope="module", params=NAMES)
def one(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Runtime:
    return opened(request.param, classifier(), tmp_path_factory.mktemp("runtime"))


def padded(lengths: tuple[int, ...], to: int = 0) -> tuple[Ints, Ints]:
    """The same ids for the same row, in whatever batch."""
    mask = np.arange(max(*lengths, to)) < np.array(lengths)[:, None]
    ids = np.random.default_rng(0).integers(5, 60, (len(lengths), 64))[:, : mask.shape[1]]
    return np.where(mask, ids, 0), mask.astype(np.int64)


def arrays(runtime: Runtime, ids: Ints, mask: Ints) -> list[npt.NDArray[np.float32]]:
    out = runtime.forward(ids, mask)
    return [out.logits, *out.means]


def assert_near(
    runtime: Runtime, found: list[npt.NDArray[np.float32]], wanted: list[npt.NDArray[np.float32]]
) -> None:
    tolerance = TOLERANCE[runtime.name.split("-")[1]]
    for one, other in zip(found, wanted, strict=True):
        assert one.dtype == np.float32
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance * np.abs(other).max())


def test_it_answers_as_fp32_torch_does(one: Runtime, reference: Runtime) -> None:
    ids, mask = padded(LENGTHS)
    wanted = arrays(reference, ids, mask)
    assert [part.shape for part in wanted] == [(6, 3), *[(6, 256)] * VIEWS]
    assert np.ptp(wanted[0], axis=0).min() > 0.05  # the texts do differ
    assert_near(one, arrays(one, ids, mask), wanted)


def test_a_text_alone_and_without_padding_gets_what_it_gets_in_a_batch(one: Runtime) -> None:
    ids, mask = padded(LENGTHS)
    together = arrays(one, ids, mask)
    rows = [
        arrays(one, ids[row : row + 1, :length], mask[row : row + 1, :length])
        for row, length in enumerate(LENGTHS)
    ]
    assert_near(one, [np.concatenate(parts) for parts in zip(*rows, strict=True)], together)


def test_more_padding_changes_nothing(one: Runtime) -> None:
    ids, mask = padded(LENGTHS)
    wider = np.pad(ids, ((0, 0), (0, 20))), np.pad(mask, ((0, 0), (0, 20)))
    assert_near(one, arrays(one, *wider), arrays(one, ids, mask))


def test_several_threads_at_once_get_their_own_answers(one: Runtime) -> None:
    batches = [padded(LENGTHS[i % 6 :] + LENGTHS[: i % 6]) for i in range(24)]
    wanted = [arrays(one, *batch) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda batch: arrays(one, *batch), batches))
    for some, others in zip(found, wanted, strict=True):
        for part, other in zip(some, others, strict=True):
            np.testing.assert_allclose(part, other, atol=1e-5)


def test_an_answer_is_not_overwritten_by_the_next(one: Runtime) -> None:
    first = arrays(one, *padded(LENGTHS))
    kept = [part.copy() for part in first]
    arrays(one, *padded(LENGTHS[::-1]))
    for part, before in zip(first, kept, strict=True):
        np.testing.assert_array_equal(part, before)


def test_fewer_bits_take_less_memory(one: Runtime, reference: Runtime) -> None:
    share = one.size_bytes / reference.size_bytes
    expected = {"fp32": 1.0, "bf16": 0.5, "int8": 0.25, "int8x64": 0.25}[one.name.split("-")[1]]
    assert expected * 0.95 < share < expected * 1.5


def test_int8_rounds_the_matrices_that_see_every_token(tmp_path: Path) -> None:
    import openvino as ov

    opened("openvino-int8", classifier(), tmp_path)
    model = ov.Core().read_model(tmp_path / "openvino-int8" / "model.xml")
    rounded = [node for node in model.get_ops() if node.get_element_type() == ov.Type.i8]
    assert len(rounded) == 2 * 6  # two layers' matrices, not the pooler's and the classifier's


def test_a_model_keeps_its_precision_when_it_is_served_in_another() -> None:
    model = classifier()
    TorchRuntime(model, "bf16", "cpu")
    assert model.dtype == torch.float32


def test_an_architecture_without_layers_gives_no_features() -> None:
    model = classifier()
    forward = model.forward
    model.forward = lambda **inputs: forward(**{**inputs, "output_hidden_states": False})
    assert TorchRuntime(model, "fp32", "cpu").forward(*padded((3, 5))).means == ()


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, bool]]:
    """A CPU whose capabilities the test writes, with all packages there."""
    capabilities: dict[str, bool] = {}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    monkeypatch.setattr(runtimes, "find_spec", lambda package: package)
    yield capabilities


def test_the_fastest_that_the_cpu_can_run_comes_first(machine: dict[str, bool]) -> None:
    assert candidates("cpu") == ["onnx-fp32", "torch-fp32"]
    machine["avx512_vnni"] = True
    assert candidates("cpu")[:3] == ["openvino-int8", "openvino-int8x64", "onnx-int8"]
    assert candidates("cpu")[3:] == ["onnx-fp32", "torch-fp32"]
    machine["amx_bf16"] = True
    assert candidates("cpu") == [
        *("openvino-int8", "openvino-int8x64", "onnx-int8"),
        *("openvino-bf16", "torch-bf16"),
        *("onnx-fp32", "torch-fp32"),
    ]


def test_a_package_that_is_missing_is_left_out(
    machine: dict[str, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.update(avx512_vnni=True, avx512_bf16=True)
    monkeypatch.setattr(runtimes, "find_spec", lambda name: None if name == "openvino" else name)
    assert candidates("cpu") == ["onnx-int8", "torch-bf16", "onnx-fp32", "torch-fp32"]
    with pytest.raises(RuntimeUnavailable, match="the package openvino is not installed"):
        candidates("cpu", "openvino-int8")


@pytest.mark.parametrize(("has", "name"), [(True, "torch-bf16"), (False, "torch-fp16")])
def test_an_accelerator_runs_torch(monkeypatch: pytest.MonkeyPatch, has: bool, name: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has)
    assert candidates("cuda:0") == [name, "torch-fp32"]
    assert candidates("mps") == ["torch-fp32"]


def test_a_name_is_tried_before_the_reference(machine: dict[str, bool]) -> None:
    assert candidates("cpu", "onnx-fp32") == ["onnx-fp32", "torch-fp32"]
    assert candidates("cpu", "torch-fp32") == ["torch-fp32"]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("torch-bf16", "this CPU has no bf16 instructions"),
        ("torch-fp16", "it does not run on cpu"),
        ("tensorrt", "there is no such runtime"),
    ],
)
def test_a_name_that_is_not_to_be_had_says_what_is(
    machine: dict[str, bool], name: str, why: str
) -> None:
    with pytest.raises(RuntimeUnavailable) as told:
        candidates("cpu", name)
    assert str(told.value) == (
        f"The runtime '{name}' is not available: {why}; set auto or one of onnx-fp32, torch-fp32."
    )
