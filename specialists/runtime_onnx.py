"""Forward passes by ONNX Runtime on the CPU."""

from __future__ import annotations

import os
from pathlib import Path

# It reports the models that it opens (names, hashes) to its maker, from the import on (1.29 and
# newer; microsoft/onnxruntime, pull request 27379), unless it is told not to before.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime as ort

from specialists import threads
from specialists.export import INPUTS
from specialists.runtime import Ints, Outputs

_MODEL = "model.onnx"


class OnnxRuntime:
    """Runs the graph that lies in a folder."""

    def __init__(self, folder: Path, precision: str) -> None:
        """Open what `write` made with this precision."""
        self.name = f"onnx-{precision}"
        self.size_bytes = sum(path.stat().st_size for path in folder.iterdir())
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads.intra_op()
        # Threads that spin while they wait take the cores of the other streams.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = ort.InferenceSession(
            folder / _MODEL, options, providers=["CPUExecutionProvider"]
        )

    def forward(self, input_ids: Ints, mask: Ints) -> Outputs:
        """Run one padded batch; both arrays are (B, L)."""
        logits, *means = self._session.run(None, dict(zip(INPUTS, (input_ids, mask), strict=True)))
        return Outputs(logits, tuple(means))


def write(graph: Path, folder: Path, precision: str) -> None:
    """Make a folder's files from an exported graph, in "fp32" or "int8"."""
    if precision == "fp32":
        graph.rename(folder / _MODEL)
        return
    from onnxruntime.quantization import QuantType, quantize_dynamic  # slow, and rarely needed

    quantize_dynamic(graph, folder / _MODEL, per_channel=True, weight_type=QuantType.QInt8)
