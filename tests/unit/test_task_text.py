"""Texts of tasks: variables as Label Studio's editor resolves them, and dialogues."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.task_text import TextSource

DATA: dict[str, Any] = {
    "title": "News",
    "a": {"b": "nested", "0": "zero"},
    "a.b": "dotted",
    "list": [{"text": "first"}, {"text": "second"}],
    "lines": ["one", 2, None, ["deep"]],
    "empty": "",
    "n": 7,
    "мир": "word",
}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("$title", "News"),
        ("$a.b", "dotted"),
        ("$a.0", "zero"),
        ("$list[1].text", "second"),
        ("$list.0.text", "first"),
        ("$list[9].text", ""),
        ("$list[x].text", ""),
        (f"$list[{'9' * 5000}].text", ""),
        ("$list", ""),
        ("$lines", "one\n2"),
        ("$title.b", ""),
        ("$gone", ""),
        ("$a", ""),
        ("$мир", "word"),
        ("Title: $title ($n)", "Title: News (7)"),
        ("Title: $title. $list[0].text", "Title: News first"),  # the editor drops that dot, too
        ("Title: $title, $gone", "Title: News, "),
        ("Title: $gone", ""),
        ("Title: $empty", ""),
        ("$title$n", "News7"),
    ],
)
def test_variables_are_filled_in(value: str, text: str) -> None:
    assert TextSource(value).read(DATA) == text


def test_a_nested_field_is_found_where_no_key_has_its_dots() -> None:
    assert TextSource("$a.b").read({"a": {"b": "nested"}}) == "nested"


def test_a_value_is_never_taken_for_a_template() -> None:
    data = {"one": "costs $two", "two": "secret"}
    assert TextSource("It $one").read(data) == "It costs $two"


def test_markup_is_stripped_from_a_whole_template() -> None:
    source = TextSource("<b>$title</b><p>$body</p>", "html")
    assert source.read({"title": "One", "body": "<i>t</i>wo"}) == "One two"


TURNS = [{"author": "Ann", "text": "Hello."}, {"author": "Bo", "text": "Hi\nyou."}]


@pytest.mark.parametrize(
    ("turns", "text"),
    [
        (TURNS, "Ann: Hello.\nBo: Hi\nyou."),
        ([{"text": "who?"}, {"author": " ", "text": "me"}], "who?\nme"),
        ([{"author": "Ann"}, {"author": "Bo", "text": ""}, {"text": None}], ""),
        ([{"author": 7, "text": 8}], "7: 8"),
        (["no turn", None, ["x"]], ""),
        ("https://example.org/talk.json", ""),
        ({"author": "Ann", "text": "x"}, ""),
        ([], ""),
    ],
)
def test_a_dialogue_is_joined_with_the_names(turns: object, text: str) -> None:
    assert TextSource("$talk", "dialogue").read({"talk": turns}) == text


def test_a_dialogue_has_its_own_keys() -> None:
    source = TextSource("$a.talk", "dialogue", "who", "said")
    assert source.read({"a": {"talk": [{"who": "Ann", "said": "Hi"}]}}) == "Ann: Hi"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=10,
)


@given(st.text(), st.dictionaries(st.text(max_size=3), JSON), st.sampled_from(["text", "dialogue"]))
def test_any_task_gives_a_text(value: str, data: dict[str, Any], form: Any) -> None:
    assert isinstance(TextSource(f"$a{value}", form).read(data), str)
