"""A torch classifier as an ONNX graph in fp32, features included, for other programs to run.

The graph has the inputs `input_ids` and `attention_mask`, both (B, L), and the outputs `logits`
(B, own labels) and, where the architecture tells its layers, `view_0` and `view_1` (B, width).
Traced once on one batch: that the graph is right for others is for `parity` to find out.
"""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from specialists.errors import SpecialistError
from specialists.runtime import VIEWS
from specialists.runtime_torch import token_means

INPUTS = ("input_ids", "attention_mask")
_OPSET = 18
_AXES = {0: "texts", 1: "tokens"}
# Exporting sets switches of the process: one at a time.
_exporting = threading.Lock()


class CannotExport(SpecialistError):
    """This architecture has no ONNX form; torch can still run it."""

    def __init__(self, architecture: str, why: str) -> None:
        super().__init__(f"{architecture} cannot be exported to ONNX ({why}); run it with torch.")


def export_onnx(model: Any, path: Path) -> None:
    """Write a transformers classifier, which stays as it is, to `path`.

    Raises CannotExport.
    """
    ids = torch.ones((2, 8), dtype=torch.long, device=model.device)
    mask = torch.ones_like(ids)
    mask[1, 6:] = 0  # padding must be seen, else a graph without masks may come out
    with _exporting, _as_served(model), _quiet():
        try:
            with torch.inference_mode():
                outputs = [
                    "logits",
                    *(f"view_{i}" for i in range(len(_Graph(model)(ids, mask)) - 1)),
                ]
            torch.onnx.export(
                _Graph(model),
                (ids, mask),
                str(path),
                input_names=list(INPUTS),
                output_names=outputs,
                dynamic_axes={
                    **dict.fromkeys(INPUTS, _AXES),
                    **dict.fromkeys(outputs, {0: "texts"}),
                },
                opset_version=_OPSET,
                # The tracing exporter: seven times as fast as the newer one, which needs
                # onnxscript and fixed the batch size of some architectures.
                dynamo=False,
            )
        except Exception as error:  # torch raises anything for what it cannot trace
            raise CannotExport(type(model).__name__, type(error).__name__) from error


class _Graph(torch.nn.Module):
    """A classifier with its features as a function of two tensors."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, ...]:
        out = self.model(
            input_ids=input_ids, attention_mask=attention_mask, output_hidden_states=True
        )
        layers = (out.get("hidden_states") or ())[-VIEWS:]
        return (out.logits, *token_means(layers, attention_mask))


@contextmanager
def _as_served(model: Any) -> Iterator[None]:
    """Without dropout, and back to training afterwards if it was."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's warnings: on its deprecation, and on every shape that is traced."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "transformers")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
