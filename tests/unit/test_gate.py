"""What the gate measures with: held-out texts stay the same texts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.gate import held_out, text_key


@given(st.text(), st.sampled_from([" ", "\t", "\n\n ", "\u00a0"]))
def test_duplicates_that_differ_in_white_space_fall_on_the_same_side(text: str, space: str) -> None:
    respelled = space + space.join(text.split()) + space
    assert text_key(respelled) == text_key(text) == text_key(text_key(text))
    assert held_out(respelled) == held_out(text)


@given(st.text(alphabet=st.characters(max_codepoint=0x7F)))
def test_ascii_case_never_moves_a_text(text: str) -> None:
    assert held_out(text.upper()) == held_out(text.lower()) == held_out(text)


@given(st.text(), st.floats(0, 1), st.floats(0, 1))
def test_a_text_held_out_at_a_share_is_held_out_at_every_larger_one(
    text: str, one: float, other: float
) -> None:
    small, large = sorted((one, other))
    assert held_out(text, small) <= held_out(text, large)
    assert not held_out(text, 0.0)
    assert held_out(text, 1.0)


def test_the_held_out_side_never_changes_between_versions() -> None:
    # Written down once: a change here would train on what earlier stages were measured with.
    held = [n for n in range(30) if held_out(f"text {n}")]
    assert held == [6, 12, 13, 14, 17, 19, 20, 26, 28]


def test_about_the_asked_share_is_held_out() -> None:
    share = sum(held_out(f"text {n}") for n in range(10_000)) / 10_000
    assert share == pytest.approx(0.2, abs=0.015)
