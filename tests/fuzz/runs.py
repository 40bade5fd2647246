"""How often each target is run: a few times with the other tests, often by `make fuzz`.

The inputs are the same each time; FUZZ_SEED=N gives others.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, seed, settings

LONG = "FUZZ_EXAMPLES" in os.environ
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", 40))
SEED = os.environ.get("FUZZ_SEED")

SETTINGS = settings(
    max_examples=EXAMPLES,
    derandomize=SEED is None,
    database=None,
    deadline=None,  # a bound on each answer catches hangs: served.py
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)


def fuzz(share: float = 1.0, **inputs: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a test a target: it is run with many inputs from these strategies.

    `share` is less than 1 for those that are slow: they ask another process.
    """
    limited = settings(SETTINGS, max_examples=max(10, int(EXAMPLES * share)))

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        target: Callable[..., None] = limited(given(**inputs)(test))
        return target if SEED is None else seed(int(SEED))(target)

    return decorate
