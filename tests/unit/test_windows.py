"""Texts longer than a model's input: windows, what is said of them, and what is not read."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import WORDS, publish, publish_roberta

from specialists import windows
from specialists.encoder import Encoder
from specialists.loading import find_parts, open_model
from specialists.models import Models
from specialists.preparation import make_files, open_files
from specialists.projection import Projection
from specialists.transformer import Specialist, Transformer
from specialists.types import Label, LabelSet, SpecialistRef
from specialists.windows import MOST_TOKENS, OVERLAP, cut

OWN = ("NEG", "NEU", "POS")
LABELS = LabelSet(tuple(Label(name) for name in ("negative", "neutral", "positive")))
MAP = dict(zip(OWN, LABELS.names, strict=True))
POSITIONS = 16
ROOM = POSITIONS - 2  # [CLS] and [SEP]


def words(count: int) -> str:
    """A text of so many tokens."""
    return " ".join(WORDS[(n * n) % len(WORDS)] for n in range(count))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return publish(tmp_path_factory.mktemp("tiny") / "bert", OWN, positions=POSITIONS)


@pytest.fixture(scope="module")
def member(folder: Path) -> Specialist:
    return Models().specialist(SpecialistRef("tiny", str(folder), MAP), LABELS, None)


@given(count=st.integers(0, 700), size=st.integers(1, 130))
def test_windows_are_alike_and_few_and_leave_nothing_out(count: int, size: int) -> None:
    found = [list(part) for part in cut(range(count), size)]
    overlap = int(size * OVERLAP)
    assert {token for part in found for token in part} == set(range(count))
    assert len({len(part) for part in found}) == 1 and len(found[0]) <= size
    for one, after in zip(found, found[1:], strict=False):
        assert len(set(one) & set(after)) >= overlap
    if len(found) > 1:  # one window less would not do
        assert (len(found) - 1) * (size - overlap) + overlap < count


def test_a_text_is_one_window_up_to_the_models_input_and_two_beyond(member: Specialist) -> None:
    exact, over = member.encoding.encode([words(ROOM), words(ROOM + 1)])
    assert len(exact.ids) == 1 and len(exact.ids[0]) == POSITIONS == len(exact)
    assert len(over.ids) == 2 and len(over.ids[0]) == len(over.ids[1]) <= POSITIONS
    for ids in over.ids:
        assert (ids[0], ids[-1]) == (exact.ids[0][0], exact.ids[0][-1])  # framed as a text is
    assert exact.whole and over.whole


@pytest.mark.parametrize("make", [publish, publish_roberta])
def test_votes_and_features_are_means_over_the_windows(tmp_path: Path, make: type) -> None:
    ref = SpecialistRef("tiny", str(make(tmp_path, OWN, positions=POSITIONS)), MAP)
    member = Models().specialist(ref, LABELS, None)
    (text,) = member.encoding.encode([words(45)])
    seen, said = member.observe([words(45)]), []
    for ids in text.ids:
        said.append(member.forward(member.encoding.collate([windows.Windows((ids,))])))
    assert len(said) > 3
    np.testing.assert_allclose(seen.votes, np.mean([one.votes for one in said], 0), atol=1e-5)
    for number, view in enumerate(seen.features):
        wanted = np.mean([one.features[number] for one in said], axis=0)
        np.testing.assert_allclose(view, wanted, atol=1e-5)


def test_the_end_of_a_long_text_counts(member: Specialist) -> None:
    same = words(3 * ROOM)
    one, other = member.observe([same + " good" * ROOM, same + " awful" * ROOM]).votes
    assert np.abs(one - other).max() > 0.01


def test_long_and_short_texts_get_in_a_batch_what_they_get_alone(member: Specialist) -> None:
    texts = ["", words(3), words(200), "good", words(ROOM), words(ROOM + 1), words(90)]
    together = member.forward(member.encoding.collate(member.encoding.encode(texts)))
    for row, text in enumerate(texts):
        alone = member.observe([text])
        np.testing.assert_allclose(together.votes[row], alone.votes[0], atol=1e-5)
        for view, own in zip(together.features, alone.features, strict=True):
            np.testing.assert_allclose(view[row], own[0], atol=1e-5)


def test_a_member_without_a_label_stays_silent_on_it_in_every_window(folder: Path) -> None:
    ref = SpecialistRef("tiny", str(folder), {"NEG": "negative", "POS": "positive"})
    votes = Models().specialist(ref, LABELS, None).observe([words(100)]).votes[0, 0]
    assert np.isnan(votes).tolist() == [False, True, False]
    assert np.nansum(votes) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("name", ["onnx-fp32", "openvino-bf16"])
def test_other_runtimes_read_windows_as_torch_does(
    folder: Path, member: Specialist, tmp_path: Path, name: str
) -> None:
    model, tokenizer = open_model(find_parts(str(folder), None))
    make_files(name, model, tmp_path / name)
    runtime = open_files(name, tmp_path / name, lambda: model, "cpu")
    own = Projection(OWN, MAP, LABELS)
    other = Transformer(runtime, Encoder(tokenizer, model.config), own)
    texts = [words(4), words(120), words(ROOM + 1)]
    tolerance = 1e-4 if name == "onnx-fp32" else 0.03
    wanted, found = member.observe(texts), other.observe(texts)
    np.testing.assert_allclose(found.votes, wanted.votes, atol=tolerance)


def test_a_text_without_end_costs_no_more_than_a_long_one(member: Specialist) -> None:
    def tokens(texts: Sequence[str]) -> list[int]:
        return [len(one) for one in member.encoding.encode(texts)]

    long, endless = tokens(["good " * MOST_TOKENS, "good " * 200_000])
    assert long == endless < 1.5 * MOST_TOKENS
    started = time.monotonic()
    assert member.encoding.encode(["x" * 10_000_000])[0].whole is False
    assert time.monotonic() - started < 10.0  # of ten megabytes only the beginning is tokenized


def test_what_was_not_read_to_its_end_is_known(member: Specialist) -> None:
    texts = ["good", words(MOST_TOKENS - 2), words(MOST_TOKENS - 1), " " * 100_000 + "good"]
    assert [one.whole for one in member.encoding.encode(texts)] == [True, True, False, False]
