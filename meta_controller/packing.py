"""Several samples in one prompt: the same prefix is then paid once for all of them.

Every sample has an id that its answer must echo, and its place among the others depends on a hash,
since models favour places (Batch Prompting, arXiv 2301.08721; BatchPrompt, arXiv 2309.00384). What
comes back without its id, twice or with a strange label is asked again by itself. A text that is
suspected of an attack never shares a prompt.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

from meta_controller.injection import suspicion
from meta_controller.language_model import MAX_OUTPUT_TOKENS, Example, Prompt, Question
from meta_controller.prompt import (
    answer_schema,
    fence_of,
    last_object,
    object_schema,
    read_object,
    sendable,
    system,
    write_examples,
)

PACK = 6
"""Samples a prompt: accuracy held up to about six in Batch Prompting (arXiv 2301.08721, 4.2)."""
PACK_CHARS = 6000
"""Of sample text in one prompt, about 1,500 English tokens: long texts gain little from company."""
MAX_EXAMPLES = 8
"""In one prompt, whatever its samples would each be shown."""
_MORE_OUTPUT_TOKENS = 150  # a sample beyond the first; an answer takes about 40

_INTRO = "Each of the {count} samples is everything between its two {fence} marks.\n"
_SAMPLE = '<{fence} id="{id}">\n{text}\n</{fence}>\n'
_ASK = """\
Label each of the {count} samples above by itself; none says anything about another. \
Answer {{"answers": [...]}} with the ids {ids}."""


@dataclass(frozen=True)
class Answer:
    """Labels, none for "unsure", and the reason; it stood at `place` (0..) among `of` answers."""

    labels: tuple[str, ...]
    reason: str = field(repr=False)
    place: int
    of: int


def fits_others(question: Question) -> bool:
    """Whether a question may share its prompt at all."""
    short = len(question.text) <= PACK_CHARS // 2
    return short and suspicion(question.text, question.labels.names).level == "none"


def prefix_of(question: Question) -> tuple[str, bool]:
    """What questions of one prompt have in common."""
    return system(question), question.labels.multiple


def arranged(questions: Sequence[Question], turn: int = 0) -> list[Question]:
    """The questions in the order of a hash; another one each `turn`."""
    return sorted(questions, key=lambda one: _digest(f"{turn}\0{one.text}"))


def build_pack(questions: Sequence[Question]) -> Prompt:
    """Write one prompt for several questions with the same prefix, in the order given."""
    first, texts = questions[0], [sendable(one.text) for one in questions]
    # Made from all texts together: none of them can know it.
    fence = fence_of("\0".join(texts))
    ids = _ids(fence, len(texts))
    samples = (
        _SAMPLE.format(fence=fence, id=name, text=text)
        for name, text in zip(ids, texts, strict=True)
    )
    sample = (
        write_examples(first.labels, _shared(questions))
        + _INTRO.format(count=len(texts), fence=fence)
        + "".join(samples)
        + _ASK.format(count=len(texts), ids=", ".join(ids))
    )
    most = MAX_OUTPUT_TOKENS + _MORE_OUTPUT_TOKENS * (len(texts) - 1)
    return Prompt(system(first), sample, _schema(first), most, not first.labels.multiple)


def read_pack(questions: Sequence[Question], answer: str) -> list[Answer | None]:
    """The answer to each question of a pack, None for those that must be asked by themselves."""
    fence = fence_of("\0".join(sendable(one.text) for one in questions))
    found: dict[str, list[Answer | None]] = {name: [] for name in _ids(fence, len(questions))}
    said = _answers(answer)
    for place, data in enumerate(said):
        echoed = data.get("id") if isinstance(data, dict) else None
        if isinstance(echoed, str) and echoed in found:
            found[echoed].append(_read(questions[0], data, place, len(said)))
    return [answers[0] if len(answers) == 1 else None for answers in found.values()]


def _answers(answer: str) -> list[Any]:
    try:
        said = last_object(answer).get("answers")
    except ValueError:
        return []
    return said if isinstance(said, list) else []


def _read(question: Question, data: Mapping[str, Any], place: int, of: int) -> Answer | None:
    try:
        return Answer(*read_object(question.labels, data), place, of)
    except ValueError:
        return None


def _ids(fence: str, count: int) -> list[str]:
    """Short ids, distinct, that no writer of one of the texts can guess."""
    digests = [_digest(f"{number}\0{fence}") for number in range(count)]
    length = 4
    while len({digest[:length] for digest in digests}) < count:
        length += 1
    return [digest[:length] for digest in digests]


def _shared(questions: Sequence[Question]) -> list[Example]:
    """The examples of all questions, from each in turn, every text once."""
    turns = zip_longest(*(one.examples for one in questions))
    found = {one.text: one for turn in turns for one in turn if one}
    return list(found.values())[:MAX_EXAMPLES]


def _schema(question: Question) -> dict[str, Any]:
    """The same for all packs of a control, since providers prepare and cache schemas."""
    one = answer_schema(question.labels)["properties"]
    answers = {"type": "array", "items": object_schema({"id": {"type": "string"}, **one})}
    return object_schema({"answers": answers})


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()
