"""What a call costs: list prices in USD per million tokens, and exact integer arithmetic.

Prices change: pass your own pair where it matters. Discounts (cached prefixes, batches) are left
out on purpose, so that the ledger errs towards too much.
"""

from __future__ import annotations

import ipaddress
import math
from dataclasses import dataclass
from urllib.parse import urlsplit

NANO = 1_000_000_000
PRICES_SEEN = "2026-11-20"

# (input, output) by prefix of the model's name; the longest prefix wins. Standard tier, short
# context, as of PRICES_SEEN: https://platform.claude.com/docs/en/models, and for most of OpenAI's
# models third parties' lists. LLM_PRICE overrides them.
_USD_PER_MTOK: dict[str, tuple[float, float]] = {
    "claude-fable-5": (10, 50),
    "claude-opus-5-5": (4, 20),
    "claude-opus-5": (5, 25),
    "claude-opus-4": (15, 75),
    "claude-opus-4-5": (5, 25),
    "claude-opus-4-6": (5, 25),
    "claude-opus-4-7": (5, 25),
    "claude-opus-4-8": (5, 25),
    "claude-sonnet-5": (2, 10),
    "claude-sonnet-4": (3, 15),
    "claude-haiku-5-5": (0.10, 0.50),
    "claude-haiku-4-5": (1, 5),
    "gpt-6-astra": (10, 50),
    "gpt-6-sol": (2, 10),
    "gpt-6.1-terra": (1, 5),
    "gpt-6-luna": (0.10, 0.50),
    "gpt-5.6-sol": (5, 30),
    "gpt-5.6-terra": (2, 12),
    "gpt-5.6-luna": (0.20, 1.20),
    "gpt-5.5": (5, 30),
    "gpt-5.4": (2.50, 15),
    "gpt-5.4-mini": (0.75, 4.50),
    "gpt-5.1": (1.25, 10),
    "gpt-5": (1.25, 10),
    "gpt-5-mini": (0.25, 2),
    "gpt-5-nano": (0.05, 0.40),
    "gpt-4.1": (2, 8),
    "gpt-4.1-mini": (0.40, 1.60),
    "gpt-4.1-nano": (0.10, 0.40),
    "gpt-4o": (2.50, 10),
    "gpt-4o-mini": (0.15, 0.60),
}


@dataclass(frozen=True)
class Price:
    """USD per million tokens; `known` is False where 0 only means that nobody told us."""

    usd_in: float = 0.0
    usd_out: float = 0.0
    known: bool = False

    def nano_usd(self, tokens_in: int, tokens_out: int) -> int:
        """The price of a call in billionths of a USD, rounded up."""
        return math.ceil(1000 * (tokens_in * self.usd_in + tokens_out * self.usd_out))


def price_of(
    provider: str, model: str, base_url: str = "", override: tuple[float, float] | None = None
) -> Price:
    """The price of a model: `override` (in, out), free for scripts and local servers, the list."""
    if override:
        return Price(*override, known=True)
    if provider == "scripted" or is_local(base_url):
        return Price(known=True)
    # Not by bare prefix: gpt-5-pro is no gpt-5, claude-opus-5-20270101 is a claude-opus-5.
    fitting = [name for name in _USD_PER_MTOK if _is_version_of(model, name)]
    if not fitting:
        return Price()
    return Price(*_USD_PER_MTOK[max(fitting, key=len)], known=True)


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
