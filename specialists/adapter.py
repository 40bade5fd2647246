"""LoRA adapters on disk, and how one is added into the weights it was trained over.

The format is peft's (`adapter_config.json`, `adapter_model.safetensors`), with weights in fp16.
Serving needs no peft: W + scale * B @ A is all there is to merging (LoRA, arXiv 2106.09685,
section 4.1). What peft can do beyond that (DoRA, rank-stabilised scales, per-layer ranks) is
refused, not guessed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
SUMMARY = "specialist.json"  # how the weights were made; `base_sha256` is of the base's weights
_PREFIX = "base_model.model."
_UNSUPPORTED = (
    "use_dora",
    "use_rslora",
    "rank_pattern",
    "alpha_pattern",
    "fan_in_fan_out",
    "lora_bias",
)


def is_adapter(folder: Path) -> bool:
    """Tell an adapter's folder from that of a whole model."""
    return (folder / CONFIG).is_file()


def added(folder: Path) -> tuple[str, ...]:
    """The labels for which a checkpoint has outputs that the published model does not have."""
    path = folder / SUMMARY
    summary = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return tuple(summary.get("added", ()))


def check_base(folder: Path, base_sha256: str) -> None:
    """Raise ValueError when the adapter was trained over other base weights than these."""
    trained_over = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))["base_sha256"]
    if trained_over != base_sha256:
        raise ValueError("the published base weights have changed since this adapter was trained")


def merge(state: dict[str, Tensor], folder: Path) -> None:
    """Add an adapter to a model's state dict, in place.

    Raises ValueError for an adapter of another kind, KeyError for one of another model.
    """
    scale = _scale(json.loads((folder / CONFIG).read_text(encoding="utf-8")))
    weights = {
        name.removeprefix(_PREFIX): tensor.float()
        for name, tensor in load_file(folder / WEIGHTS).items()
    }
    for name, tensor in weights.items():
        layer, is_lora_a, _ = name.partition(".lora_A.weight")
        if is_lora_a:
            up = weights[f"{layer}.lora_B.weight"]  # (out, rank) @ (rank, in)
            state[f"{layer}.weight"].add_((up @ tensor).to(state[f"{layer}.weight"]) * scale)
        elif ".lora_B." not in name:  # a layer trained whole, as the classifier is
            state[name].copy_(tensor)


def _scale(config: dict[str, Any]) -> float:
    """LoRA's alpha / rank, for the plain kind of adapter."""
    surplus = [key for key in _UNSUPPORTED if config.get(key)]
    if config.get("peft_type") != "LORA" or surplus:
        raise ValueError(f"only plain LoRA adapters can be merged, this one has {surplus}")
    return float(config["lora_alpha"] / config["r"])
