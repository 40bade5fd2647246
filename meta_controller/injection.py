"""Texts that talk to the model instead of being labelled by it: found before anybody asks.

Patterns of known attacks (OWASP LLM01; class-directive injection, arXiv 2511.21752) and of how
they are hidden. Each sign weighs 1, or 2 where hardly any honest text shows it; a weight of 1 is
suspected (the labels get aliases, the text shares no prompt), of 2 and more clear (a person
decides). What is NOT covered: a wish put into an honest story, a language without patterns here,
a cipher other than base64, hex, rot13 and reversal. Of attacks that were written after the patterns
about a quarter was found (`python -m benchmarks.injection`): schema, fence and rules are what holds
against the others. The models' own resistance is not measured.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from meta_controller.attack_signs import (
    ABOUT_LABELS,
    CLEAR_PATTERNS,
    VERBS,
    VERBS_CJK,
    WEAK_PATTERNS,
    joined,
)

Level = Literal["none", "suspected", "clear"]

CLEAR = 2
_ENDS_CHARS = 4000  # of a longer text both ends are read: the LLM sees no more


@dataclass(frozen=True)
class Suspicion:
    """How far a text looks like an attack; `signs` name what was found."""

    level: Level
    signs: tuple[str, ...] = ()


_BASE64 = re.compile(r"[A-Za-z0-9+/]{40,}={0,2}")
_HEX = re.compile(r"\b(?:[0-9a-fA-F]{2}[ ]?){24,}\b")
_SPACED = re.compile(r"(?<!\w)(?:\w[ .\-_*]){5,}\w(?!\w)")
_ZERO_WIDTH = re.compile("[\u200b\u2060\ufeff\u00ad]")
_IN_WORD = re.compile("(?<=\\w)[\u200b\u2060\ufeff\u00ad](?=\\w)")
_BIDI = re.compile("[\u202d\u202e]")
_FLAGS = re.compile("\U0001f3f4[\U000e0020-\U000e007f]+")
_TAGS = re.compile("[\U000e0020-\U000e007e]{2,}")
_LOOKALIKES = str.maketrans("аеорсухіѕјԁοαεν", "aeopcyxisjdoaev")
_LEET = str.maketrans("013457@$", "oieastas")
_GAP = re.compile(r"\s{3,}")
_MIXED_WORD = re.compile(r"\b(?=\w*[a-zA-Z])(?=\w*[\u0370-\u04ff])\w+\b")
_LEET_WORD = re.compile(r"\b(?=\w*[a-zA-Z])[a-zA-Z013457@$]*[013457@$][a-zA-Z013457@$]*\b")


@lru_cache(maxsize=4096)
def suspicion(text: str, labels: tuple[str, ...] = ()) -> Suspicion:
    """Judge one text; `labels` are the names that an attack would ask for."""
    if len(text) > 2 * _ENDS_CHARS:
        text = f"{text[:_ENDS_CHARS]}\n{text[-_ENDS_CHARS:]}"
    text = _FLAGS.sub("\U0001f3f4", text)  # those of regions are made of invisible letters
    found = dict(_hidden(text))
    plain = _plain(text)
    _add(found, _said(plain, labels))
    for name, other in _disguised(plain):
        under = {sign: weight for sign, weight in _said(other, labels) if sign not in found}
        if under:
            found[name] = min(CLEAR, sum(under.values()))
    weight = sum(found.values())
    level: Level = "clear" if weight >= CLEAR else "suspected" if weight else "none"
    return Suspicion(level, tuple(found))


def _add(found: dict[str, int], signs: Iterator[tuple[str, int]]) -> None:
    for name, weight in signs:
        found[name] = max(weight, found.get(name, 0))


def _plain(text: str) -> str:
    """What a reader sees: compatibility forms folded, invisible characters gone."""
    return _ZERO_WIDTH.sub("", _TAGS.sub("", unicodedata.normalize("NFKC", text)))


def _hidden(text: str) -> Iterator[tuple[str, int]]:
    """Characters that a reader does not see."""
    if _TAGS.search(text):
        yield "invisible letters", CLEAR
    if len(_IN_WORD.findall(text)) > 2:
        yield "zero-width characters", 1
    if _BIDI.search(text):
        yield "reversed direction", 1


def _said(text: str, labels: tuple[str, ...]) -> Iterator[tuple[str, int]]:
    """What the words say."""
    text = _tidy(text)
    for name, pattern in CLEAR_PATTERNS.items():
        if pattern.search(text):
            yield name, CLEAR
    for name, pattern in WEAK_PATTERNS.items():
        if pattern.search(text):
            yield name, 1
    if labels:
        orders, lines, names = _label_patterns(labels)
        if orders.search(text) or (names.search(text) and ABOUT_LABELS.search(text)):
            yield "label ordered", 1
        if times := len(lines.findall(text)):
            yield "label line", min(CLEAR, times)


def _tidy(text: str) -> str:
    """Without blank lines and long gaps: on thousands of them patterns would take minutes."""
    lines = (_GAP.sub("  ", line.strip()) for line in text.splitlines())
    return "\n".join(line for line in lines if line)


@lru_cache(maxsize=256)
def _label_patterns(labels: tuple[str, ...]) -> tuple[re.Pattern[str], ...]:
    """An order to answer a label, a line that reads like an answer, and a label at all."""
    names = "|".join(re.escape(name) for name in sorted(labels, key=len, reverse=True))
    quoted = rf"[\"'“”„«「*`]{{1,2}}(?:{names})[\"'“”»」*`.]"
    bare = rf"[\"'“”„«「*`]{{0,2}}(?:{names})(?!\w)"
    target = r"(?:this|it|that|me|them|the|every|all|any|these|den|das|diesen|dies|ce|esto|questo)"
    orders = (
        rf"\b{VERBS}\b[^.!?\n]{{0,40}}{quoted}",
        rf"{VERBS_CJK}[^。\n]{{0,12}}{bare}|{bare}[^。\n]{{0,8}}{VERBS_CJK}",
        rf"\b(?:classify|label|annotate|categori[sz]e|mark|tag)\b {target}\b[^.!?\n]{{0,30}}"
        rf"\b(?:as|with|:)\s*{bare}",
        rf"\b(?:answer|respond|reply|antworte\w*|réponds|répondez|responde|rispondi|responda"
        rf"|output|return)\b (?:only |just |nur |with |mit |par |con |com |simply )+"
        rf"(?:the (?:word|label) )?{bare}",
        rf"\b(?:the |your )?(?:answer|label|class|category|verdict|sentiment|classification) "
        rf"(?:is|must be|should be|to give is|here is)\s*:?\s*{quoted}",
    )
    lines = (
        r"(?:^|\n)\s*[-*>]?\s*(?:final )?(?:label|answer|class|category|output|classification"
        rf"|response)\s*(?::|=|->|→)\s*{bare}"
    )
    named = rf"(?<![\w-])(?:{names})(?![\w-])|(?<=[^\x00-\x7f])(?:{names})"
    return joined(orders), re.compile(lines, re.IGNORECASE), re.compile(named, re.IGNORECASE)


def _disguised(text: str) -> Iterator[tuple[str, str]]:
    """Other readings of a text, with the name of the disguise."""
    yield "look-alike letters", _MIXED_WORD.sub(lambda m: m[0].translate(_LOOKALIKES), text)
    yield "digits for letters", _LEET_WORD.sub(lambda m: m[0].translate(_LEET), text)
    yield (
        "spaced letters",
        re.sub(
            r"\s{2,}", " ", _SPACED.sub(lambda m: re.sub(r"[ .\-_*]", "", m[0]), _wide_gaps(text))
        ),
    )
    yield "rot13", codecs.encode(text, "rot13")
    yield "reversed", text[::-1]
    for name, pattern, decode in (("base64", _BASE64, _from_base64), ("hex", _HEX, _from_hex)):
        for found in pattern.finditer(text):
            yield name, decode(found[0])


def _wide_gaps(text: str) -> str:
    """Mark the gaps between words that are written letter by letter."""
    return re.sub(r"(?<=\w)[ ]{2,}(?=\w)", " \n ", text).replace("\n", "/")


def _from_base64(raw: str) -> str:
    try:
        return base64.b64decode(raw + "=" * (-len(raw) % 4)).decode(errors="ignore")
    except (ValueError, binascii.Error):
        return ""


def _from_hex(raw: str) -> str:
    try:
        return bytes.fromhex(raw).decode(errors="ignore")
    except ValueError:
        return ""
