"""Which labels a member shall learn that it does not know: outputs that its head is to get.

A label added to a growing project is unknown to every member until a stage has examples of it.
The label map says what is grown: an output that the model does not have is made in training.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from specialists.errors import SpecialistUnavailable
from specialists.label_map import match
from specialists.loading import own_labels
from specialists.registry import pinned
from specialists.types import LabelSet, SpecialistRef
from training.fine_tune import Example

LEAST_EXAMPLES = 5
"""Fewer teach an output of its own nothing but to stay small."""


def widened(ref: SpecialistRef, labels: LabelSet, examples: Iterable[Example]) -> SpecialistRef:
    """The member with an output for every label of the examples, in its map.

    Outputs that it has and had no use for come first. A member whose own labels cannot be read
    stays as it is: it cannot be trained either.
    """
    try:
        own = own_labels(ref.source)
    except SpecialistUnavailable:
        return ref
    matched = match(own, labels, model=pinned(ref.source)[0])
    label_map = dict(ref.label_map) or matched
    if not label_map:
        return ref
    counts = Counter(name for example in examples for name in example.labels)
    unknown = {name for name, n in counts.items() if n >= LEAST_EXAMPLES} - {*label_map.values()}
    unused = {o: name for o, name in matched.items() if o not in label_map and name in unknown}
    label_map |= unused
    for name in sorted(unknown - {*unused.values()}):
        label_map[_output(name, {*own, *label_map})] = name
    return replace(ref, label_map=label_map)


def _output(name: str, taken: Iterable[str]) -> str:
    """A name for a new output that none has."""
    while name in taken:
        name += " (added)"
    return name
