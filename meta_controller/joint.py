"""Several questions about each sample in one prompt: the controls of a project over one text.

The text is then paid once for all of them. Answers lie under short names, since those of controls
may be anything; stored, counted and weighed are the answers to single questions.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from meta_controller.language_model import Question
from meta_controller.prompt import DATA, answer_schema, guideline_of, wording

_SYSTEM = (
    """\
You label text for a team of annotators. Small classifiers could not settle on labels for the \
samples that you get; you answer several questions about each, and each question by itself.
{guideline}
{questions}
"""
    + DATA
    + """\
The answer to a sample is one JSON object: under the name of each question an object as it says, \
in which "reason" says in at most 15 words what in the sample decided.
Answer with {{"answers": [such an object for each sample, its "id" first]}} and nothing else."""
)
_QUESTION = """\
Question "{name}": {control}. {rule}
Labels:
{labels}
Its object: {shape}
{unsure}
"""


def names_of(questions: Sequence[Question]) -> list[str]:
    """The names under which the questions about a sample are answered."""
    return [f"q{number}" for number in range(1, len(questions) + 1)]


def joint_system(questions: Sequence[Question]) -> str:
    """The prefix of every call about these questions' controls, whatever the text."""
    asked = (
        _QUESTION.format(name=name, control=json.dumps(one.control, ensure_ascii=False), **told)
        for name, one in zip(names_of(questions), questions, strict=True)
        for told in [wording(one)]
    )
    return _SYSTEM.format(guideline=guideline_of(questions[0]), questions="\n".join(asked))


def joint_schema(questions: Sequence[Question]) -> dict[str, Any]:
    """The properties of the answer to one sample: the answer to each question."""
    pairs = zip(names_of(questions), questions, strict=True)
    return {name: answer_schema(one.labels) for name, one in pairs}


def parts_of(questions: Sequence[Question], answer: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The answer to each question about a sample; an empty one where there is none."""
    said = [answer.get(name) for name in names_of(questions)]
    return [one if isinstance(one, Mapping) else {} for one in said]
