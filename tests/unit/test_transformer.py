"""A classifier as a specialist: order, batching, truncation, label maps, threads, bad files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from tiny_models import WORDS, publish
from transformers import BertForSequenceClassification

from specialists.batching import batches
from specialists.encoder import Encoder
from specialists.errors import SpecialistUnavailable
from specialists.loading import find_parts, open_model, own_labels
from specialists.models import Models
from specialists.runtime import VIEWS
from specialists.transformer import Specialist
from specialists.types import Label, LabelSet, SpecialistRef

Array = npt.NDArray[np.float32]
OWN = ("NEG", "NEU", "POS")
MAP = {"NEG": "negative", "NEU": "neutral", "POS": "positive"}
TEXTS = [" ".join(WORDS[: n % 19 + 1]) for n in (18, 2, 7, 0, 11, 3, 15, 5, 9, 1)] * 3


def labels(*names: str, multiple: bool = False) -> LabelSet:
    return LabelSet(tuple(Label(name) for name in names), multiple)


SENTIMENT = labels("positive", "negative", "neutral")


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return publish(tmp_path_factory.mktemp("tiny") / "bert", OWN)


def specialist(
    folder: Path, wanted: LabelSet = SENTIMENT, label_map: dict[str, str] = MAP
) -> Specialist:
    return Models().specialist(SpecialistRef("tiny", str(folder), label_map), wanted, None)


def reference(folder: Path, texts: Sequence[str]) -> Array:
    """Own probabilities by the plain way: one text at a time, no code of ours."""
    model = BertForSequenceClassification.from_pretrained(folder)
    model.train(False)
    _, tokenizer = open_model(find_parts(str(folder), None))
    with torch.inference_mode():
        rows = [model(**tokenizer(text, return_tensors="pt")).logits.softmax(1) for text in texts]
    return torch.cat(rows).numpy()


def test_batched_votes_are_those_of_the_plain_model_in_input_order(published: Path) -> None:
    own = reference(published, TEXTS)
    assert len(np.unique(own.round(3), axis=0)) > 5  # the texts do differ
    votes = specialist(published).observe(TEXTS).votes[:, 0]
    assert votes.dtype == np.float32
    np.testing.assert_allclose(votes, own[:, [2, 0, 1]], atol=1e-4)


def test_one_text_alone_gets_the_votes_it_gets_in_a_batch(published: Path) -> None:
    member = specialist(published)
    alone = np.concatenate([member.observe([text]).votes[:, 0] for text in TEXTS])
    np.testing.assert_allclose(member.observe(TEXTS).votes[:, 0], alone, atol=1e-4)


def test_no_texts_get_no_votes(published: Path) -> None:
    assert specialist(published).observe([]).votes[:, 0].shape == (0, 3)


def test_labels_the_member_does_not_know_are_nan_and_the_rest_sums_to_one(published: Path) -> None:
    wanted = labels("spam", "positive", "negative")
    votes = (
        specialist(published, wanted, {"NEG": "negative", "POS": "positive"})
        .observe(TEXTS)
        .votes[:, 0]
    )
    own = reference(published, TEXTS)
    assert np.isnan(votes[:, 0]).all()
    np.testing.assert_allclose(votes[:, 1], own[:, 2] / (own[:, 0] + own[:, 2]), atol=1e-4)
    np.testing.assert_allclose(votes[:, 1:].sum(axis=1), 1.0, atol=1e-5)


def test_own_labels_that_mean_one_project_label_add_up(published: Path) -> None:
    wanted = labels("good", "rest")
    votes = (
        specialist(published, wanted, {"NEG": "rest", "NEU": "rest", "POS": "good"})
        .observe(TEXTS)
        .votes[:, 0]
    )
    own = reference(published, TEXTS)
    np.testing.assert_allclose(votes[:, 1], own[:, 0] + own[:, 1], atol=1e-4)


def test_a_multi_label_head_votes_by_sigmoid(tmp_path: Path) -> None:
    folder = publish(tmp_path, ("toxic", "insult"), problem_type="multi_label_classification")
    label_map = {"toxic": "toxic", "insult": "insult"}
    several = (
        specialist(folder, labels("toxic", "insult", multiple=True), label_map)
        .observe(TEXTS)
        .votes[:, 0]
    )
    assert np.abs(several.sum(axis=1) - 1.0).max() > 0.1
    one = specialist(folder, labels("toxic", "insult"), label_map).observe(TEXTS).votes[:, 0]
    np.testing.assert_allclose(one, several / several.sum(axis=1, keepdims=True), atol=1e-5)


def test_threads_get_the_same_votes_as_one_caller(published: Path) -> None:
    member = specialist(published)
    expected = member.observe(TEXTS).votes[:, 0]
    with ThreadPoolExecutor(8) as pool:
        for seen in pool.map(member.observe, [TEXTS] * 24):
            np.testing.assert_allclose(seen.votes[:, 0], expected, atol=1e-5)


@given(
    lengths=st.lists(st.integers(1, 50), max_size=60),
    limit=st.integers(1, 200),
)
def test_batches_hold_every_text_once_within_the_limit(lengths: list[int], limit: int) -> None:
    encoded = [[0] * length for length in lengths]
    found = list(batches(encoded, limit))
    assert sorted(index for batch in found for index in batch) == list(range(len(lengths)))
    for batch in found:
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= limit


def test_padding_is_masked(published: Path) -> None:
    model, tokenizer = open_model(find_parts(str(published), None))
    ids, mask = Encoder(tokenizer, model.config).pad([[2, 5, 3], [2, 3]])
    assert ids.tolist() == [[2, 5, 3], [2, 3, 0]]
    assert mask.tolist() == [[1, 1, 1], [1, 1, 0]]


def test_own_labels_are_read_without_weights(published: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text((published / "config.json").read_text())
    assert own_labels(str(tmp_path)) == OWN
    assert own_labels("embedded:sentiment-reviews") == ("negative", "positive")


def test_a_config_without_labels_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(SpecialistUnavailable, match="names no labels"):
        own_labels(str(tmp_path))


def test_a_hub_model_in_the_cache_is_served_without_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    commit = "c0ffee" * 6 + "c0ff"
    publish(tmp_path / "models--some--one" / "snapshots" / commit, OWN)
    refs = tmp_path / "models--some--one" / "refs"
    refs.mkdir()
    (refs / "main").write_text(commit)
    assert own_labels("some/one") == OWN
    member = Models().specialist(SpecialistRef("one", "some/one", MAP), SENTIMENT, None)
    votes = member.observe(TEXTS).votes[:, 0]
    np.testing.assert_allclose(votes.sum(axis=1), 1.0, atol=1e-5)
    with pytest.raises(SpecialistUnavailable, match="some/other is not available: neither"):
        own_labels("some/other")


def pickled(folder: Path, state: object) -> Path:
    """Turn a published folder into one that holds a pickle only."""
    (folder / "model.safetensors").unlink()
    torch.save(state, folder / "pytorch_model.bin")
    return folder


def test_a_pickle_is_refused_unless_there_is_a_place_to_convert_it(tmp_path: Path) -> None:
    folder = publish(tmp_path / "bert", OWN)
    expected = specialist(folder).observe(TEXTS).votes[:, 0]
    pickled(folder, load_file(folder / "model.safetensors"))
    with pytest.raises(SpecialistUnavailable, match="has no safetensors weights; choose"):
        specialist(folder)
    ref = SpecialistRef("tiny", str(folder), MAP)
    for _ in range(2):
        member = Models(converted=tmp_path / "converted").specialist(ref, SENTIMENT, None)
        np.testing.assert_allclose(member.observe(TEXTS).votes[:, 0], expected, atol=1e-6)
    written = [path.name for path in (tmp_path / "converted").rglob("*") if path.is_file()]
    assert sorted(written) == sorted(
        ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
    )


class Hostile:
    """Would write a file if its pickle were executed."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (self.path,))  # type: ignore[return-value]


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path: Path) -> None:
    trap = tmp_path / "trapped"
    folder = pickled(publish(tmp_path / "bert", OWN), {"weight": Hostile(trap)})
    ref = SpecialistRef("tiny", str(folder), MAP)
    with pytest.raises(SpecialistUnavailable, match="cannot be converted to safetensors"):
        Models(converted=tmp_path / "converted").specialist(ref, SENTIMENT, None)
    assert not trap.exists()


def test_code_in_a_model_folder_is_never_run(tmp_path: Path) -> None:
    folder = publish(tmp_path / "bert", OWN)
    trap = tmp_path / "trapped"
    (folder / "modeling_own.py").write_text(f"open({str(trap)!r}, 'w')\n")
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "model_type": "own",
        "auto_map": {"AutoConfig": "modeling_own.C", "AutoModel": "modeling_own.M"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(SpecialistUnavailable, match="its files cannot be opened"):
        specialist(folder)
    assert not trap.exists()


def test_damaged_weights_are_told_in_one_sentence(tmp_path: Path) -> None:
    folder = publish(tmp_path / "bert", OWN)
    (folder / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(SpecialistUnavailable) as error:
        specialist(folder)
    assert str(error.value).startswith(f"{folder} is not available: its files cannot be opened (")
    assert str(error.value).endswith("; choose another specialist.")
    assert "\n" not in str(error.value)


def test_features_are_the_token_means_of_the_last_layers_alone_or_in_a_batch(
    published: Path,
) -> None:
    member = specialist(published)
    together = member.observe(TEXTS).features
    assert len(together) == VIEWS
    for row, text in enumerate(TEXTS):
        for view, alone in zip(together, member.observe([text]).features, strict=True):
            np.testing.assert_allclose(view[row], alone[0], atol=1e-5)
