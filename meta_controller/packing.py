"""Several samples in one prompt: the same prefix is then paid once for all of them.

Every sample has an id that its answer must echo, and its place among the others depends on a hash,
since models favour places (Batch Prompting, arXiv 2301.08721; BatchPrompt, arXiv 2309.00384). What
comes back without its id, twice or with a strange label is asked again by itself. A text that is
suspected of an attack never shares a prompt. What several controls ask of one text goes together.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

from meta_controller.injection import suspicion
from meta_controller.joint import joint_schema, joint_system, names_of, parts_of
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
    """Whether a question may share its prompt with other texts."""
    return len(question.text) <= PACK_CHARS // 2 and _unsuspected(question)


def together(questions: Iterable[Question], most: int) -> list[list[Question]]:
    """Questions about one text under several controls, up to `most`: they share a prompt.

    A text that is suspected of an attack is asked about singly.
    """
    groups: list[list[Question]] = []
    open_groups: dict[tuple[str, str, int], list[Question]] = {}
    for question in questions:
        about = question.text, question.guideline, question.draw
        group = open_groups.get(about)
        if group and len(group) < most and _another_control(group, question):
            group.append(question)
            continue
        groups.append([question])
        open_groups[about] = groups[-1]
    return [sorted(group, key=lambda one: one.control) for group in groups]


def _another_control(group: Sequence[Question], question: Question) -> bool:
    asked = {one.control for one in group}
    return question.control not in asked and all(map(_unsuspected, (*group, question)))


def _unsuspected(question: Question) -> bool:
    return suspicion(question.text, question.labels.names).level == "none"


def goes_along(pack: Sequence[Question], group: Sequence[Question], most: int) -> bool:
    """Whether the questions about another text fit into a prompt: the same ones, and room."""
    texts = {one.text for one in pack}
    if len(pack) + len(group) > most or group[0].text in texts:
        return False
    if sum(map(len, texts)) + len(group[0].text) > PACK_CHARS:
        return False
    first = by_text(pack)[0]
    return prefix_of(first) == prefix_of(group) and all(map(fits_others, (*first, *group)))


def prefix_of(group: Sequence[Question]) -> tuple[str, tuple[bool, ...]]:
    """What the questions about each text of one prompt have in common."""
    return _system(group), tuple(one.labels.multiple for one in group)


def _system(group: Sequence[Question]) -> str:
    return system(group[0]) if len(group) == 1 else joint_system(group)


def by_text(questions: Iterable[Question]) -> list[list[Question]]:
    """The questions about each text, in the order of the texts."""
    groups: dict[str, list[Question]] = {}
    for one in questions:
        groups.setdefault(one.text, []).append(one)
    return list(groups.values())


def arranged(questions: Sequence[Question], turn: int = 0) -> list[Question]:
    """The questions in the order of a hash of their texts; another one each `turn`."""
    groups = sorted(by_text(questions), key=lambda group: _digest(f"{turn}\0{group[0].text}"))
    return [one for group in groups for one in group]


def build_pack(questions: Sequence[Question]) -> Prompt:
    """Write one prompt for several questions, for each text the same, in the order given."""
    groups = by_text(questions)
    first, texts = groups[0], [sendable(group[0].text) for group in groups]
    # Made from all texts together: none of them can know it.
    fence = fence_of("\0".join(texts))
    ids = _ids(fence, len(texts))
    samples = (
        _SAMPLE.format(fence=fence, id=name, text=text)
        for name, text in zip(ids, texts, strict=True)
    )
    sample = (
        _examples(groups)
        + _INTRO.format(count=len(texts), fence=fence)
        + "".join(samples)
        + _ASK.format(count=len(texts), ids=", ".join(ids))
    )
    most = MAX_OUTPUT_TOKENS + _MORE_OUTPUT_TOKENS * (len(questions) - 1)
    with_chances = not any(one.labels.multiple for one in first)
    return Prompt(_system(first), sample, _schema(first), most, with_chances)


def read_pack(questions: Sequence[Question], answer: str) -> list[Answer | None]:
    """The answer to each question of a pack, None for those that must be asked by themselves."""
    groups = by_text(questions)
    fence = fence_of("\0".join(sendable(group[0].text) for group in groups))
    said, found = _answers(answer), dict[int, Answer | None]()
    ids = [data.get("id") if isinstance(data, dict) else None for data in said]
    for name, group in zip(_ids(fence, len(groups)), groups, strict=True):
        if ids.count(name) == 1:
            place = ids.index(name)
            for number, (one, data) in enumerate(_parts(group, said[place])):
                of = len(said) * len(group)
                found[id(one)] = _read(one, data, place * len(group) + number, of)
    return [found.get(id(one)) for one in questions]


def _answers(answer: str) -> list[Any]:
    try:
        said = last_object(answer).get("answers")
    except ValueError:
        return []
    return said if isinstance(said, list) else []


def _parts(
    group: Sequence[Question], data: Mapping[str, Any]
) -> Iterable[tuple[Question, Mapping[str, Any]]]:
    """What was said to each question about a sample."""
    return zip(group, [data] if len(group) == 1 else parts_of(group, data), strict=True)


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


def _examples(groups: Sequence[Sequence[Question]]) -> str:
    """The examples of all questions, those of several controls under the name of theirs."""
    several = len(groups[0]) > 1
    written = []
    for name, *questions in zip(names_of(groups[0]), *groups, strict=True):
        shown = write_examples(questions[0].labels, _shared(questions, len(groups[0])))
        written.append(f'For question "{name}": {shown}' if several and shown else shown)
    return "".join(written)


def _shared(questions: Sequence[Question], controls: int) -> list[Example]:
    """The examples of one control's questions, from each in turn, every text once."""
    turns = zip_longest(*(one.examples for one in questions))
    found = {one.text: one for turn in turns for one in turn if one}
    return list(found.values())[: max(1, MAX_EXAMPLES // controls)]


def _schema(group: Sequence[Question]) -> dict[str, Any]:
    """The same for all packs of a control, since providers prepare and cache schemas."""
    one = answer_schema(group[0].labels)["properties"] if len(group) == 1 else joint_schema(group)
    answers = {"type": "array", "items": object_schema({"id": {"type": "string"}, **one})}
    return object_schema({"answers": answers})


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()
