"""Architectures as ONNX graphs: right for other shapes than the traced one, the model untouched."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import pytest
import torch
from transformers import (
    AlbertConfig,
    AutoModelForSequenceClassification,
    BertConfig,
    DebertaV2Config,
    DistilBertConfig,
    ElectraConfig,
    PretrainedConfig,
    RobertaConfig,
    XLMRobertaConfig,
)

from specialists.export import CannotExport, export_onnx
from specialists.runtime import VIEWS
from specialists.runtime_torch import TorchRuntime

SIZES: dict[str, Any] = {
    "vocab_size": 50,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
    "num_labels": 3,
    "initializer_range": 0.3,
}
CONFIGS: list[PretrainedConfig] = [
    BertConfig(**SIZES),
    RobertaConfig(**SIZES, pad_token_id=1),
    XLMRobertaConfig(**SIZES, pad_token_id=1),
    DistilBertConfig(
        **{**SIZES, "dim": 32, "hidden_dim": 48, "n_layers": 2, "n_heads": 2},
    ),
    DebertaV2Config(
        **SIZES,
        relative_attention=True,
        position_buckets=8,
        norm_rel_ebd="layer_norm",
        share_att_key=True,
        pos_att_type=["p2c", "c2p"],
    ),
    AlbertConfig(**SIZES, embedding_size=16),
    ElectraConfig(**SIZES, embedding_size=16),
]


def classifier(config: PretrainedConfig) -> Any:
    torch.manual_seed(0)
    return AutoModelForSequenceClassification.from_config(config).eval()


def padded(lengths: list[int]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Ids that are no padding, and their mask."""
    mask = np.arange(max(lengths)) < np.array(lengths)[:, None]
    ids = np.random.default_rng(0).integers(5, 50, mask.shape)
    return np.where(mask, ids, 1), mask.astype(np.int64)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.model_type)
def test_the_graph_answers_as_the_model_for_other_shapes(
    config: PretrainedConfig, tmp_path: Path
) -> None:
    model = classifier(config)
    export_onnx(model, tmp_path / "graph.onnx")
    session = ort.InferenceSession(tmp_path / "graph.onnx")
    reference = TorchRuntime(model, "fp32", "cpu")
    for lengths in ([5], [3, 17, 40, 1, 8], [60, 60]):
        ids, mask = padded(lengths)
        wanted = reference.forward(ids, mask)
        logits, *means = session.run(None, {"input_ids": ids, "attention_mask": mask})
        np.testing.assert_allclose(logits, wanted.logits, atol=1e-4)
        assert len(means) == VIEWS
        for mean, expected in zip(means, wanted.means, strict=True):
            np.testing.assert_allclose(mean, expected, atol=1e-4)
    assert [one.name for one in session.get_outputs()] == ["logits", "view_0", "view_1"]


def test_the_model_is_left_as_it_was_and_nothing_is_warned(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = classifier(CONFIGS[0]).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    filters = list(warnings.filters)
    level = logging.getLogger("torch.onnx").level
    export_onnx(model, tmp_path / "graph.onnx")  # a warning would be an error
    assert model.training
    assert all(model.get_submodule(name).training for name in ("bert", "dropout"))
    assert all(torch.equal(before[name], one) for name, one in model.state_dict().items())
    assert warnings.filters == filters
    assert logging.getLogger("torch.onnx").level == level
    assert caplog.records == []


def test_what_cannot_be_traced_says_so_in_one_sentence(tmp_path: Path) -> None:
    model = classifier(CONFIGS[0])
    model.bert.forward = lambda *_, **__: 1 / 0
    with pytest.raises(CannotExport) as told:
        export_onnx(model, tmp_path / "graph.onnx")
    assert str(told.value) == (
        "BertForSequenceClassification cannot be exported to ONNX (ZeroDivisionError); "
        "run it with torch."
    )
