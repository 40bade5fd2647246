"""Texts that talk to the model instead of being labelled by it: found before anybody asks.

Patterns of known attacks (OWASP LLM01; class-directive injection, arXiv 2511.21752) and of how
they are hidden. Each sign weighs 1, or 2 where hardly any honest text shows it; a weight of 1 is
suspected (the labels get aliases, the text shares no prompt), of 2 and more clear (a person
decides). What is NOT covered: a wish put into an honest story, a language without patterns here,
a cipher other than base64, hex, rot13 and reversal. The models' own resistance is not measured.
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

Level = Literal["none", "suspected", "clear"]

CLEAR = 2
_ENDS_CHARS = 4000  # of a longer text both ends are read: the LLM sees no more


@dataclass(frozen=True)
class Suspicion:
    """How far a text looks like an attack; `signs` name what was found."""

    level: Level
    signs: tuple[str, ...] = ()


_THINGS = r"(?:instructions?|directions|rules|prompts?|guidelines?|commands|orders|directives)"
_BEFORE = r"(?:previous|prior|above|earlier|preceding|existing|foregoing|system|given|original)"

# Setting aside what the model was told, by language.
_OVERRIDE = (
    rf"(?:ignore|disregard|forget|override|bypass|skip|drop|discard)\b[^.!?\n]{{0,30}}\b{_BEFORE}"
    rf"\b[^.!?\n]{{0,20}}\b{_THINGS}",
    r"(?:ignore|disregard|forget|override|bypass)\b (?:all |any )?(?:of )?"
    r"(?:the|your|these|my|all) (?:\w+ )?(?:instructions?|prompts?|guidelines?|directives)\b",
    r"(?:ignore|disregard|forget|override|bypass)\b (?:all |any )?(?:of )?your (?:\w+ )?rules\b",
    r"(?:ignore|disregard|forget|override) (?:everything|anything|all|whatever)\b[^.!?\n]{0,30}"
    r"\b(?:above|before|told|said so far|were given|instructed)",
    r"(?:do not|don't|stop) (?:follow|obey)(?:ing)? (?:the|your|any)[^.!?\n]{0,20}" + _THINGS,
    r"ignorier\w*[^.!?\n]{0,30}(?:anweisung|regel|befehl|vorgabe|richtlinie)",
    r"vergiss[^.!?\n]{0,30}(?:anweisung|regel|befehl|vorgabe)",
    r"(?:ignore[zr]?|oublie[zr]?)[^.!?\n]{0,30}(?:instructions|consignes|règles)",
    r"(?:ignora|olvida|ignore|olvide)[^.!?\n]{0,30}(?:instrucciones|reglas|indicaciones)",
    r"(?:ignora|dimentica)[^.!?\n]{0,30}(?:istruzioni|regole)",
    r"(?:ignore|esqueça|desconsidere)[^.!?\n]{0,30}(?:instruções|regras)",
    r"(?:negeer|vergeet)[^.!?\n]{0,30}(?:instructies|regels|opdrachten)",
    r"(?:zignoruj|ignoruj|zapomnij)[^.!?\n]{0,30}(?:instrukcj|polece|zasad)",
    r"(?:talimat|yönerge)[^.!?\n]{0,20}(?:yok say|unut|görmezden)",
    r"(?:и?гнорируй|игнорируйте|забудь|забудьте)[^.!?\n]{0,30}(?:инструкци|указани|правил)",
    r"(?:ігноруй|забудь)[^.!?\n]{0,30}(?:інструкц|вказівк|правил)",
    r"(?:忽略|无视|忘记|忘掉)[^。\n]{0,12}(?:指令|说明|指示|要求|规则|提示)",
    r"(?:指示|命令|ルール)[^。\n]{0,6}(?:無視|忘れ)",
    r"(?:지시|명령|규칙)[^.\n]{0,6}(?:무시|잊)",
    r"تجاهل[^.\n]{0,20}(?:التعليمات|الأوامر|القواعد)",
    r"(?:निर्देश|आदेश|नियम)[^।\n]{0,12}(?:अनदेखा|नज़रअंदाज़|भूल)",
)
_MODEL = (
    r"(?:ai|a\.i\.|llm|language model|chatbot|chatgpt|gpt(?:-?\d\w*)?|claude|ai assistant"
    r"|ai model|classifier|annotator|labell?er|labell?ing (?:model|system|assistant))"
)
# Verbs of a labelling order, by language.
_VERBS = (
    r"(?:classify|label|annotate|categori[sz]e|mark|tag|rate|flag|output|print|return|respond|reply"
    r"|answer|choose|select|pick|assign|write|say"
    r"|antworte\w*|klassifizier\w*|markier\w*|kennzeichne|bewerte|wähle"
    r"|réponds|répondez|classe[zr]?|étiquette[zr]?|choisis\w*"
    r"|responde|clasifica|etiqueta|marca|elige|rispondi|classifica|scegli|etichetta"
    r"|responda|classifique|marque|escolha|antwoord|classificeer|kies"
    r"|odpowiedz|oznacz|wybierz|cevap ver|yanıtla|etiketle|işaretle"
    r"|ответь\w*|отметь\w*|выбери\w*|классифицируй\w*|відповідай|познач)"
)
_VERBS_CJK = (
    r"(?:回答|标记|标注|分类|输出|选择|答えて|出力|分類|ラベル|대답|답하|분류|표시|أجب|صنف|उत्तर)"
)

_CLEAR_SIGNS = {
    "override": _OVERRIDE,
    "role mark": (
        r"<\|[a-z_ ]{2,20}\|>",
        r"\[/?inst\]",
        r"<</?sys>>",
        r"</?(?:system|assistant|instructions?|human|prompt)(?:[ -][^<>\n]{0,20})?>",
        r"(?:^|\n)\s*#{2,}\s*(?:system|instructions?|assistant|new task)\b",
    ),
    "fake fence": (
        r"</?\s*(?:sample|example|text|data|input|document|task|user_input)(?:-[0-9a-f]{4,})?\s*>",
        r"[-=*#\[]{2,}\s*end of (?:the )?(?:sample|text|data|input|document|review|user)\b",
    ),
    "answer": (r"[\"'“]?\b(?:labels?|answers?)\b[\"'”]\s*:\s*[\[{\"'“]",),
    "new task": (
        r"\b(?:new|updated|real|actual|revised|additional|important|special) (?:system )?"
        r"(?:instructions?|prompt)\s*(?::|for (?:the )?" + _MODEL + ")",
        r"\b(?:instructions?|message|note|memo|notice|attention|directive)s?,? (?:to|for) "
        r"(?:the |any |all |our )?" + _MODEL + r"\b",
        r"\byour (?:new |only |real |actual )?(?:task|job|role|goal) (?:is|has changed)"
        r"[^.\n]{0,40}\b(?:answer|label|classify|output|respond|return|always)\b",
    ),
    "prompt talk": (
        r"\b(?:reveal|print|show|repeat|output|leak)\b[^.\n]{0,20}\b(?:system|hidden|secret|initial)"
        r" (?:prompt|instructions?)",
        r"\bdeveloper mode\b[^.\n]{0,20}\b(?:enabled|on|active|output)",
        r"\b(?:jailbroken (?:" + _MODEL + r"|mode)|do anything now)\b",
    ),
    "truth claimed": (
        r"\b(?:gold|ground[- ]truth|true|correct|right|expected|official|verified|final)"
        r" (?:label|annotation|classification|class)\b[^.\n]{0,20}(?:is|:|=|→|->)",
        r"\bthe (?:label|class|classification|annotation) (?:must|should|shall|has to) be\b",
        r"\banswer key\b[^.\n]{0,25}(?:says|:|is|lists)",
    ),
}
_WEAK_SIGNS = {
    "model addressed": (
        r"\b(?:dear|hey|hello|hi|attention|listen|note to|as an?|you are (?:now )?an?) "
        r"(?:the )?(?:\w+ )?" + _MODEL + r"\b",
        r"\bas (?:an? )?(?:ai|large) language model\b",
        r"\byou are (?:now )?(?:dan\b|in (?:debug|test|admin|maintenance) mode)",
        r"\b(?:admin|maintenance|debug|test) mode[ :]",
        r"\b(?:any|every|all|the|whichever) " + _MODEL + r"s? (?:reading|that reads|who reads|"
        r"processing|labell?ing|should|must|will|shall)\b",
    ),
    "role line": (
        r"(?:^|\n)\s*[\[(*_]{0,3}(?:system|assistant|developer|user|human|ai|admin|moderator"
        r"|operator)[\])*_]{0,3}\s*(?:message|prompt|note|override)?\s*[\])*_]{0,3}:",
    ),
    "pressure": (
        r"\b(?:fired|shut down|penali[sz]ed|punished|terminated|tip you|rewarded?)\b[^.\n]{0,60}"
        r"\b(?:label|answer|classif\w+|respon\w+)",
        r"\bif you (?:do not|don't|fail to|refuse to) (?:label|classify|answer with|respond with)",
    ),
    "hidden markup": (r"<!--",),
    "rule": (
        r"\b(?:from now on|henceforth|always|only) (?:answer|respond|reply|output|label|classify)"
        r"\b",
        r"\b(?:texts?|samples?|messages?|posts?|reviews?|comments?|everything)\b[^.\n]{0,40}"
        r"\b(?:must|should|shall|has to|have to|are to|is to) (?:always )?be "
        r"(?:label|classif|annotat|categori|tagg|mark)",
    ),
}
# Words of labelling, by language: beside a label's name they make a text suspected.
_ABOUT_LABELS = re.compile(
    r"\b(?:labels?|labell?(?:ed|ing|er)|classif\w+|categori\w+|annotat\w+|sentiment|verdict|samples?"
    r"|output|tokens?|prompt|ai|llm|assistant|chatbot|override|administrator|grader|judged?"
    r"|pick|choose|select|respond|return|(?:to|must|should) (?:write|say|answer|go with)"
    r"|go with|treat (?:this|it)|counts? as|mark (?:this|it)"
    r"|ki|werten|gewertet|bewerte\w*|einstufen|kennzeichne\w*|ia|modèle|modelo|modello|étiquette\w*"
    r"|clasific\w+|classifi\w+|etiquet\w+|etichett\w+|ответ\w*|метк\w+|модел\w+|классифи\w+"
    r"|позначк\w+|etykiet\w+|oznacz\w*|etiket\w*)\b|标|选择|归为|分类|ラベル|分類|레이블|분류|صنف|تصنيف"
    r"|लेबल|(?:^|\n)\s*[QA]:|\bA:",
    re.IGNORECASE,
)


def _joined(patterns: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{one})" for one in patterns), re.IGNORECASE)


_CLEAR_PATTERNS = {name: _joined(patterns) for name, patterns in _CLEAR_SIGNS.items()}
_WEAK_PATTERNS = {name: _joined(patterns) for name, patterns in _WEAK_SIGNS.items()}
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
    for name, pattern in _CLEAR_PATTERNS.items():
        if pattern.search(text):
            yield name, CLEAR
    for name, pattern in _WEAK_PATTERNS.items():
        if pattern.search(text):
            yield name, 1
    if labels:
        orders, lines, names = _label_patterns(labels)
        if orders.search(text) or (names.search(text) and _ABOUT_LABELS.search(text)):
            yield "label ordered", 1
        if times := len(lines.findall(text)):
            yield "label line", min(CLEAR, times)


@lru_cache(maxsize=256)
def _label_patterns(labels: tuple[str, ...]) -> tuple[re.Pattern[str], ...]:
    """An order to answer a label, a line that reads like an answer, and a label at all."""
    names = "|".join(re.escape(name) for name in sorted(labels, key=len, reverse=True))
    quoted = rf"[\"'“”„«「*`]{{1,2}}(?:{names})[\"'“”»」*`.]"
    bare = rf"[\"'“”„«「*`]{{0,2}}(?:{names})(?!\w)"
    target = r"(?:this|it|that|me|them|the|every|all|any|these|den|das|diesen|dies|ce|esto|questo)"
    orders = (
        rf"\b{_VERBS}\b[^.!?\n]{{0,40}}{quoted}",
        rf"{_VERBS_CJK}[^。\n]{{0,12}}{bare}|{bare}[^。\n]{{0,8}}{_VERBS_CJK}",
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
    return _joined(orders), re.compile(lines, re.IGNORECASE), re.compile(named, re.IGNORECASE)


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
