"""A few of people's answers that the LLM is shown beside a question: near ones, of all labels.

Never an audit or a text that is held out for the gate (what measures us must not be shown), never
the text that is asked about, and none that looks like an attack. Nearness is the cosine of TF-IDF
weighted words: cheap, and at hand wherever the text is. Knows neither Redis nor Label Studio.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

from backend.audit import is_audit
from specialists.types import LabelSet, Verdict
from training.gate import text_key
from training.slice import HeldOut

if TYPE_CHECKING:
    from meta_controller.language_model import Example

MOST = 500
"""The newest answers among which the nearest are looked for."""
_WORD = re.compile(r"\w+")

Words = Mapping[str, float]
"""A text's words with their weights; the sum of squares is 1."""


@dataclass(frozen=True)
class _Known:
    verdict: Verdict
    words: Words = field(repr=False)


class Examples:
    """Chooses among what people said under one control."""

    def __init__(
        self,
        project_id: int,
        labels: LabelSet,
        answers: Iterable[Verdict],
        audit_share: float,
        held_out: HeldOut,
    ) -> None:
        """`answers` are people's, one a task (`people_said`)."""
        newest = sorted(answers, key=lambda one: -one.at)
        usable = (
            one
            for one in newest
            if one.labels
            and set(one.labels) <= set(labels.names)
            and not held_out.holds(one.control, one.text)
            and not is_audit(project_id, one.task_id, audit_share)
        )
        known = list(islice(usable, MOST))
        counts = [Counter(_WORD.findall(one.text.casefold())) for one in known]
        self._names = labels.names
        self._seen_in = Counter(word for words in counts for word in words)
        self._texts = len(known)
        self._known = [
            _Known(verdict, self._weigh(words))
            for verdict, words in zip(known, counts, strict=True)
        ]

    def near(self, text: str, count: int) -> tuple[Example, ...]:
        """At most `count` examples, the nearest of each label in turn; the nearest comes last."""
        from meta_controller.injection import suspicion
        from meta_controller.language_model import Example

        if not count:
            return ()
        # Only what would be shown is looked at: that takes milliseconds a text.
        honest = (
            (near, verdict)
            for near, verdict in self._in_turn(text)
            if suspicion(verdict.text, self._names).level == "none"
        )
        chosen = sorted(islice(honest, count), key=lambda pair: pair[0])
        return tuple(Example(verdict.text, verdict.labels) for _, verdict in chosen)

    def _in_turn(self, text: str) -> list[tuple[float, Verdict]]:
        """Others' nearness and verdict: the nearest of each label, then the second of each, ..."""
        words, key = self._weigh(Counter(_WORD.findall(text.casefold()))), text_key(text)
        others = [
            (_cosine(words, one.words), one.verdict)
            for one in self._known
            if text_key(one.verdict.text) != key
        ]
        turns: Counter[tuple[str, ...]] = Counter()
        order = []
        for near, verdict in sorted(others, key=lambda pair: -pair[0]):
            order.append((turns[verdict.labels], near, verdict))
            turns[verdict.labels] += 1
        order.sort(key=lambda one: (one[0], -one[1]))
        return [(near, verdict) for _, near, verdict in order]

    def _weigh(self, words: Mapping[str, int]) -> Words:
        weights = {
            word: times * math.log((self._texts + 1) / (self._seen_in[word] + 1) + 1)
            for word, times in words.items()
        }
        length = math.sqrt(sum(weight**2 for weight in weights.values())) or 1.0
        return {word: weight / length for word, weight in weights.items()}


def _cosine(one: Words, other: Words) -> float:
    return sum(weight * other.get(word, 0.0) for word, weight in one.items())
