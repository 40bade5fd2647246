"""A specialist's weights in training: opened with gradients, written for serving.

LoRA over a published base is stored alone, about 1 MB; everything else is stored whole. The
format is peft's, read back by `specialists.adapter` without peft.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file, save_file

from specialists import adapter
from specialists.loading import Parts, open_base, open_model
from specialists.weights import digest

_RANK, _ALPHA = 8, 16
# Drawing a mask for each adapted layer took a quarter of a step on a CPU (BENCHMARKS.md).
_DROPOUT = 0.0


def open_trainable(parts: Parts, method: str) -> Any:
    """Open a model for training: with a LoRA adapter to continue or to start, or whole.

    "frozen" leaves the word embeddings as they are: half of a small model's weights, of which a
    pool of some hundred texts meets few.
    """
    if method != "lora":
        model, _ = open_model(parts)
        if method == "frozen":
            model.get_input_embeddings().requires_grad_(False)
        return model
    with warnings.catch_warnings():
        # peft asks transformers for an attribute under its old name.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        model = get_peft_model(open_base(parts), _lora(parts))
    if parts.adapter is not None:
        set_peft_model_state_dict(model, load_file(parts.adapter / adapter.WEIGHTS))
    return model


def write(
    model: Any, tokenizer: Any, parts: Parts, out: Path, summary: Mapping[str, object]
) -> None:
    """Write what `specialists.loading.load` needs into the folder `out`, and `specialist.json`."""
    out.mkdir(parents=True, exist_ok=True)
    is_lora = hasattr(model, "peft_config")
    if is_lora and parts.published:
        _write_adapter(model, out, str(summary["source"]))
    else:
        whole = model.merge_and_unload() if is_lora else model
        whole.save_pretrained(out)
        tokenizer.save_pretrained(out)
    _write_json(out / adapter.SUMMARY, {**summary, "base_sha256": digest(parts.base)})


def _lora(parts: Parts) -> LoraConfig:
    if parts.adapter is not None:
        config: LoraConfig = LoraConfig.from_pretrained(str(parts.adapter))
        config.inference_mode = False
        config.lora_dropout = _DROPOUT
        config.base_model_name_or_path = str(parts.base)  # else peft warns that it was renamed
        return config
    return LoraConfig(
        task_type="SEQ_CLS",
        r=_RANK,
        lora_alpha=_ALPHA,
        lora_dropout=_DROPOUT,
        target_modules="all-linear",
    )


def _write_adapter(model: Any, out: Path, source: str) -> None:
    state = get_peft_model_state_dict(model, save_embedding_layers=False)
    half = {name: tensor.to("cpu", torch.float16).contiguous() for name, tensor in state.items()}
    save_file(half, out / adapter.WEIGHTS, metadata={"format": "pt"})
    config = model.peft_config["default"].to_dict()
    for key in ("target_modules", "modules_to_save"):
        config[key] = sorted(config[key])  # sets: their order changes from run to run
    # The base folder's place on this machine is nobody's business.
    _write_json(
        out / adapter.CONFIG, {**config, "base_model_name_or_path": source, "inference_mode": True}
    )


def _write_json(path: Path, data: Mapping[str, object]) -> None:
    path.write_text(json.dumps(data, indent=2, sort_keys=True) + "\n", encoding="utf-8")
