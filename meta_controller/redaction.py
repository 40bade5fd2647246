"""Take personal data out of a text before it is sent: names of kinds stand in their place.

Presidio's pattern recognisers, most with a checksum or a context: mail addresses, phone, card and
account numbers, IP addresses, URLs, identity numbers. What is NOT covered: names of people and
places, which take a language model of spaCy's that no package registry carries; identity numbers
outside English-speaking countries; and what a text gives away without saying it.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from meta_controller.errors import SettingsError

LEAST_SCORE = 0.4
"""Presidio's scores: a bare pattern of digits has 0.01 to 0.3, one with a checksum 0.5 to 1."""
_KEPT = frozenset({"DATE_TIME"})  # says nothing of a person, and often what a text is about
_INSTALL = "LLM_REDACT=on needs Presidio: pip install -r requirements-redact.txt."


class Redactor:
    """Redacts texts; building one loads Presidio."""

    def __init__(self, language: str = "en") -> None:
        """Raises SettingsError when Presidio is not installed."""
        try:
            import tldextract
            from presidio_analyzer import PatternRecognizer, RecognizerRegistry
            from presidio_analyzer.predefined_recognizers import PhoneRecognizer
        except ImportError:
            raise SettingsError(_INSTALL) from None
        # Mail addresses are checked by the list in the package, which is else fetched anew.
        offline = tldextract.TLDExtract(cache_dir=None, suffix_list_urls=())
        tldextract.tldextract.TLD_EXTRACTOR = offline
        registry = RecognizerRegistry(supported_languages=[language])
        registry.load_predefined_recognizers(languages=[language])
        self._recognizers: list[Any] = [
            one
            for one in registry.get_recognizers(language=language, all_fields=True)
            if isinstance(one, PatternRecognizer | PhoneRecognizer)
            and not _KEPT.issuperset(one.supported_entities)
        ]

    def redact(self, text: str) -> tuple[str, Counter[str]]:
        """The text with each finding replaced by its kind, and how many there were of each."""
        found = [
            result
            for recognizer in self._recognizers
            for result in recognizer.analyze(text, recognizer.supported_entities, None) or ()
            if result.score >= LEAST_SCORE
        ]
        kept: list[Any] = []
        # The surest and longest first; what overlaps one of those is the same finding.
        for one in sorted(found, key=lambda one: (-one.score, one.start - one.end)):
            if all(one.end <= other.start or one.start >= other.end for other in kept):
                kept.append(one)
        for one in sorted(kept, key=lambda one: -one.start):
            text = f"{text[: one.start]}[{one.entity_type}]{text[one.end :]}"
        return text, Counter(one.entity_type for one in kept)
