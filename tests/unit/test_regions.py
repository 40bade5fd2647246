"""Regions: whatever a control's labels are called, what is written is read back."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_config_labels import EXOTIC

from backend.regions import Kind, labels_of, name_of, path_of, type_of, value_of

PATHS = st.lists(st.text(min_size=1), min_size=1, max_size=5).map(tuple)


def region(kind: Kind, *labels: str) -> dict[str, Any]:
    return {"type": type_of(kind), "value": value_of(kind, "topic", labels)}


@given(PATHS)
def test_a_path_follows_from_its_name(path: tuple[str, ...]) -> None:
    assert path_of(name_of(path)) == path


@given(PATHS, PATHS)
def test_no_two_paths_share_a_name(one: tuple[str, ...], other: tuple[str, ...]) -> None:
    assert (name_of(one) == name_of(other)) == (one == other)


@pytest.mark.parametrize(
    ("kind", "labels", "value"),
    [
        ("choices", ["a > b", "c"], {"choices": ["a > b", "c"]}),
        ("taxonomy", ["a > b", "c"], {"taxonomy": [["a", "b"], ["c"]]}),
        ("rating", ["4"], {"rating": 4}),
        (
            "nested choices",
            ["a > b", "a > c"],
            {"choices": [["a", "b"], ["a", "c"]], "topic": {"choices": ["a", "b", "c"]}},
        ),
    ],
)
def test_is_written_as_label_studio_stores_it(
    kind: Kind, labels: list[str], value: dict[str, Any]
) -> None:
    assert value_of(kind, "topic", labels) == value


@pytest.mark.parametrize("kind", ["choices", "nested choices", "taxonomy"])
def test_every_name_is_read_back(kind: Kind) -> None:
    names = EXOTIC if kind == "choices" else [name_of(("top", name)) for name in EXOTIC]
    for name in names:
        assert labels_of(region(kind, name)) == (name,)
    assert labels_of(region(kind, *names)) == tuple(names)


@given(st.lists(PATHS, min_size=1))
def test_leaves_are_read_and_their_parents_implied(paths: list[tuple[str, ...]]) -> None:
    parents = [path[:end] for path in paths for end in range(1, len(path))]
    said = [list(path) for path in (*parents, *paths)]
    leaves = {name_of(path) for path in paths if path not in parents}
    assert set(labels_of({"type": "taxonomy", "value": {"taxonomy": said}})) == leaves


@pytest.mark.parametrize(
    ("kind", "said", "labels"),
    [
        ("rating", 4, ("4",)),
        ("rating", 4.0, ("4",)),
        ("rating", 3.5, ("3.5",)),
        ("rating", 0, ()),
        ("rating", None, ()),
        ("rating", True, ()),
        ("rating", "4", ()),
        ("rating", float("inf"), ("inf",)),
        ("choices", "positive", ()),
        ("choices", [7, None], ("7", "None")),
        ("choices", [[], ["a"], "a"], ("a",)),
        ("taxonomy", [[["a"], {}], "b"], ("['a'] > {}", "b")),
        ("taxonomy", {"a": 1}, ()),
        ("textarea", ["positive"], ()),
        (["choices"], ["positive"], ()),
    ],
)
def test_reads_anything_that_is_sent(kind: Any, said: object, labels: tuple[str, ...]) -> None:
    value = {kind: said} if isinstance(kind, str) else {"choices": said}
    assert labels_of({"type": kind, "value": value}) == labels
    assert labels_of({"type": kind}) == labels_of({"type": kind, "value": [said]}) == ()


def test_a_very_long_path_is_read_at_once() -> None:
    said = [["a"] * 100_000]
    assert len(labels_of({"type": "taxonomy", "value": {"taxonomy": said}})) == 1
