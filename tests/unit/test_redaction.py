"""Redaction: addresses and numbers leave the text, its words stay."""

from __future__ import annotations

import sys
from collections import Counter

import pytest

from meta_controller.errors import SettingsError
from meta_controller.redaction import Redactor


@pytest.fixture(scope="module")
def redactor() -> Redactor:
    return Redactor()


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Write to anna.kern@example.org please", "EMAIL_ADDRESS"),
        ("Call +1 415-555-0132 tomorrow", "PHONE_NUMBER"),
        ("It was charged to 4111 1111 1111 1111 twice", "CREDIT_CARD"),
        ("Pay into DE89370400440532013000 today", "IBAN_CODE"),
        ("The box at 192.168.0.1 is down", "IP_ADDRESS"),
    ],
)
def test_personal_data_are_replaced_by_their_kind(redactor: Redactor, text: str, kind: str) -> None:
    said, taken = redactor.redact(text)
    assert taken == Counter({kind: 1})
    assert f"[{kind}]" in said
    assert said.split("[")[0] == text[: len(said.split("[")[0])]


def test_several_are_replaced_where_they_stand(redactor: Redactor) -> None:
    said, taken = redactor.redact("a@example.org, b@example.org: not DE89370400440532013000!")
    assert said == "[EMAIL_ADDRESS], [EMAIL_ADDRESS]: not [IBAN_CODE]!"
    assert taken == Counter(EMAIL_ADDRESS=2, IBAN_CODE=1)


@pytest.mark.parametrize("text", ["", "The 2 films of 1999 were 100% great", "Ann met Bob in Rome"])
def test_ordinary_words_stay(redactor: Redactor, text: str) -> None:
    assert redactor.redact(text) == (text, Counter())


def test_a_missing_presidio_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "presidio_analyzer", None)
    with pytest.raises(SettingsError, match="requirements-redact.txt"):
        Redactor()
