"""Labels of a config: nested choices, taxonomies and ratings, and names of every kind."""

from __future__ import annotations

from xml.sax.saxutils import quoteattr

import pytest

from backend.errors import LabelConfigError
from backend.label_config import Control, parse
from backend.regions import MAX_DEPTH
from specialists.types import Label, LabelSet

EXOTIC = (
    "a, b",
    'say "no"',
    "it's",
    "😀/😡",
    "A > B",
    "back\\slash",
    "سلبي جدا",
    "Good",
    "good",
    "GOOD",
    " spaced ",
    "<b>&amp;",
    "ﬁne",
)
"""Names that a project may give its labels; no two are the same."""


def control(tag: str) -> Control:
    (found,) = parse(f'<View><Text name="text" value="$text"/>{tag}</View>')
    return found


def choice(name: str, *inner: str) -> str:
    return f"<Choice value={quoteattr(name)}>{''.join(inner)}</Choice>"


ANIMALS = choice("animal", choice("cat"), choice("dog")) + choice("plant")


def test_of_choices_that_may_not_be_nested_the_outermost_are_labels() -> None:
    found = control(f'<Choices name="c" toName="text">{ANIMALS}</Choices>')
    assert (found.kind, found.labels.names) == ("choices", ("animal", "plant"))


@pytest.mark.parametrize(("choice", "multiple"), [("single", False), ("multiple", True)])
def test_of_nested_choices_the_leaves_are_labels(choice: str, multiple: bool) -> None:
    tag = f'<Choices name="c" toName="text" choice="{choice}" allowNested="true">'
    found = control(f"{tag}{ANIMALS}</Choices>")
    assert found.kind == "nested choices"
    assert found.labels.names == ("animal > cat", "animal > dog", "plant")
    assert found.labels.multiple is multiple


@pytest.mark.parametrize(
    ("attributes", "multiple"),
    [("", True), ('maxUsages="1"', False), ('leafsOnly="true" maxUsages="2"', True)],
)
def test_of_a_taxonomy_the_leaves_are_labels(attributes: str, multiple: bool) -> None:
    shown = 'showFullPath="true" pathSeparator="|"'
    found = control(f'<Taxonomy name="c" toName="text" {shown} {attributes}>{ANIMALS}</Taxonomy>')
    assert (found.kind, found.labels.multiple) == ("taxonomy", multiple)
    assert found.labels.names == ("animal > cat", "animal > dog", "plant")


def test_a_leaf_is_known_by_its_last_part_unless_others_end_so() -> None:
    tree = choice("buy", choice("other"), choice("card")) + choice("sell", choice("Other"))
    found = control(f'<Taxonomy name="c" toName="text">{tree}</Taxonomy>')
    assert found.labels.labels == (
        Label("buy > other"),
        Label("buy > card", ("card",)),
        Label("sell > Other"),
    )


def test_aliases_make_the_path_and_what_people_see_is_a_synonym() -> None:
    inner = '<Choice value="Cat" alias="c" hint="purrs" predicted_values="LABEL_1"/>'
    tree = f'<Choice value="Animal" alias="a" hint="moves">{inner}</Choice>'
    found = control(f'<Taxonomy name="c" toName="text">{tree}</Taxonomy>')
    assert found.labels.labels == (Label("a > c", ("Animal > Cat", "c", "Cat", "LABEL_1")),)
    assert found.descriptions == (("a > c", "moves purrs"),)


def test_the_stars_of_a_rating_are_ordered_labels() -> None:
    found = control('<Rating name="r" toName="text" maxRating="3"/>')
    assert found.labels == LabelSet(
        (Label("1", ("1 star",)), Label("2", ("2 stars",)), Label("3", ("3 stars",)))
    )
    assert found.kind == "rating"
    assert found.descriptions == (("1", "the lowest"), ("3", "the highest"))
    assert len(control('<Rating name="r" toName="text"/>').labels.names) == 5, "as Label Studio"


@pytest.mark.parametrize("most", ["0", "-1", "2.5", "many", "101", "9" * 5000])
def test_a_rating_that_counts_no_stars_is_left_alone(most: str) -> None:
    with pytest.raises(LabelConfigError, match="Rating 'r' \\(its labels are not in"):
        control(f'<Rating name="r" toName="text" maxRating="{most}"/>')


@pytest.mark.parametrize("tag", ["Choices", "Taxonomy"])
def test_every_name_stays_itself(tag: str) -> None:
    listed = "".join(map(choice, EXOTIC))
    found = control(f'<{tag} name="c" toName="text">{listed}</{tag}>')
    assert len(set(found.labels.names)) == len(EXOTIC)
    if tag == "Choices":
        assert found.labels.names == EXOTIC


def test_three_hundred_labels_are_read() -> None:
    listed = "".join(choice(f"label {n}") for n in range(300))
    assert len(control(f'<Choices name="c" toName="text">{listed}</Choices>').labels.names) == 300


def test_equal_and_empty_names_count_once_and_not_at_all() -> None:
    listed = choice("a") + choice("a") + choice("") + choice(" ")
    assert control(f'<Choices name="c" toName="text">{listed}</Choices>').labels.names == ("a",)
    tree = choice("a", choice("b"), choice("")) + choice("", choice("c"))
    assert control(f'<Taxonomy name="c" toName="text">{tree}</Taxonomy>').labels.names == ("a > b",)


def test_choices_nested_without_end_are_refused() -> None:
    deep = "<Choice value='a'>" * 20_000 + "</Choice>" * 20_000
    with pytest.raises(LabelConfigError, match=f"more than {MAX_DEPTH} levels"):
        control(f'<Taxonomy name="c" toName="text">{deep}</Taxonomy>')


def test_nested_choices_cannot_have_the_name_of_a_result() -> None:
    tag = f'<Choices name="text" toName="t" allowNested="true">{ANIMALS}</Choices>'
    with pytest.raises(LabelConfigError, match="nested choices cannot be called 'text'"):
        parse(f'<View><Text name="t" value="$text"/>{tag}</View>')
