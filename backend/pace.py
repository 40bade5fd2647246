"""How many LLM calls may be started now, so that the budget lasts for all expected tasks.

A call is one question here; several may share a request to the provider.

Pure arithmetic over counts: it knows neither the ledger nor the queue. The product and the replay
benchmark use the same functions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

KEPT_SHARE = 0.3
"""Of the budget, kept until an import is complete: by then the gains are known best."""
ROUNDS = 4
"""In so many rounds the rest is spent, with a refit after each."""
MAX_PROBES = 40
PROOF_SHARE = 0.5
"""Of the budget, at most: texts that the committee is sure of, asked while the LLM is unproven."""
PROBE_SHARE = 0.25
"""Of the budget, at most: texts that people answered, asked only to measure the LLM."""

CHECK_SHARE = 0.1
"""Of the budget, at most: audits, labels that the committee is sure of, asked to measure them."""


def budget_calls(
    expected: float,
    share: float,
    calls_left: float | None = None,
    spent: int = 0,
) -> float:
    """Calls that a project may make in all, the `spent` ones among them.

    `share` is calls per expected task; `calls_left` is how many the caps on money and tokens allow.
    """
    allowed = share * expected
    return allowed if calls_left is None else min(allowed, spent + max(0.0, calls_left))


@dataclass(frozen=True)
class Pace:
    """The pace at which a budget of calls is spent; `spent` is always the calls made so far."""

    budget_calls: float

    def while_importing(self, seen_share: float, spent: int) -> int:
        """Calls that may start now while tasks still arrive; `seen_share` (0..1) is decided."""
        paced = (1 - KEPT_SHARE) * self.budget_calls * min(1.0, seen_share)
        return max(0, math.floor(paced + 1e-9) - spent)

    def when_complete(self, spent: int, round_number: int = 0) -> int:
        """Calls of one round (0, 1, ...) once all tasks are seen; the last takes what is left."""
        left = math.floor(self.budget_calls + 1e-9) - spent
        return max(0, math.ceil(left / max(1, ROUNDS - round_number)))

    def probes(self, made: int) -> int:
        """How many more texts that people answered may be asked, after `made` of them."""
        return max(0, min(MAX_PROBES, math.ceil(PROBE_SHARE * self.budget_calls)) - made)

    def checks(self, made: int) -> int:
        """How many more audits may be asked, after `made` of them."""
        return max(0, math.floor(CHECK_SHARE * self.budget_calls) - made)

    def proofs(self, spent: int) -> int:
        """How many more calls may serve to prove the LLM; these come before all others."""
        return max(0, math.ceil(PROOF_SHARE * self.budget_calls) - spent)
