"""From a reference to an opened model: find the parts, open them, join them.

Three kinds of source: `embedded:<name>` (an adapter of this package over the embedded base
weights), a Hub id, a local folder. A checkpoint folder replaces the published weights: an adapter
over the same base, or a whole model. Generated code has no parts (`generated.py` opens it).
"""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForSequenceClassification

from specialists import adapter, head, weights
from specialists.encoder import open_tokenizer
from specialists.errors import SpecialistUnavailable
from specialists.projection import Projection
from specialists.registry import EMBEDDED_PREFIX, GENERATED_PREFIX, embedded_labels, member
from specialists.types import LabelSet, SpecialistRef

ADAPTERS = Path(__file__).parent / "adapters"
# transformers sets process-wide defaults while it builds a model.
_building = threading.Lock()


@dataclass(frozen=True)
class Parts:
    """What a specialist is made of: a base folder and, perhaps, an adapter over it.

    `labels` are given where the base folder has no classifier of its own (the embedded base);
    `added` are those for which the adapter has outputs beyond them. `published` is false when the
    base is a whole checkpoint of ours.
    """

    base: Path
    adapter: Path | None = None
    labels: tuple[str, ...] | None = None
    published: bool = True
    added: tuple[str, ...] = ()


def own_labels(source: str) -> tuple[str, ...]:
    """A published specialist's own labels, in the order of its outputs, without its weights.

    Raises SpecialistUnavailable.
    """
    if source.startswith(EMBEDDED_PREFIX):
        return embedded_labels(source.removeprefix(EMBEDDED_PREFIX))
    id2label = weights.config(source).get("id2label")
    if not id2label:
        raise SpecialistUnavailable(
            source, "its config.json names no labels (id2label)", "choose a classifier"
        )
    return tuple(str(id2label[key]) for key in sorted(id2label, key=int))


def find_parts(source: str, folder: Path | None, converted: Path | None = None) -> Parts:
    """Locate a specialist's files, as published or of the checkpoint `folder`.

    Raises SpecialistUnavailable, and ValueError for an adapter trained over other base weights.
    """
    if source.startswith(GENERATED_PREFIX):
        raise SpecialistUnavailable(source, "generated code has no weights of ours", "leave it so")
    if folder is not None and not adapter.is_adapter(folder):
        return Parts(folder, published=False)
    if source.startswith(EMBEDDED_PREFIX):
        name = source.removeprefix(EMBEDDED_PREFIX)
        labels, shipped = embedded_labels(name), ADAPTERS / name
        if not adapter.is_adapter(folder or shipped):
            raise SpecialistUnavailable(source, f"{shipped.name} is not there", "install us again")
        return Parts(weights.minilm(), folder or shipped, labels, added=_added(folder))
    parts = Parts(weights.published(source, converted), folder, added=_added(folder))
    if folder is not None:
        adapter.check_base(folder, weights.digest(parts.base))
    return parts


def _added(folder: Path | None) -> tuple[str, ...]:
    return adapter.added(folder) if folder else ()


def open_model(parts: Parts, device: str = "cpu") -> tuple[Any, Any]:
    """Open the model in fp32, its adapter merged, and its tokenizer."""
    with _building:
        model = open_base(parts)
    if parts.adapter is not None:
        adapter.merge(model.state_dict(), parts.adapter)
    return model.to(device), open_tokenizer(parts.base)


def open_config(parts: Parts) -> Any:
    """Open the model's config, with its labels, and none of its weights."""
    named: dict[str, Any] = {}
    if parts.labels:
        named["id2label"] = dict(enumerate(parts.labels))
        named["label2id"] = {label: i for i, label in enumerate(parts.labels)}
    config = AutoConfig.from_pretrained(
        parts.base, local_files_only=True, trust_remote_code=False, **named
    )
    if parts.added:
        head.name_outputs(config, (*head.own_labels(config), *parts.added))
    return config


def content(parts: Parts) -> str:
    """What a model is named by: 16 hex digits of the sha256 of its base and its adapter."""
    found = hashlib.sha256(weights.digest(parts.base).encode())
    if parts.adapter is not None:
        for name in (adapter.CONFIG, adapter.WEIGHTS):
            found.update((parts.adapter / name).read_bytes())
    return found.hexdigest()[:16]


def open_base(parts: Parts) -> Any:
    """Open the base model alone, in fp32 on the CPU; outputs that it lacks start at random."""
    model = _open_published(replace(parts, added=()))
    if parts.added and not head.grow(model, parts.added):
        raise ValueError(f"{parts.base.name} has no head that could have grown")
    return model


def _open_published(parts: Parts) -> Any:
    if parts.labels is None:
        return AutoModelForSequenceClassification.from_pretrained(
            parts.base,
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
        )
    build: Any = AutoModelForSequenceClassification.from_config
    model = build(open_config(parts), dtype=torch.float32)
    state = load_file(parts.base / weights.SAFETENSORS)
    # Memory-mapped and taken as they are: processes and specialists share what no adapter changes.
    missing = model.base_model.load_state_dict(state, strict=False, assign=True).missing_keys
    if missing:
        raise ValueError(f"{parts.base.name} lacks {', '.join(missing)}")
    return model


def projection(config: Any, ref: SpecialistRef, labels: LabelSet) -> Projection:
    """Join a model's outputs to the project's labels by the reference's map.

    A reference without one was made without the model's config: its labels are matched here.
    Raises SpecialistUnavailable when none matches.
    """
    own = head.own_labels(config)
    label_map = ref.label_map or member(ref.source, labels, own).label_map
    sigmoid = config.problem_type == "multi_label_classification"
    return Projection(own, label_map, labels, sigmoid=sigmoid)


def summary(error: Exception) -> str:
    """One line of a foreign error: its type and the first sentence of what it said."""
    first = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {first[:200]}".rstrip(": .")
