"""The slice: the texts of a project that measure every stage and teach none; kept in Redis.

A fifth of all texts is held out by its hash alone (`gate.py`), people's and the LLM's alike. Of a
rare label that fifth may have nobody, so at the begin of a stage the slice is topped up: of every
label that people gave at least five times, a fifth of their texts is held out. Only texts that no
stage was given yet are taken, those of the smallest hash, and never more than that fifth, so that a
small pool still teaches. What was taken stays: its text is not trained on again, whoever answers
it, nor shown to the LLM as an example. A verdict that is taken back measures no longer.

It is filled at the begin of a stage, not when an answer arrives: a hook has no time to count
labels, and the train job, under its lease, is then its only writer. Two sets a project:
what is held out beside the hash, and what stages were given, both marked before a member trains.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field

import redis
from redis.client import Pipeline

from specialists.types import Verdict
from training.gate import fingerprint, held_out

ONE_IN = 5
"""Of so many texts of a label one is held out, as `gate.HELD_OUT_SHARE` is of all texts."""


@dataclass(frozen=True)
class HeldOut:
    """The held-out texts at one moment; `more` are those beside the hash rule."""

    more: frozenset[str] = field(default=frozenset(), repr=False)

    def holds(self, control: str, text: str) -> bool:
        """Whether a text is kept for measuring under a control and never trained on."""
        return held_out(text) or member(control, text) in self.more


class Slice:
    """The slice of one project in Redis (a client with decode_responses=True)."""

    def __init__(self, client: redis.Redis, project_id: int) -> None:
        self._redis = client
        self._prefix = f"aa:project:{project_id}:slice"

    @property
    def _more(self) -> str:
        return f"{self._prefix}:more"

    @property
    def _given(self) -> str:
        return f"{self._prefix}:given"

    def held_out(self) -> HeldOut:
        """What is held out now."""
        return HeldOut(frozenset(map(str, self._redis.smembers(self._more))))

    def lacks(self, fresh: Sequence[Verdict], earlier: Sequence[Verdict]) -> set[str]:
        """What `hold` should add, so that every label that people gave has its fifth.

        `fresh` verdicts were learned in no promoted stage, `earlier` ones may have been.
        """
        given = set(map(str, self._redis.smembers(self._given)))
        given |= {member(v.control, v.text) for v in earlier}  # by stages that did not mark it
        return lacking(self.held_out(), [*fresh, *earlier], given)

    def hold(self, members: Collection[str], via: Pipeline) -> None:
        """Hold out what `lacks` found."""
        if members:
            via.sadd(self._more, *members)

    def give(self, verdicts: Iterable[Verdict], via: Pipeline) -> None:
        """Mark what a stage is given to train on, before it trains: it is not held out any more."""
        held = self.held_out()
        members = {member(v.control, v.text) for v in verdicts if not held.holds(v.control, v.text)}
        if members:
            via.sadd(self._given, *members)

    def follow(self, control: Callable[[str], str]) -> None:
        """Controls were renamed, `control` tells their names of now: the same texts under those."""
        for key in (self._more, self._given):
            known = set(map(str, self._redis.smembers(key)))
            parts = (one.split(":", 1) for one in known)
            moved = {f"{text}:{control(name)}" for text, name in parts} - known
            if moved:
                self._redis.sadd(key, *moved)


def lacking(held: HeldOut, verdicts: Iterable[Verdict], given: Collection[str]) -> set[str]:
    """The members that are missing in each label's fifth, rare labels first.

    Same arguments in any order, same members.
    """
    people = sorted((v for v in verdicts if v.source == "human"), key=lambda v: (v.at, v.task_id))
    latest = {member(v.control, v.text): v for v in people}
    needs = Counter[tuple[str, str]]()  # by control and label
    free: dict[str, list[tuple[str, str]]] = {}
    seen = Counter(label for v in latest.values() for label in _labels(v))
    for label, count in seen.items():
        needs[label] = count // ONE_IN
    for text, verdict in sorted(latest.items()):
        if held.holds(verdict.control, verdict.text):
            needs.subtract(_labels(verdict))
        elif text not in given:
            free[text] = _labels(verdict)
    found: set[str] = set()
    for label in sorted(seen, key=lambda one: (seen[one], one)):
        for text, labels in free.items():
            if needs[label] <= 0:
                break
            if label in labels and text not in found:
                found.add(text)
                needs.subtract(labels)
    return found


def _labels(verdict: Verdict) -> list[tuple[str, str]]:
    """A verdict's labels, each with its control."""
    return [(verdict.control, label) for label in verdict.labels]


def member(control: str, text: str) -> str:
    """A text under a control; sorts by the text's hash."""
    return f"{fingerprint(text)}:{control}"
