"""Forward passes by torch, on the CPU or an accelerator; fp32 is what other runtimes must match."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from specialists.evidence import Floats
from specialists.runtime import VIEWS, Ints, Outputs

_TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class TorchRuntime:
    """Runs a transformers classifier; attention is what transformers chose for it (sdpa)."""

    def __init__(self, model: Any, precision: str, device: str) -> None:
        """Serve a model in "fp32", "bf16" or "fp16"; a model of another type is copied."""
        self.name = f"torch-{precision}"
        wanted = _TYPES[precision]
        own = model if model.dtype == wanted else copy.deepcopy(model)
        self._model = own.to(device=device, dtype=wanted).eval()
        self.size_bytes = _size_bytes(self._model)

    @torch.inference_mode()
    def forward(self, input_ids: Ints, mask: Ints) -> Outputs:
        """Run one padded batch; both arrays are (B, L)."""
        device = self._model.device
        inputs = torch.from_numpy(input_ids).to(device)
        attention = torch.from_numpy(mask).to(device)
        out = self._model(input_ids=inputs, attention_mask=attention, output_hidden_states=True)
        means = token_means(out.get("hidden_states") or (), attention)
        return Outputs(_array(out.logits), tuple(_array(mean) for mean in means))


def token_means(layers: Sequence[Tensor], mask: Tensor) -> list[Tensor]:
    """Average the last layers, each (B, L, width), over each text's tokens: (B, width) in fp32."""
    weight = (mask / mask.sum(dim=1, keepdim=True)).unsqueeze(-1)
    return [(layer.float() * weight).sum(dim=1) for layer in layers[-VIEWS:]]


def _array(tensor: Tensor) -> Floats:
    values: Floats = tensor.float().cpu().numpy()
    return values


def _size_bytes(model: Any) -> int:
    """Bytes of the parameters, tied ones once."""
    storages = {
        storage.data_ptr(): storage.nbytes()
        for storage in (one.untyped_storage() for one in model.parameters())
    }
    return sum(storages.values())
