"""A member is silent on texts in a language that it does not know, and people read why."""

from __future__ import annotations

import numpy as np
import pytest
from test_committee import LABELS, ByWord

from specialists.committee import Committee
from specialists.decision import PaperRule
from specialists.evidence import Evidence
from specialists.languages import Languages, foreign, known, of_card
from specialists.models import Models
from specialists.registry import default_members
from specialists.rule_state import Head, RuleState
from specialists.types import Label, LabelSet
from specialists.value_rule import ValueRule
from specialists.windows import MOST_TOKENS

GERMAN = "Das Essen war kalt und der Kellner war sehr unfreundlich zu uns."
FRENCH = "Je ne comprends pas pourquoi ma carte ne fonctionne plus."
ENGLISH = "I still do not know why they closed the good old place."


def committee(*languages: Languages) -> Committee:
    members = [(f"member {number}", ByWord("good")) for number in range(len(languages))]
    for (_, one), own in zip(members, languages, strict=True):
        one.languages = own
    return Committee(LABELS, members)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (GERMAN, "de"),
        (FRENCH, "fr"),
        (ENGLISH, "en"),
        ("Не понимаю, почему моя карта больше не работает", "ru"),
        ("料理は冷たくて、店員の態度も悪かった。", "ja"),
        ("لا أفهم لماذا لا تعمل بطاقتي بعد اليوم", "ar"),
        (GERMAN.upper(), "de"),
        (GERMAN.replace(" ", "\n"), "de"),
        (GERMAN * 10_000, "de"),
    ],
)
def test_a_plain_language_is_told(text: str, code: str) -> None:
    assert foreign(text, frozenset()) == code
    assert foreign(text, frozenset({code})) == ""


@pytest.mark.parametrize(
    "text",
    ["", " ", "ok", "gut", "lol omg", "😀" * 50, "12.5 % / 2026-01-01", "\ud800" * 40, "\0" * 40,
     "http://example.org/a/b?c=d", "Das ist so cool, but I really do not get it lol"],
)  # fmt: skip
def test_of_others_nothing_is_said(text: str) -> None:
    assert foreign(text, frozenset({"en"})) == ""


def test_a_text_that_no_member_can_read_is_hard_and_says_why() -> None:
    asked = committee(frozenset({"en"}), frozenset({"en", "fr"}))
    for rule in (PaperRule(), ValueRule(RuleState.first(2, 2))):
        english, german = asked.decide([ENGLISH, GERMAN], rule)
        assert german.hard and not german.labels
        assert german.reason == "no member knows the text's language (de)"
        assert english.labels == ("positive",) and "language" not in english.reason


def test_only_those_who_know_the_language_vote() -> None:
    asked = committee(frozenset({"en"}), None, frozenset({"fr"}))
    seen = asked.observe([ENGLISH, GERMAN, FRENCH, "so good"])
    silent = np.isnan(seen.votes).all(axis=2)
    assert silent.tolist() == [
        [False, False, True],
        [True, False, True],
        [True, False, False],
        [False, False, False],
    ]
    assert seen.notes is None
    assert [view.shape for view in seen.features] == [(4, 1)] * 3


def test_what_was_learned_here_may_answer_in_any_language() -> None:
    seen = committee(frozenset({"en"})).observe([GERMAN])
    learned = RuleState.first(1, 2).__dict__ | {"verdicts": 50}
    (mute,) = ValueRule(RuleState(**learned)).decide(seen, ("a",), LABELS)
    assert mute.hard and mute.reason == "no member knows the text's language (de)"
    heads = (Head(np.zeros(1), np.zeros((1, 2)), np.array([3.0, 0.0])),)
    state = RuleState(**learned | {"heads": heads, "head_weights": np.ones(1)})
    (found,) = ValueRule(state).decide(seen, ("a",), LABELS)
    assert found.labels == ("negative",)
    assert found.reason.endswith("; no member knows the text's language (de)")


def test_notes_are_stored_with_the_evidence() -> None:
    asked = committee(frozenset({"en"}))
    seen = Evidence.join([asked.observe([text]) for text in (ENGLISH, GERMAN, "good", FRENCH)])
    again = Evidence.unpack(seen.pack())
    assert again.notes is not None
    assert [note[-4:] for note in again.notes] == ["", "(de)", "", "(fr)"]
    np.testing.assert_array_equal(again.votes, Evidence.unpack(seen.pack()).votes)
    assert Evidence.unpack(seen.rows([0, 2]).pack()).notes is None
    assert len(Evidence.unpack([piece for piece in seen.rows([3]).pack()])) == 1


@pytest.mark.parametrize(
    ("card", "languages"),
    [
        ("---\nlanguage: en\n---\n# A model", {"en"}),
        ("---\nlanguage:\n- de\n- pt-BR\n- nb\n---\n", {"de", "pt", "no"}),
        ("---\nlanguage: multilingual\n---\n", None),
        ("---\nlanguage: [en, multilingual]\n---\n", None),
        ("---\nlanguage: eng\n---\n", None),
        ("---\nlanguage: no\n---\n", None),  # YAML reads it as false
        ("---\nlicense: mit\n---\n", None),
        ("---\nlanguage: [en\n---\n", None),
        ("# no head at all", None),
        ("", None),
    ],
)
def test_a_card_says_what_its_model_knows(card: str, languages: set[str] | None) -> None:
    assert of_card(card) == languages


def test_the_embedded_specialists_know_english_and_generated_code_nobody_knows() -> None:
    assert known("embedded:sentiment-tweets") == {"en"}
    assert known("generated:abc") is None


def test_the_shipped_committee_leaves_german_to_others() -> None:
    labels = LabelSet((Label("negative"), Label("positive")))
    models = Models()
    shipped = Committee.load(default_members(labels), labels, {}, models)
    german, english = shipped.decide([GERMAN, "What a wonderful film!"], PaperRule())
    assert german.hard and german.reason == "no member knows the text's language (de)"
    assert english.labels == ("positive",) and not english.hard
    (long,) = shipped.decide(["a wonderful film! " * MOST_TOKENS], PaperRule())
    assert long.labels == ("positive",)
    assert long.reason.endswith("only its beginning was read: it has over 4,096 tokens")
