"""The plan of a stage for one control: which verdicts train, which replay, which measure.

A pure function of verdicts and a seed; it knows no models, no storage and no other control.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice, zip_longest
from types import MappingProxyType

from specialists.types import Decision, LabelSet, Verdict
from training import gate
from training.curriculum import DEFAULT, Curriculum
from training.fine_tune import Example
from training.label_names import fits

Opinions = Mapping[str, Decision]  # what the served committee says of a text


@dataclass(frozen=True)
class Plan:
    """What one control's members learn from and are measured on.

    By `tuning` it is chosen when they have learned enough. `samples` counts the examples by source:
    human, llm, replay, agreed.
    """

    examples: Sequence[Example]
    tuning: Sequence[Example]
    held_out: Sequence[Verdict]
    samples: Counter[str]
    dropped: int


def plan(
    labels: LabelSet,
    fresh: Sequence[Verdict],
    earlier: Sequence[Verdict],
    seed: str,
    held_out: Callable[[str], bool] = gate.held_out,
    curriculum: Curriculum = DEFAULT,
    opinions: Opinions = MappingProxyType({}),
) -> Plan:
    """Sort one control's verdicts into examples and those whose texts are `held_out`.

    Trains on every fresh text that is not held out, on a class-balanced replay sample of the
    earlier ones, people's first, and on texts without a verdict that the served committee is sure
    of, all as the curriculum says; `opinions` are the served committee's. Same verdicts and seed,
    same plan. Without a fresh text to train on there are no examples.
    """
    fitting_fresh = [v for v in fresh if _fits(v, labels)]
    fitting = [*(v for v in earlier if _fits(v, labels)), *fitting_fresh]
    fresh_keys = {gate.text_key(v.text) for v in fitting_fresh}
    by_key = dict(_one_per_text(fitting))
    held, train, tuning, pool = [], [], [], []
    for key, verdict in by_key.items():
        if held_out(verdict.text):
            held.append(verdict)
        elif curriculum.tunes(verdict.text):
            tuning.append(verdict)
        elif key in fresh_keys:
            train.append(verdict)
        else:
            pool.append(verdict)
    rng = random.Random(seed)
    size = max(round(curriculum.replay * len(train)), curriculum.least_replay) if train else 0
    replay = _balanced_sample(pool, size, rng)
    others = [text for text in opinions if gate.text_key(text) not in by_key and not held_out(text)]
    agreed = _agreed(others, opinions, round(curriculum.agreed * len(train)), rng)
    samples = Counter[str](v.source for v in train)
    samples.update(replay=len(replay), agreed=len(agreed))
    examples = [
        Example(v.text, v.labels, curriculum.weight(v, _believed(v, opinions, labels)))
        for v in (*train, *replay)
    ]
    examples += [Example(t, opinions[t].labels, curriculum.agreed_weight) for t in agreed]
    choose = [Example(v.text, v.labels, curriculum.weight(v)) for v in tuning]
    return Plan(examples, choose, held, samples, len(fresh) + len(earlier) - len(fitting))


def _believed(verdict: Verdict, opinions: Opinions, labels: LabelSet) -> float | None:
    """The chance that the served committee gives to a verdict; None where it was not asked."""
    opinion = opinions.get(verdict.text)
    if opinion is None or len(opinion.probabilities) != len(labels.names):
        return None
    chances = dict(zip(labels.names, opinion.probabilities, strict=True))
    return min((chances[label] for label in verdict.labels), default=None)


def _agreed(texts: Sequence[str], opinions: Opinions, size: int, rng: random.Random) -> list[str]:
    """Draw up to `size` of the texts that the served committee answers and finds not hard."""
    sure = [text for text in texts if opinions[text].labels and not opinions[text].hard]
    return rng.sample(sure, min(size, len(sure)))


def _fits(verdict: Verdict, labels: LabelSet) -> bool:
    """Whether a verdict can be learned under the labels the project has now."""
    return fits(verdict, labels) and bool(verdict.text.strip())


def _one_per_text(verdicts: Iterable[Verdict]) -> list[tuple[str, Verdict]]:
    """One verdict per text, sorted by text: a person's before the LLM's, the latest of those."""
    ranked = sorted(verdicts, key=lambda v: (v.source == "human", v.at, v.task_id))
    return sorted({gate.text_key(v.text): v for v in ranked}.items())


def _balanced_sample(pool: Sequence[Verdict], size: int, rng: random.Random) -> list[Verdict]:
    """Draw up to `size` verdicts, one answer after the other in turn, so that rare ones are in.

    Of each answer people's come first.
    """
    by_answer: defaultdict[tuple[str, ...], list[Verdict]] = defaultdict(list)
    for verdict in pool:
        by_answer[tuple(sorted(verdict.labels))].append(verdict)
    drawn = [rng.sample(group, len(group)) for _, group in sorted(by_answer.items())]
    groups = [sorted(group, key=lambda v: v.source != "human") for group in drawn]
    turns = chain.from_iterable(zip_longest(*groups))
    return list(islice((verdict for verdict in turns if verdict is not None), size))
