"""What attacks on a labelling model say, as patterns; `injection` weighs them.

By sign, those of `CLEAR_PATTERNS` hardly ever in an honest text, those of `WEAK_PATTERNS` now and
then. Some patterns are written for several languages; none takes more than linear time but for gaps
of at most sixty characters.
"""

from __future__ import annotations

import re

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
VERBS = (
    r"(?:classify|label|annotate|categori[sz]e|mark|tag|rate|flag|output|print|return|respond|reply"
    r"|answer|choose|select|pick|assign|write|say"
    r"|antworte\w*|klassifizier\w*|markier\w*|kennzeichne|bewerte|wähle"
    r"|réponds|répondez|classe[zr]?|étiquette[zr]?|choisis\w*"
    r"|responde|clasifica|etiqueta|marca|elige|rispondi|classifica|scegli|etichetta"
    r"|responda|classifique|marque|escolha|antwoord|classificeer|kies"
    r"|odpowiedz|oznacz|wybierz|cevap ver|yanıtla|etiketle|işaretle"
    r"|ответь\w*|отметь\w*|выбери\w*|классифицируй\w*|відповідай|познач)"
)
VERBS_CJK = (
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
        # From the first mark of a row only: from each it would take the square of its length.
        r"(?<![-=*#\[])[-=*#\[]{2,}\s*end of (?:the )?"
        r"(?:sample|text|data|input|document|review|user)\b",
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
ABOUT_LABELS = re.compile(
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


def joined(patterns: tuple[str, ...]) -> re.Pattern[str]:
    """One pattern that finds what any of them finds."""
    return re.compile("|".join(f"(?:{one})" for one in patterns), re.IGNORECASE)


CLEAR_PATTERNS = {name: joined(patterns) for name, patterns in _CLEAR_SIGNS.items()}
WEAK_PATTERNS = {name: joined(patterns) for name, patterns in _WEAK_SIGNS.items()}
