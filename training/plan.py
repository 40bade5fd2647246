"""The plan of a stage for one control: which verdicts train, which replay, which measure.

A pure function of verdicts and a seed; it knows no models, no storage and no other control.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, islice, zip_longest

from specialists.types import LabelSet, Verdict
from training import gate
from training.fine_tune import Example

REPLAY_PER_FRESH = 3
REPLAY_MIN = 50  # a small first pool still meets enough of what was learned before
WEIGHTS = {"human": 1.0, "llm": 0.7}  # an LLM's verdict is wrong more often than a person's


@dataclass(frozen=True)
class Plan:
    """What one control's members learn from and are measured on.

    `samples` counts the examples by source: human, llm, replay.
    """

    examples: Sequence[Example]
    held_out: Sequence[Verdict]
    samples: Counter[str]
    dropped: int

    @property
    def measures(self) -> list[Example]:
        """The held-out verdicts as examples."""
        return [_example(verdict) for verdict in self.held_out]


def plan(
    labels: LabelSet,
    fresh: Sequence[Verdict],
    earlier: Sequence[Verdict],
    seed: str,
    held_out: Callable[[str], bool] = gate.held_out,
) -> Plan:
    """Sort one control's verdicts into examples and those whose texts are `held_out`.

    Trains on every fresh text that is not held out and on a class-balanced replay sample of the
    earlier ones: at most three times as many as the fresh, or 50 where that is more. Same
    verdicts and seed, same plan. Without a fresh text to train on there are no examples.
    """
    fitting_fresh = [v for v in fresh if _fits(v, labels)]
    fitting = [*(v for v in earlier if _fits(v, labels)), *fitting_fresh]
    fresh_keys = {gate.text_key(v.text) for v in fitting_fresh}
    held, train, pool = [], [], []
    for key, verdict in _one_per_text(fitting):
        if held_out(verdict.text):
            held.append(verdict)
        elif key in fresh_keys:
            train.append(verdict)
        else:
            pool.append(verdict)
    size = max(REPLAY_PER_FRESH * len(train), REPLAY_MIN) if train else 0
    replay = _balanced_sample(pool, size, random.Random(seed))
    samples = Counter[str](v.source for v in train)
    samples["replay"] = len(replay)
    return Plan(
        examples=[_example(v) for v in (*train, *replay)],
        held_out=held,
        samples=samples,
        dropped=len(fresh) + len(earlier) - len(fitting),
    )


def _example(verdict: Verdict) -> Example:
    return Example(verdict.text, verdict.labels, WEIGHTS[verdict.source])


def _fits(verdict: Verdict, labels: LabelSet) -> bool:
    """Whether a verdict can be learned under the labels the project has now."""
    known = set(verdict.labels) <= set(labels.names)
    return known and (labels.multiple or len(verdict.labels) == 1) and bool(verdict.text.strip())


def _one_per_text(verdicts: Iterable[Verdict]) -> list[tuple[str, Verdict]]:
    """One verdict per text, sorted by text: a person's before the LLM's, the latest of those."""
    ranked = sorted(verdicts, key=lambda v: (v.source == "human", v.at, v.task_id))
    return sorted({gate.text_key(v.text): v for v in ranked}.items())


def _balanced_sample(pool: Sequence[Verdict], size: int, rng: random.Random) -> list[Verdict]:
    """Draw up to `size` verdicts, one answer after the other in turn, so that rare ones are in."""
    by_answer: defaultdict[tuple[str, ...], list[Verdict]] = defaultdict(list)
    for verdict in pool:
        by_answer[tuple(sorted(verdict.labels))].append(verdict)
    groups = [rng.sample(group, len(group)) for _, group in sorted(by_answer.items())]
    turns = chain.from_iterable(zip_longest(*groups))
    return list(islice((verdict for verdict in turns if verdict is not None), size))
