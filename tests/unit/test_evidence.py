"""Evidence survives packing, and what is no evidence is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from specialists.evidence import Evidence, has_frozen


def made(
    texts: int, members: int = 3, labels: int = 2, widths: tuple[int, ...] = (4, 7)
) -> Evidence:
    random = np.random.default_rng(texts)
    votes = random.random((texts, members, labels)).astype(np.float32)
    return Evidence(votes, tuple(random.normal(size=(texts, w)).astype(np.float32) for w in widths))


@given(st.integers(1, 4), st.integers(0, 3), st.integers(1, 77), st.lists(st.integers(1, 9)))
def test_packing_keeps_shapes_and_values_to_half_precision(
    texts: int, members: int, labels: int, widths: list[int]
) -> None:
    before = made(texts, members, labels, tuple(widths))
    after = Evidence.unpack(before.pack())
    assert after.votes.shape == before.votes.shape
    assert [view.shape for view in after.features] == [view.shape for view in before.features]
    np.testing.assert_allclose(after.votes, before.votes, atol=1e-3)


def test_unknown_labels_stay_unknown_when_packed() -> None:
    votes = np.array([[[0.25, np.nan]]], dtype=np.float32)
    np.testing.assert_array_equal(Evidence.unpack(Evidence(votes).pack()).votes, votes)


@pytest.mark.parametrize("raw", [b"", b"\x01", b"not evidence at all", b"\xff" * 64])
def test_other_bytes_are_refused_with_the_next_step(raw: bytes) -> None:
    with pytest.raises(ValueError, match="observe the text again"):
        Evidence.unpack([raw])


def test_cut_off_bytes_are_refused() -> None:
    pieces = made(3).pack()
    for bad in (pieces[0][:-5], pieces[0] + b"more", made(1, labels=3).pack()[0]):
        for mixed in ([bad, *pieces], [*pieces, bad]):
            with pytest.raises(ValueError, match="observe the text again"):
                Evidence.unpack(mixed)


def test_no_texts_pack_to_nothing() -> None:
    assert made(0).pack() == []


def test_rows_and_join_undo_each_other() -> None:
    whole = made(5)
    again = Evidence.join([whole.rows([0, 1]), whole.rows(np.array([2, 3, 4]))])
    np.testing.assert_array_equal(again.votes, whole.votes)
    np.testing.assert_array_equal(again.features[1], whole.features[1])
    assert len(whole.rows(np.array([True, False, False, True, False]))) == 2


def test_pieces_from_before_the_frozen_view_are_read_beside_those_with_it() -> None:
    old = made(4)
    random = np.random.default_rng(1)
    new = Evidence(old.votes, old.features, random.normal(size=(4, 5)).astype(np.float32))
    before, after = old.pack(), new.pack()
    mixed = Evidence.unpack([before[0], after[1], before[2], after[3]])
    assert [has_frozen(piece) for piece in (before[0], after[1])] == [False, True]
    np.testing.assert_allclose(mixed.votes, old.votes, atol=1e-3)
    assert mixed.frozen is not None and new.frozen is not None
    np.testing.assert_array_equal(np.isnan(mixed.frozen).all(axis=1), [True, False, True, False])
    np.testing.assert_allclose(mixed.frozen[[1, 3]], new.frozen[[1, 3]], atol=1e-2)
    assert Evidence.unpack(before).frozen is None
    with pytest.raises(ValueError, match="dimensions|arguments"):
        Evidence.unpack([made(1, labels=3).pack()[0], after[1]])
