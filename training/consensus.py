"""One verdict from several people's: what they say together of each task, and how sure that is.

Of each person the latest answer counts, ground truth decides, and what is combined (annotators.py)
is always an answer that somebody gave. Under a control of which several labels may be chosen each
label that anybody chose is a question of yes or no. Where no two people answered the same task
nothing can be compared, and an answer stays as it is, its `chance` unknown. Knows verdicts only.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType

import numpy as np

from specialists.types import Verdict
from training.annotators import Answers, Consensus, combine, heed

Place = tuple[int, str]  # (task id, control name)
Voice = Mapping[Place, str]  # what one more voice says, by place

_SILENT: Voice = MappingProxyType({})
_NO, _YES = 0, 1


@dataclass(frozen=True)
class Panel:
    """The people who answered under one control: of each task everybody's latest answer."""

    given: Mapping[int, Sequence[Verdict]] = field(repr=False)

    @cached_property
    def people(self) -> tuple[str, ...]:
        """Everyone who answered."""
        return tuple(sorted({v.author for same in self.given.values() for v in same}))

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """Every label that was chosen."""
        found = {name for same in self.given.values() for v in same for name in v.labels}
        return tuple(sorted(found))

    @cached_property
    def multiple(self) -> bool:
        """Whether anybody chose several labels of a task."""
        return any(len(v.labels) != 1 for same in self.given.values() for v in same)

    @cached_property
    def comparable(self) -> bool:
        """Whether any answer can be compared with another one or with ground truth."""
        return any(len(same) > 1 or same[0].ground_truth for same in self.given.values())

    @cached_property
    def questions(self) -> tuple[tuple[int, str], ...]:
        """What was asked: (task, "") or, of several labels, (task, label)."""
        if not self.multiple:
            return tuple((task, "") for task in self.given)
        return tuple(
            (task, label)
            for task, same in self.given.items()
            for label in dict.fromkeys(name for v in same for name in v.labels)
        )

    @cached_property
    def consensus(self) -> Consensus:
        """The estimate: a row a question; its labels are `labels`, or no and yes."""
        person = {name: i for i, name in enumerate(self.people)}
        rows = [
            (number, person[v.author], self._said(v, label), v.ground_truth)
            for number, (task, label) in enumerate(self.questions)
            for v in self.given[task]
        ]
        truth = np.full(len(self.questions), -1)
        for number, _, said, is_truth in rows:
            if is_truth:
                truth[number] = said
        task, who, said, _ = np.array(rows, dtype=np.intp).T
        labels = 2 if self.multiple else len(self.labels)
        return combine(Answers(task, who, said, truth, len(self.people), labels))

    def _said(self, verdict: Verdict, label: str) -> int:
        if self.multiple:
            return _YES if label in verdict.labels else _NO
        return self.labels.index(verdict.labels[0])

    def verdicts(self, voice: Voice = _SILENT) -> dict[Place, Verdict]:
        """One verdict a place; a `voice` beside people's counts as far as it agrees with them."""
        if not self.comparable:
            return {(v.task_id, v.control): v for same in self.given.values() for v in same}
        chances = self.consensus.chances
        if voice and not self.multiple:
            index = {label: i for i, label in enumerate(self.labels)}
            said = [voice.get((task, same[0].control), "") for task, same in self.given.items()]
            chances = heed(chances, np.array([index.get(label, -1) for label in said]))
        rows: defaultdict[int, list[tuple[str, Sequence[float]]]] = defaultdict(list)
        for (task, label), row in zip(self.questions, chances.tolist(), strict=True):
            rows[task].append((label, row))
        return {
            (task, same[0].control): self._together(same, rows[task])
            for task, same in self.given.items()
        }

    def _together(
        self, same: Sequence[Verdict], rows: Sequence[tuple[str, Sequence[float]]]
    ) -> Verdict:
        """What people say of one task together; the latest of them who says so speaks for them.

        It counts from the first answer on: since then it may have been learned.
        """
        if same[-1].ground_truth:
            return replace(same[-1], chance=1.0)
        if self.multiple:
            yes = {label: row[_YES] for label, row in rows}
            chosen = {label for label, chance in yes.items() if chance > 0.5}
            chosen = chosen or {max(yes, key=lambda label: yes[label])}
            chance = min(p if label in chosen else 1 - p for label, p in yes.items())
        else:
            ((_, row),) = rows
            by_label = {v.labels[0]: row[self.labels.index(v.labels[0])] for v in reversed(same)}
            best = max(by_label, key=lambda label: by_label[label])  # of equals the latest
            chosen, chance = {best}, by_label[best]
        speakers = [v for v in same if set(v.labels) == chosen]
        labels = speakers[-1].labels if speakers else tuple(sorted(chosen))
        speaker, first = (speakers or same)[-1], min(v.at for v in same)
        return replace(speaker, labels=labels, at=first, chance=round(chance, 4))


def panels(verdicts: Iterable[Verdict]) -> dict[str, Panel]:
    """People's verdicts by control; an answer of ground truth comes last, else the latest."""
    latest: dict[tuple[str, int, str], Verdict] = {}
    for one in sorted((v for v in verdicts if v.source == "human"), key=lambda v: v.at):
        latest[one.control, one.task_id, one.author] = one
    given: defaultdict[str, defaultdict[int, list[Verdict]]]
    given = defaultdict(lambda: defaultdict(list))
    for (control, task, _), one in sorted(latest.items(), key=lambda pair: _rank(pair[1])):
        given[control][task].append(one)
    return {control: Panel(dict(tasks)) for control, tasks in given.items()}


def resolve(
    verdicts: Iterable[Verdict],
    voice: Voice = _SILENT,
    unheard: Callable[[str, str], bool] = lambda control, text: False,
) -> dict[Place, Verdict]:
    """One verdict a place: what people say together, else the LLM's.

    Of texts that are `unheard` (control, text) the `voice` beside people's says nothing.
    """
    rows = list(verdicts)
    found = {(v.task_id, v.control): v for v in rows if v.source == "llm"}
    quiet = {(v.task_id, v.control) for v in rows if voice and unheard(v.control, v.text)}
    heard = {place: label for place, label in voice.items() if place not in quiet}
    for panel in panels(rows).values():
        found |= panel.verdicts(heard)
    return found


def _rank(verdict: Verdict) -> tuple[bool, float]:
    return verdict.ground_truth, verdict.at
