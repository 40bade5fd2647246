"""A classifier's head: new outputs for labels that the published model does not have.

It knows torch modules and label names; no texts, no training.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn

_HEADS = frozenset({"classifier", "score", "classification_head"})  # as transformers names them


def own_labels(config: Any) -> tuple[str, ...]:
    """A model's labels in the order of its outputs."""
    return tuple(str(config.id2label[i]) for i in range(config.num_labels))


def grow(model: Any, added: Sequence[str]) -> bool:
    """Add outputs to a sequence classifier, in place; whether its head is one that can grow.

    What it had stays as it was; new rows begin small, as a model's first ones do, without bias.
    """
    own, std = own_labels(model.config), float(getattr(model.config, "initializer_range", 0.02))
    places = list(_outputs(model, len(own)))
    for parent, name, layer in places:
        setattr(parent, name, _wider(layer, len(added), std))
    if places:
        name_outputs(model.config, (*own, *added))
    return bool(places)


def name_outputs(config: Any, own: Sequence[str]) -> None:
    """Give a config these labels; the number of outputs follows."""
    config.id2label = dict(enumerate(own))
    config.label2id = {label: i for i, label in enumerate(own)}


def _outputs(model: nn.Module, count: int) -> Iterator[tuple[nn.Module, str, nn.Linear]]:
    """The last layers of the head: (its module, its name there, itself), copies among them."""
    for path, layer in model.named_modules():
        *parents, name = path.split(".")
        if isinstance(layer, nn.Linear) and layer.out_features == count:
            if _HEADS & {*parents, name}:
                yield model.get_submodule(".".join(parents)), name, layer


def _wider(layer: nn.Linear, more: int, std: float) -> nn.Linear:
    old = layer.weight
    count = layer.out_features
    wide = nn.Linear(layer.in_features, count + more, layer.bias is not None, dtype=old.dtype)
    with torch.no_grad():
        wide.weight.normal_(std=std)
        wide.weight[:count] = old.detach().cpu()
        if layer.bias is not None:
            wide.bias.zero_()
            wide.bias[:count] = layer.bias.detach().cpu()
    return wide.to(old.device).requires_grad_(old.requires_grad)
