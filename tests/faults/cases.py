"""Which cases there are, and which of them one run takes: drawn by a seed, each can run alone."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, repeat

from faults import KINDS
from phases import PHASES


@dataclass(frozen=True)
class Case:
    """Something is done to a part while something goes on; the seed draws the moment."""

    fault: str
    phase: str
    target: str
    seed: int

    @property
    def name(self) -> str:
        """What `--only` calls it."""
        return f"{self.fault}/{self.phase}/{self.target.replace(' ', '-')}"

    @property
    def dice(self) -> random.Random:
        """The same draws for the same case, whatever ran before."""
        return random.Random(f"{self.seed}/{self.name}")


def every(seed: int) -> list[Case]:
    """All cases there are."""
    return [
        Case(fault, phase, target, seed)
        for phase in PHASES
        for fault, (_, targets) in KINDS.items()
        for target in targets
    ]


def draw(seed: int, count: int) -> list[list[Case]]:
    """Cases in walks: one of each phase, in the order of phases, some `count` in all.

    Each fault on each target comes as often as the others, but for one.
    """
    dice = random.Random(seed)
    phases = list(PHASES)
    walks = -(-count // len(phases))
    pairs = [(fault, target) for fault, (_, targets) in KINDS.items() for target in targets]
    rounds = (dice.sample(pairs, len(pairs)) for _ in repeat(None))
    deck = chain.from_iterable(rounds)
    return [
        [
            Case(fault, phase, target, seed)
            for phase, (fault, target) in zip(phases, deck, strict=False)
        ]
        for _ in range(walks)
    ]


def only(seed: int, pattern: str) -> list[list[Case]]:
    """The cases whose names hold all parts of a pattern, such as kill/review/push or refuse//."""
    parts = (pattern.split("/") + ["", "", ""])[:3]
    found = [
        case
        for case in every(seed)
        if all(
            not part or part == own for part, own in zip(parts, case.name.split("/"), strict=True)
        )
    ]
    return _walks(found)


def _walks(cases: Sequence[Case]) -> list[list[Case]]:
    """Cases put into as few walks as they fit into."""
    left, walks = list(cases), []
    while left:
        walk: list[Case] = []
        for phase in PHASES:
            case = next((one for one in left if one.phase == phase), None)
            if case:
                left.remove(case)
                walk.append(case)
        walks.append(walk)
    return walks
