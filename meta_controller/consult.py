"""One structured question to a language model that is no review: selection, code, label maps.

Paid through the ledger like a review: reserved before each attempt, settled after it. Answers are
not stored here; whoever asks keeps what it made of them.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from redis.client import Pipeline

from meta_controller.errors import LanguageModelError, Retryable
from meta_controller.language_model import NO_TOKENS, Completion, LanguageModel, Prompt
from meta_controller.ledger import Ledger, Purpose, Transaction
from meta_controller.prices import Price
from meta_controller.reviewer import BACKOFF_S, MAX_WAIT_S

ATTEMPTS = 4


def consult(
    model: LanguageModel,
    prompt: Prompt,
    ledger: Ledger,
    price: Price,
    work: str,
    transaction: Transaction,
    run: str = "",
    sleep: Callable[[float], None] = time.sleep,
) -> Completion:
    """Send a prompt, again after what time can heal, and pay for each attempt.

    `work` says in the ledger what it was for; `run` names the owner of the reservation. Checking
    the text against the schema is the caller's.

    Raises:
        LanguageModelError: Fatal, NoVerdict, or the last Retryable of ATTEMPTS.
        BudgetExceeded: an attempt could pass the budget; it was not made.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return _attempt(model, prompt, ledger, price, Purpose(work), transaction, run)
        except Retryable as error:
            if attempt == ATTEMPTS:
                raise
            sleep(_delay_s(error, attempt))
    raise AssertionError("unreachable")


def _attempt(
    model: LanguageModel,
    prompt: Prompt,
    ledger: Ledger,
    price: Price,
    purpose: Purpose,
    transaction: Transaction,
    run: str,
) -> Completion:
    """Reserve, send once, settle."""
    call = ledger.reserve(purpose, model, price, prompt.most_tokens, run, transaction)
    started_s = time.monotonic()
    outcome, tokens, in_full = "internal error", NO_TOKENS, True
    try:
        found = model.complete(prompt)
        outcome, tokens, in_full = "answered", found.tokens, False
        return found
    except LanguageModelError as error:
        outcome, tokens, in_full = error.kind, error.tokens, error.maybe_billed
        raise
    finally:
        latency_s = time.monotonic() - started_s

        def settle(pipe: Pipeline) -> None:
            ledger.settle(pipe, call, outcome, tokens, latency_s, in_full)

        transaction(settle)


def _delay_s(failure: Retryable, attempt: int) -> float:
    """As the provider says, else exponential backoff with full jitter."""
    if failure.retry_after_s is not None:
        return min(MAX_WAIT_S, failure.retry_after_s)
    return random.uniform(0, min(MAX_WAIT_S, BACKOFF_S * 2**attempt))
