"""How sure a model was of a label, read from the likelihoods of the tokens that it wrote.

The product of the likelihoods of the label's tokens: best of the measures compared by Refuel ("LLMs
can label data", 2023). Raw: only calibrated on people's answers does it say how often it is right.
"""

from __future__ import annotations

import math
import re
from itertools import accumulate

from meta_controller.language_model import Completion

_LABEL = re.compile(rb'"label"\s*:\s*"((?:[^"\\]|\\.)*)"')


def label_chances(completion: Completion) -> list[float]:
    """The likelihood (0..1) of each label in the text, in order; empty where none is known."""
    text, sizes = completion.text.encode(), [size for size, _ in completion.token_logprobs]
    ends = list(accumulate(sizes))
    if not ends or ends[-1] != len(text):
        return []
    starts = [end - size for end, size in zip(ends, sizes, strict=True)]
    found = []
    for match in _LABEL.finditer(text):
        low, high = match.span(1)
        logprob = sum(
            said
            for start, end, (_, said) in zip(starts, ends, completion.token_logprobs, strict=True)
            if start < high and end > low
        )
        found.append(min(1.0, math.exp(logprob)))
    return found
