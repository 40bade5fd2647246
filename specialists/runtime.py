"""What runs a classifier's forward pass, and which of them this machine can offer.

A runtime gets padded token ids and gives logits and features, as numpy arrays. The modules
`runtime_torch`, `runtime_onnx` and `runtime_openvino` have them; `preparation` chooses one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Protocol

import numpy as np
import numpy.typing as npt

from specialists.errors import SpecialistError
from specialists.evidence import Floats

Ints = npt.NDArray[np.int64]

VIEWS = 2
"""Layers whose token means serve as features; the last two measured best (BENCHMARKS.md)."""
REFERENCE = "torch-fp32"
"""What every other runtime is compared with, and what stays when none passes."""
AUTO = "auto"

# Fastest first on the CPUs that we measured (BENCHMARKS.md): the package and the CPU's arithmetic
# that each needs.
_CPU: Mapping[str, tuple[str, str | None]] = {
    "openvino-int8": ("openvino", "int8"),
    "openvino-int8x64": ("openvino", "int8"),
    "onnx-int8": ("onnxruntime", "int8"),
    "openvino-bf16": ("openvino", "bf16"),
    "torch-bf16": ("torch", "bf16"),
    "onnx-fp32": ("onnxruntime", None),
    REFERENCE: ("torch", None),
}
_CUDA = ("torch-bf16", "torch-fp16", REFERENCE)
# Names of instruction sets in torch.cpu.get_capabilities().
_INSTRUCTIONS = {
    "int8": ("avx512_vnni", "avx_vnni", "amx_int8", "i8mm", "dot"),
    "bf16": ("avx512_bf16", "amx_bf16", "bf16"),
}


class RuntimeUnavailable(SpecialistError):
    """This machine lacks the runtime that was asked for; the message says which it has."""

    def __init__(self, name: str, why: str, allowed: list[str]) -> None:
        super().__init__(
            f"The runtime {name!r} is not available: {why}; set {AUTO} or one of "
            f"{', '.join(allowed)}."
        )


@dataclass(frozen=True, eq=False)
class Outputs:
    """What a forward pass gives: `logits` (B, own labels) and `means`, (B, width) a view.

    A view is the mean over a text's tokens of one of the last VIEWS hidden layers; an architecture
    that does not tell its layers has none.
    """

    logits: Floats = field(repr=False)
    means: tuple[Floats, ...] = field(default=(), repr=False)


class Runtime(Protocol):
    """Runs one classifier; safe to call from several threads at once."""

    @property
    def name(self) -> str:
        """Program and arithmetic, such as "torch-fp32"."""
        ...

    @property
    def size_bytes(self) -> int:
        """Size of the weights."""
        ...

    def forward(self, input_ids: Ints, mask: Ints) -> Outputs:
        """Run one padded batch; both arrays are (B, L)."""
        ...


def candidates(device: str, setting: str = AUTO) -> list[str]:
    """Names of the runtimes to try on a torch device, fastest first; the reference is the last.

    Raises RuntimeUnavailable for a `setting` that is neither "auto" nor a name available here.
    """
    here = {"cpu": _on_cpu, "cuda": _on_cuda}.get(device.split(":")[0], lambda: [REFERENCE])()
    if setting == AUTO:
        return here
    if setting not in here:
        raise RuntimeUnavailable(setting, _why(setting, device), here)
    return list(dict.fromkeys((setting, REFERENCE)))


def has_arithmetic(kind: str) -> bool:
    """Whether the CPU multiplies in "int8" or "bf16" by instructions of its own."""
    import torch  # late: names alone need none

    found = torch.cpu.get_capabilities()
    return any(found.get(instruction) for instruction in _INSTRUCTIONS[kind])


def _on_cpu() -> list[str]:
    return [name for name in _CPU if not _lack(name)]


def _on_cuda() -> list[str]:
    import torch

    half = "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    return [f"torch-{half}", REFERENCE]


def _lack(name: str) -> str:
    """What the machine lacks to run `name` on its CPU, empty for nothing."""
    package, arithmetic = _CPU[name]
    if find_spec(package) is None:
        return f"the package {package} is not installed"
    if arithmetic and not has_arithmetic(arithmetic):
        return f"this CPU has no {arithmetic} instructions"
    return ""


def _why(name: str, device: str) -> str:
    if device == "cpu" and name in _CPU:
        return _lack(name)
    return f"it does not run on {device}" if name in (*_CPU, *_CUDA) else "there is no such runtime"
