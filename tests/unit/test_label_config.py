"""Label configs: which controls are found, and which text a task gives them."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.errors import LabelConfigError
from backend.label_config import (
    MAX_CONFIG_BYTES,
    Control,
    guideline_of,
    left_alone,
    parse,
    text_of,
)
from backend.task_text import TextSource
from specialists.types import Label

TEXT = '<Text name="text" value="$text"/>'
CHOICES = '<Choices name="mood" toName="text"><Choice value="good"/><Choice value="bad"/></Choices>'


def view(*tags: str) -> str:
    return f"<View>{''.join(tags)}</View>"


def only(xml: str) -> Control:
    (control,) = parse(xml)
    return control


def test_reads_a_single_choice_control() -> None:
    control = only(view(TEXT, CHOICES))
    assert (control.name, control.to_name, control.text) == ("mood", "text", TextSource("$text"))
    assert control.labels.names == ("good", "bad")
    assert not control.labels.multiple and control.rationale is None


@pytest.mark.parametrize(
    ("choice", "multiple"), [("single", False), ("single-radio", False), ("multiple", True)]
)
def test_the_choice_attribute_says_whether_several_labels_fit(choice: str, multiple: bool) -> None:
    tagged = CHOICES.replace("<Choices ", f'<Choices choice="{choice}" ')
    assert only(view(TEXT, tagged)).labels.multiple is multiple


def test_an_alias_is_the_label_and_the_shown_value_a_synonym() -> None:
    xml = view(
        TEXT,
        '<Choices name="mood" toName="text">'
        '<Choice value="Good" alias="pos" predicted_values="POSITIVE, LABEL_2,pos"/></Choices>',
    )
    assert only(xml).labels.labels == (Label("pos", ("Good", "POSITIVE", "LABEL_2")),)


def test_several_controls_keep_their_order_and_other_controls_are_ignored() -> None:
    xml = view(
        '<HyperText name="page" value="$html"/>',
        TEXT,
        '<Labels name="ner" toName="text"><Label value="PER"/></Labels>',
        CHOICES.replace("mood", "second").replace('toName="text"', 'toName="page"'),
        CHOICES.replace("mood", "first"),
    )
    second, first = parse(xml)
    assert (second.name, second.text) == ("second", TextSource("$html", "html"))
    assert (first.name, first.text) == ("first", TextSource("$text"))


def test_choices_may_lie_deeper_and_names_may_be_in_any_case() -> None:
    xml = (
        '<View><View><text NAME="t" VALUE="$body"/></View><choices name="c" toname="img,t">'
        '<View><Choice value="a"/></View><Choice value="b"/></choices>'
        '<Image name="img" value="$i"/></View>'
    )
    control = only(xml)
    assert (control.to_name, control.text.value) == ("t", "$body")
    assert control.labels.names == ("a", "b")


@pytest.mark.parametrize(
    ("area", "expected"),
    [
        ('<TextArea name="rationale" toName="text"/>', "rationale"),
        ('<TextArea name="Reason" toName="text"/>', "Reason"),
        ('<TextArea name="why" toName="text" editable="false"/>', "why"),
        ('<TextArea name="notes" toName="text"/>', None),
        ('<TextArea name="rationale" toName="other"/><Text name="other" value="$o"/>', None),
    ],
)
def test_finds_the_text_area_that_shows_the_rationale(area: str, expected: str | None) -> None:
    assert only(view(TEXT, CHOICES, area)).rationale == expected


@pytest.mark.parametrize(
    ("tags", "why"),
    [
        ((CHOICES, '<Text name="text" value="no variable"/>'), "Text 'text' shows no field"),
        ((CHOICES, '<Text name="text" value="$url" valueType="url"/>'), "lies behind a URL; put"),
        ((CHOICES, '<Text name="text" value="$t" encoding="base64"/>'), "is encoded"),
        ((CHOICES, '<Text name="text" value="$t[{{idx}}]"/>'), "is repeated"),
        ((CHOICES, '<Image name="text" value="$image"/>'), "Image 'text' is no text"),
        ((CHOICES, '<Header value="$text"/>'), "its toName names no tag"),
        ((TEXT, '<Choices name="mood" toName="text" value="$options"/>'), "are not in the label"),
        ((TEXT, '<Taxonomy name="mood" toName="text" apiUrl="$url"/>'), "are not in the label"),
        ((TEXT, CHOICES.replace("<Choices ", '<Choices perRegion="true" ')), "about parts of"),
        ((TEXT, CHOICES.replace(' name="mood"', "")), "it has no name"),
    ],
)
def test_says_why_it_leaves_a_control_alone(tags: tuple[str, ...], why: str) -> None:
    with pytest.raises(LabelConfigError, match=why) as refused:
        parse(view(*tags))
    assert "a <Choices>, <Taxonomy> or <Rating> tag" in refused.value.next_step
    (told,) = left_alone(view(*tags))
    assert why in told


def test_says_which_controls_it_found_when_none_classifies() -> None:
    pairs = '<Pairwise name="which" toName="text,text"/>'
    with pytest.raises(LabelConfigError, match="Pairwise 'which'; Labels 'ner'"):
        parse(view(TEXT, pairs, '<Labels name="ner" toName="text"><Label value="PER"/></Labels>'))


def test_what_is_left_alone_beside_a_usable_control_is_told() -> None:
    per_region = CHOICES.replace('name="mood"', 'name="tone" perRegion="true"')
    xml = view(TEXT, CHOICES, per_region)
    assert only(xml).name == "mood"
    assert left_alone(xml) == ("Choices 'tone': it is about parts of what is shown",)


@pytest.mark.parametrize("xml", ["", "   ", "hello", "<View>", "<View/>", "\x00", "\ud800"])
def test_refuses_what_is_no_label_config(xml: str) -> None:
    with pytest.raises(LabelConfigError):
        parse(xml)


def test_refuses_entities_before_they_can_grow() -> None:
    entities = '<!ENTITY a "ha"><!ENTITY b "&a;&a;">'
    with pytest.raises(LabelConfigError, match="document type"):
        parse(f"<!DOCTYPE View [{entities}]>{view(TEXT, CHOICES)}")


def test_refuses_a_config_that_is_too_large() -> None:
    with pytest.raises(LabelConfigError, match="too large"):
        parse(view(TEXT, CHOICES, " " * MAX_CONFIG_BYTES))


def test_a_very_deep_config_is_answered_not_crashed_on() -> None:
    depth = MAX_CONFIG_BYTES // 16
    with pytest.raises(LabelConfigError):
        parse("<View>" * depth + "</View>" * depth)


@given(st.text())
def test_any_text_is_parsed_or_refused(xml: str) -> None:
    with pytest.raises(LabelConfigError):
        parse(xml)


PLAIN = only(view(TEXT, CHOICES))
HTML = only(view('<HyperText name="text" value="$text"/>', CHOICES))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("  a text\n", "a text"),
        (7, "7"),
        (0.5, "0.5"),
        ("", None),
        (" \n\t", None),
        (None, None),
        (True, None),
        (["a", "b"], "a\nb"),
        ([["a"], {"b": 1}, None], None),
        ({"text": "a"}, None),
    ],
)
def test_takes_strings_numbers_and_lists_of_them_and_nothing_else(
    value: object, expected: str | None
) -> None:
    assert text_of(PLAIN, {"text": value}) == expected


def test_a_task_without_the_field_has_no_text() -> None:
    assert text_of(PLAIN, {"other": "a"}) is None


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("<p>One</p><p>two &amp; <b>th</b>ree</p>", "One two & three"),
        ("<style>p{color:red}</style><SCRIPT>if (a<b) x()</SCRIPT >seen", "seen"),
        ("a<!-- no --><br/>b", "a b"),
        ('<a title="x > y">link</a>', "link"),
        ("<b don't>kept</b> it's", "kept it's"),
        ("1 < 2 and 3 > 2", "1 < 2 and 3 > 2"),
        ("&lt;b&gt; stays", "<b> stays"),
        ("<!DOCTYPE html><?php x ?>text", "text"),
        ("text <unclosed attribute='", "text"),
        ("<p> </p>", None),
    ],
)
def test_html_is_reduced_to_what_a_reader_sees(page: str, expected: str | None) -> None:
    assert text_of(HTML, {"text": page}) == expected


@pytest.mark.parametrize(
    "unit",
    ["<a ", "<!--", "</", '<a b="', "<x<", "<script>", "<![CDATA[", "&#1", "<p>x</p>", "= '"],
)
def test_a_megabyte_of_broken_html_takes_no_longer_than_one_of_text(unit: str) -> None:
    page = "<i " + unit * (1_000_000 // len(unit))
    started = time.process_time()
    text_of(HTML, {"text": page})
    # Linear code needs a quarter of a second, quadratic code hours: the limit is far from both.
    assert time.process_time() - started < 5.0


@given(st.text())
def test_any_html_gives_a_text_or_nothing(page: str) -> None:
    text = text_of(HTML, {"text": page})
    assert text is None or text == text.strip() != ""


def test_what_is_shown_beside_a_choice_describes_its_label() -> None:
    xml = view(
        TEXT,
        '<Choices name="mood" toName="text"><Choice value="good" hint="praise, thanks"/>'
        '<Choice value="bad" alias="neg" html="&lt;b&gt;Bad&lt;/b&gt;, angry" hint="complaints"/>'
        '<Choice value="so so" html="&lt;i&gt;So so&lt;/i&gt;"/></Choices>',
    )
    control = only(xml)
    assert control.descriptions == (("good", "praise, thanks"), ("neg", "Bad, angry complaints"))
    assert control.labels.labels[0] == Label("good"), "labels, and so tags, stay what they were"


@pytest.mark.parametrize(
    ("project", "expected"),
    [
        ({}, ""),
        ({"description": None, "expert_instruction": ""}, ""),
        ({"description": "a < b\n tweets "}, "a < b tweets"),
        ({"expert_instruction": "<p>Irony is <b>bad</b>.</p><script>x</script>"}, "Irony is bad."),
        ({"description": "Tweets", "expert_instruction": "Be kind."}, "Tweets\nBe kind."),
    ],
)  # fmt: skip
def test_description_and_instructions_are_the_guideline(
    project: dict[str, str], expected: str
) -> None:
    assert guideline_of(project) == expected
