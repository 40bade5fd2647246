"""What can go wrong with a language model, classed by what the caller can do about it.

    MetaControllerError
    ├── SettingsError           fix the settings; nothing was asked
    ├── BudgetExceeded          raise the budget; nothing was asked
    ├── NoCode                  choose another model or LLM (codegen.py)
    └── LanguageModelError      one attempt failed; `kind` says how
        ├── Retryable           ask again later, not before `retry_after_s`
        ├── Fatal               stop the run: every further question would fail alike
        └── NoVerdict           this question gets no answer; go on with the others

Messages name the provider, the model, the status and the next step. They never hold what a
provider wrote: its texts may quote the key, a header or the task.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from meta_controller.language_model import NO_TOKENS, Tokens


class MetaControllerError(Exception):
    """The root of this package's errors."""


class SettingsError(MetaControllerError):
    """The settings name no usable language model."""


class BudgetExceeded(MetaControllerError):
    """The next call could cost more than what is left of the budget."""


class LanguageModelError(MetaControllerError):
    """One attempt brought no usable answer.

    `tokens` are what the provider says it charged; `maybe_billed` is True when nobody can say
    whether it charged (a timeout, a connection lost half way).
    """

    def __init__(
        self,
        message: str,
        kind: str,
        *,
        tokens: Tokens = NO_TOKENS,
        maybe_billed: bool = False,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.tokens = tokens
        self.maybe_billed = maybe_billed
        self.retry_after_s = retry_after_s


class Retryable(LanguageModelError):
    """Rate limit, overload, server error, timeout, lost connection, refused option."""


class Fatal(LanguageModelError):
    """Wrong key, quota used up, unknown model."""


class NoVerdict(LanguageModelError):
    """Refusal, invalid or truncated answer, rejected request."""


SUSPICIOUS = "suspicious"
"""The kind of a question that was not asked: its text looks like an attack on the model."""

NO_VERDICT_KINDS = frozenset(
    {"refusal", "invalid answer", "truncated", "too large", "rejected", "internal error"}
    | {SUSPICIOUS}
)
"""The kinds of NoVerdict: asking the same question again would end alike."""


# Spellings of "no money left" that come as 400, 403 or 429 (Anthropic: error.details.error_code,
# error.type and, for prepaid credit, only the words; OpenAI: error.code; DeepSeek uses 402).
_QUOTA_MARKS = (
    "insufficient_quota",
    "billing_hard_limit_reached",
    "billing_error",
    "spend_limit_reached",
    "credit balance is too low",
)
_ACCOUNT_MARKS = ("organization_on_hold", "organization_type_not_supported", "invalid_api_key")
_RETRYABLE = {
    408: "server error",
    409: "server error",
    425: "server error",
    429: "rate limit",
    499: "server error",
    503: "overloaded",
    529: "overloaded",
}


def from_status(
    who: str, status: int, *, key_name: str, body: str = "", headers: Mapping[str, str]
) -> LanguageModelError:
    """Class an HTTP status of a provider.

    `who` is "provider model"; `body` is searched for the marks of a used-up quota and never
    repeated; `key_name` is the environment variable to check.
    """
    at = f"{who}: HTTP {status}"
    if status == 402 or (status < 500 and any(mark in body for mark in _QUOTA_MARKS)):
        return Fatal(f"{at}, quota used up: add credit or raise the limit there", "quota")
    if status in (401, 403) or (status == 400 and any(mark in body for mark in _ACCOUNT_MARKS)):
        return Fatal(f"{at}, access refused: check {key_name}", "key")
    if status in (404, 405, 410):
        return Fatal(f"{at}, not found: check the model's name and the base URL", "not found")
    if status in _RETRYABLE or status >= 500:
        kind = _RETRYABLE.get(status, "server error")
        wait_s = parse_retry_after_s(headers)
        return Retryable(f"{at}, {kind}: try again later", kind, retry_after_s=wait_s)
    if status == 413:
        return NoVerdict(f"{at}, the text is too large: leave it to people", "too large")
    return NoVerdict(f"{at}, the request was rejected: see the provider's log", "rejected")


def parse_retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Read Retry-After (RFC 9110, 10.2.3: seconds or a date) or retry-after-ms, in seconds.

    A date is measured from the response's own Date, not from our clock: they may disagree. None
    where there is no wait to be read, or one that is over; whoever waits has a bound of their own.
    """
    try:
        if "retry-after-ms" in headers:
            seconds = float(headers["retry-after-ms"]) / 1000
        elif headers.get("retry-after", "").endswith("GMT"):
            seconds = _date_s(headers["retry-after"]) - _now_s(headers)
        else:
            seconds = float(headers["retry-after"])
    except (KeyError, ValueError):
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def _now_s(headers: Mapping[str, str]) -> float:
    """The time at which the response was made, by the clock of who made it if it tells."""
    try:
        return _date_s(headers["date"])
    except (KeyError, ValueError):
        return time.time()


def _date_s(text: str) -> float:
    return parsedate_to_datetime(text).timestamp()
