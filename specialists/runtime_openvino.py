"""Forward passes by OpenVINO on the CPU, in bf16 or with int8 matrix products.

int8 means weights rounded to 8 bits with one scale for each group of a row's weights, and
activations that OpenVINO rounds alike, group by group, while it runs. One scale a row would be
coarser than MiniLM's outliers allow: 96 to 99 % of the labels stay instead of more than 99 %
(BENCHMARKS.md). Everything else is computed in bf16, or in fp32 on CPUs without it.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov
from openvino import opset13 as ops

from specialists import threads
from specialists.evidence import Floats
from specialists.export import INPUTS
from specialists.runtime import Ints, Outputs, has_arithmetic

GROUPS = {"int8": 128, "int8x64": 64}
"""Weights with one scale in common, by precision: 64 is nearer to fp32, and a tenth slower."""
_MODEL = "model.xml"
_WEIGHTS = "model.bin"


class OpenVinoRuntime:
    """Runs the model that lies in a folder; its weights are mapped from there."""

    def __init__(self, folder: Path, precision: str) -> None:
        """Open what `write` made with this precision."""
        self.name = f"openvino-{precision}"
        self.size_bytes = (folder / _WEIGHTS).stat().st_size
        self._model = ov.Core().compile_model(folder / _MODEL, "CPU", _settings(precision))
        self._own = threading.local()  # a request serves one thread at a time

    def forward(self, input_ids: Ints, mask: Ints) -> Outputs:
        """Run one padded batch; both arrays are (B, L)."""
        if not hasattr(self._own, "request"):
            self._own.request = self._model.create_infer_request()
        inputs = dict(zip(INPUTS, (input_ids, mask), strict=True))
        logits, *means = self._own.request.infer(inputs, share_inputs=True).values()
        return Outputs(logits, tuple(means))


def write(graph: Path, folder: Path, precision: str) -> None:
    """Make a folder's files from an exported graph, in "bf16" or a precision of GROUPS."""
    half = graph.with_suffix(".xml") if precision in GROUPS else folder / _MODEL
    ov.save_model(ov.Core().read_model(graph), half, compress_to_fp16=True)
    if precision in GROUPS:  # what is not rounded, as the word vectors, stays in 16 bits
        model = ov.Core().read_model(half)
        round_weights(model, GROUPS[precision])
        ov.save_model(model, folder / _MODEL)


def round_weights(model: ov.Model, group: int) -> None:
    """Replace the matrices (N, K) of a model by int8 ones with scales (N, K / group), in place.

    Only those that see every token: pooler and classifier see one vector a text, so that they cost
    next to nothing, and are nearest to the answer.
    """
    for node in model.get_ordered_ops():
        if node.get_type_name() != "MatMul":
            continue
        constant = node.input_value(1).get_node()
        if constant.get_type_name() == "Convert":  # of weights kept in 16 bits
            constant = constant.input_value(0).get_node()
        if constant.get_type_name() != "Constant":
            continue  # a product of activations, as in attention
        transposed = node.get_attributes()["transpose_b"]
        weights = constant.data if transposed else constant.data.T
        inputs = node.input_value(0)
        if inputs.get_partial_shape().rank.get_length() > 2 and weights.shape[1] % group == 0:
            product = ops.matmul(inputs, _rounded(weights, group), False, True)
            node.output(0).replace(product.output(0))


def _rounded(weights: npt.NDArray[Any], group: int) -> ov.Node:
    """The graph that makes (N, K) floats of rounded weights, in the form that OpenVINO fuses."""
    rows, columns = weights.shape
    grouped: Floats = weights.astype(np.float32).reshape(rows, columns // group, group)
    scale = np.maximum(np.abs(grouped).max(axis=2, keepdims=True) / 127, 1e-12)
    steps = np.round(grouped / scale).astype(np.int8)
    product = ops.multiply(ops.convert(ops.constant(steps), np.float32), ops.constant(scale))
    return ops.reshape(product, ops.constant(np.array([rows, columns], np.int64)), False)


def _settings(precision: str) -> dict[str, Any]:
    return {
        "NUM_STREAMS": threads.streams(),
        "INFERENCE_NUM_THREADS": threads.streams() * threads.intra_op(),
        "INFERENCE_PRECISION_HINT": "bf16" if has_arithmetic("bf16") else "f32",
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": GROUPS.get(precision, 0),
        "ENABLE_CPU_PINNING": False,  # other processes share these cores
    }
