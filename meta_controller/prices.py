"""What a call costs: list prices in USD per million tokens, and exact integer arithmetic.

One dated table; prices change, so pass your own pair where it matters (LLM_PRICE). What is not in
it has no price. Not covered: prompts of more than 100,000 tokens (dearer with some models; ours
have a few thousand), priority tiers, regional surcharges.
"""

from __future__ import annotations

import ipaddress
import math
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from meta_controller.language_model import Tokens

NANO = 1_000_000_000
PRICES_SEEN = "2026-11-25"

BATCH_SHARE = 0.5
"""Of the price of any token, in the batch APIs of both providers; for cached ones OpenAI says so of
its newer models only, not of gpt-4.1 and gpt-4o."""

# USD per million tokens in and out, then two shares of the input price: for tokens read from the
# prompt cache, and for tokens written to it (for 5 minutes). By prefix of the model's name; the
# longest prefix wins. Standard tier, short context, as of PRICES_SEEN. Sources:
# https://platform.claude.com/docs/en/about-claude/pricing (all four columns, and batches),
# https://developers.openai.com/api/docs/pricing, for most of OpenAI's models by way of third
# parties' lists; cache writes: https://developers.openai.com/api/docs/guides/prompt-caching (free
# before GPT-5.6); batches: https://help.openai.com/en/articles/9197833-batch-api-faq.
_USD_PER_MTOK: dict[str, tuple[float, float, float, float]] = {
    "claude-fable-5": (10, 50, 0.1, 1.25),
    "claude-fable-5-1": (10, 50, 0.025, 1.25),
    "claude-opus-5-5": (4, 20, 0.05, 1.25),
    "claude-opus-5": (5, 25, 0.1, 1.25),
    "claude-opus-4": (15, 75, 0.1, 1.25),
    "claude-opus-4-5": (5, 25, 0.1, 1.25),
    "claude-opus-4-6": (5, 25, 0.1, 1.25),
    "claude-opus-4-7": (5, 25, 0.1, 1.25),
    "claude-opus-4-8": (5, 25, 0.1, 1.25),
    "claude-sonnet-5": (2, 10, 0.1, 1.25),
    "claude-sonnet-5-5": (2, 10, 0.05, 1.25),
    "claude-sonnet-4": (3, 15, 0.1, 1.25),
    "claude-haiku-5-5": (0.10, 0.50, 0.1, 1.25),
    "claude-haiku-4-5": (1, 5, 0.1, 1.25),
    "gpt-6-astra": (10, 50, 0.1, 1.25),
    "gpt-6-sol": (2, 10, 0.1, 1.25),
    "gpt-6.1-terra": (1, 5, 0.1, 1.25),
    "gpt-6-luna": (0.10, 0.50, 0.1, 1.25),
    "gpt-5.6-sol": (5, 30, 0.1, 1.25),
    "gpt-5.6-terra": (2, 12, 0.1, 1.25),
    "gpt-5.6-luna": (0.20, 1.20, 0.1, 1.25),
    "gpt-5.5": (5, 30, 0.1, 1),
    "gpt-5.4": (2.50, 15, 0.1, 1),
    "gpt-5.4-mini": (0.75, 4.50, 0.1, 1),
    "gpt-5.1": (1.25, 10, 0.1, 1),
    "gpt-5": (1.25, 10, 0.1, 1),
    "gpt-5-mini": (0.25, 2, 0.1, 1),
    "gpt-5-nano": (0.05, 0.40, 0.1, 1),
    "gpt-4.1": (2, 8, 0.25, 1),
    "gpt-4.1-mini": (0.40, 1.60, 0.25, 1),
    "gpt-4.1-nano": (0.10, 0.40, 0.25, 1),
    "gpt-4o": (2.50, 10, 0.5, 1),
    "gpt-4o-mini": (0.15, 0.60, 0.5, 1),
}


@dataclass(frozen=True)
class Price:
    """USD per million tokens; `known` is False where 0 only means that nobody told us.

    `cached_share` and `stored_share` are of the input price, for tokens read from the provider's
    prompt cache and written to it; `batch_share` is of all prices, 1 where batches are no cheaper.
    """

    usd_in: float = 0.0
    usd_out: float = 0.0
    known: bool = False
    cached_share: float = 1.0
    stored_share: float = 1.0
    batch_share: float = 1.0

    def nano_usd(self, tokens: Tokens) -> int:
        """The price of a call in billionths of a USD, rounded up."""
        plain = tokens.sent - tokens.cached - tokens.stored
        sent = plain + tokens.cached * self.cached_share + tokens.stored * self.stored_share
        # Nine digits more than a price has: what floats add beyond them is no money.
        return math.ceil(round(1000 * (sent * self.usd_in + tokens.written * self.usd_out), 9))

    def in_batches(self) -> Price:
        """The price of calls that are made through the provider's batch API."""
        share = self.batch_share
        return replace(
            self, usd_in=self.usd_in * share, usd_out=self.usd_out * share, batch_share=1.0
        )


def price_of(
    provider: str, model: str, base_url: str = "", override: tuple[float, float] | None = None
) -> Price:
    """The price of a model: `override` (in, out), free for scripts and local servers, the list.

    The shares for caches and batches are the list's in any case, 1 where it knows none.
    """
    listed = _listed(model)
    if override:
        return replace(listed, usd_in=override[0], usd_out=override[1], known=True)
    if provider == "scripted" or is_local(base_url):
        return Price(known=True)
    return listed


def cheapest_batch(tokens: Tokens) -> tuple[str, Price]:
    """The model of the list that takes least for such a call in a batch, and its price there."""
    prices = {name: _listed(name).in_batches() for name in _USD_PER_MTOK}
    name = min(prices, key=lambda one: prices[one].nano_usd(tokens))
    return name, prices[name]


def _listed(model: str) -> Price:
    # Not by bare prefix: gpt-5-pro is no gpt-5, claude-opus-5-20270101 is a claude-opus-5.
    fitting = [name for name in _USD_PER_MTOK if _is_version_of(model, name)]
    if not fitting:
        return Price()
    usd_in, usd_out, cached, stored = _USD_PER_MTOK[max(fitting, key=len)]
    return Price(usd_in, usd_out, True, cached, stored, BATCH_SHARE)


def _is_version_of(model: str, name: str) -> bool:
    rest = model.removeprefix(name)
    return model.startswith(name) and (not rest or (rest[0] == "-" and rest[1:2].isdigit()))


def is_local(base_url: str) -> bool:
    """Tell whether a URL names this machine or a private network, where nobody bills."""
    host = urlsplit(base_url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return bool(host) and "." not in host or host == "host.docker.internal"
