"""The caps on what the LLM may take, and how far they are used.

A call counts against every cap from before it starts, with the most that it can take, and from its
end on with what it took. Both happen in Redis, in one script each, so that any number of workers
together stay below the caps. Knows no ledger entry.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from redis import Redis

from meta_controller.prices import NANO

DAY_S = 86_400
KEPT_DAYS = 40
"""A day's sums outlive every batch that was paid from it: results are kept for 29 days at most."""
UNKNOWN_PRICE_TOKENS = 10_000_000
"""The cap over a model that nobody knows the price of, unless another is set: some 20,000 calls."""

# KEYS: sums of all projects, of the day, of the project; reservations.
# ARGV: call id, nano-USD, tokens, reservation, caps of the three sums in nano-USD, cap in tokens
# (-1: none), seconds to keep the day's sums.
RESERVE = """
if redis.call('HEXISTS', KEYS[4], ARGV[1]) == 1 then return 1 end
local function left(cap, key, what)
  if tonumber(cap) < 0 then return math.huge end
  local sums = redis.call('HMGET', key, what, 'reserved_' .. what)
  return tonumber(cap) - tonumber(sums[1] or 0) - tonumber(sums[2] or 0)
end
if left(ARGV[8], KEYS[1], 'tokens') < tonumber(ARGV[3]) then return 0 end
for i = 1, 3 do
  if left(ARGV[4 + i], KEYS[i], 'nano_usd') < tonumber(ARGV[2]) then return 0 end
end
for i = 1, 3 do redis.call('HINCRBY', KEYS[i], 'reserved_nano_usd', ARGV[2]) end
redis.call('HINCRBY', KEYS[1], 'reserved_tokens', ARGV[3])
redis.call('EXPIRE', KEYS[2], ARGV[9])
redis.call('HSET', KEYS[4], ARGV[1], ARGV[4])
return 1
"""


@dataclass(frozen=True)
class Caps:
    """What may be spent at most; None means no limit.

    In USD by all projects together, by them on one UTC day, and by each project; and in tokens,
    sent and written, by all projects.
    """

    usd: float | None = None
    day_usd: float | None = None
    project_usd: float | None = None
    tokens: int | None = None

    @property
    def in_usd(self) -> bool:
        """Whether a cap needs a known price."""
        return any(cap is not None for cap in (self.usd, self.day_usd, self.project_usd))


NO_CAPS = Caps()


@dataclass(frozen=True)
class Bound:
    """One cap: the setting it comes from, and how much of it is spent or reserved.

    `unit` is "USD" or "tokens"; `free_at` (Unix seconds) is when it starts anew, if it ever does.
    """

    setting: str
    unit: str
    cap: float
    used: float
    free_at: float | None = None

    @property
    def left(self) -> float:
        """What may still be reserved."""
        return self.cap - self.used

    @property
    def again(self) -> str:
        """When it is free again, in words; empty for a cap that stays used up."""
        if self.free_at is None:
            return ""
        return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(self.free_at))


class Budget:
    """The caps over one project's calls; expects a client with `decode_responses=True`."""

    def __init__(
        self,
        redis: Redis,
        project_id: int,
        caps: Caps = NO_CAPS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.caps = caps
        self._redis = redis
        self._project_id = project_id
        self._clock = clock

    @property
    def backend_key(self) -> str:
        """Hash of all projects' sums: nano_usd, tokens, and both of them reserved."""
        return "aa:spend"

    @property
    def project_key(self) -> str:
        """Hash of the project's sums, integers; `Ledger.spend` reads it."""
        return f"aa:project:{self._project_id}:spend"

    @staticmethod
    def day_key(at: float) -> str:
        """Hash of all projects' sums of the UTC day of a reservation: nano_usd, and reserved."""
        return f"aa:spend:{time.strftime('%Y-%m-%d', time.gmtime(at))}"

    def keys(self, at: float) -> tuple[str, str, str]:
        """The sums in which a call that is reserved `at` (Unix seconds) counts."""
        return self.backend_key, self.day_key(at), self.project_key

    def limits(self) -> tuple[int, ...]:
        """The caps as `RESERVE` wants them, and how long it keeps a day."""
        caps = self.caps
        usd = [
            -1 if c is None else int(c * NANO) for c in (caps.usd, caps.day_usd, caps.project_usd)
        ]
        return *usd, -1 if caps.tokens is None else caps.tokens, KEPT_DAYS * DAY_S

    def bounds(self) -> list[Bound]:
        """Every cap that is set, and how far it is used now."""
        caps, now = self.caps, self._clock()
        tomorrow = (now // DAY_S + 1) * DAY_S
        backend, day, project = self.keys(now)
        rows = (
            ("LLM_BUDGET_USD", "USD", caps.usd, backend, None),
            ("LLM_BUDGET_DAY_USD", "USD", caps.day_usd, day, tomorrow),
            ("LLM_BUDGET_PROJECT_USD", "USD", caps.project_usd, project, None),
            ("LLM_BUDGET_TOKENS", "tokens", caps.tokens, backend, None),
        )
        return [
            Bound(setting, unit, cap, self._used(key, unit), free_at)
            for setting, unit, cap, key, free_at in rows
            if cap is not None
        ]

    def refusal(self, nano_usd: int, tokens: int) -> str:
        """Why a call that may take so much cannot be made now, and what to do."""
        needs = {"USD": nano_usd / NANO, "tokens": float(tokens)}
        short = [one for one in self.bounds() if one.left < needs[one.unit]]
        if not short:
            return "The LLM budget left no room for the next call; it does again."
        first = short[0]
        again = f", or wait until {first.again}" if first.again else ""
        return (
            f"The LLM budget of {first.cap:g} {first.unit} leaves no room for the next call "
            f"(at most {needs[first.unit]:.6g} {first.unit}): raise {first.setting}{again}."
        )

    def _used(self, key: str, unit: str) -> float:
        what = "nano_usd" if unit == "USD" else "tokens"
        sums = self._redis.hmget(key, [what, f"reserved_{what}"])
        return sum(int(n or 0) for n in sums) / (NANO if unit == "USD" else 1)
