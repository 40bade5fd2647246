"""The durable record of LLM calls: what each one was for, took and cost. Never the text.

A call is reserved at the most it can cost before it starts, and settled at what it did cost
when it ends; a process that dies in between leaves its reservation, which `charge_lost` charges
in full. So concurrent calls of all projects together never pass the budget. Each change is one
Lua script, safe to run twice: a call is counted once.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass, field
from typing import Any

from redis import Redis
from redis.client import Pipeline

from meta_controller.errors import BudgetExceeded
from meta_controller.language_model import NO_TOKENS, LanguageModel, Tokens
from meta_controller.prices import NANO, Price
from meta_controller.prompt import PROMPT_VERSION

KEEP_ENTRIES = 100_000
"""Older entries of a project are dropped; its sums stay."""

Transaction = Callable[[Callable[[Pipeline], None]], None]
"""Runs Redis writes in one MULTI, fenced by the caller's lease; may raise instead."""

# KEYS: backend's spend, inflight. ARGV: call id, nano-USD, budget or -1, reservation.
_RESERVE = """
if redis.call('HEXISTS', KEYS[2], ARGV[1]) == 1 then return 1 end
local spend = redis.call('HMGET', KEYS[1], 'nano_usd', 'reserved_nano_usd')
local cost, budget = tonumber(ARGV[2]), tonumber(ARGV[3])
if budget >= 0 and tonumber(spend[1] or 0) + tonumber(spend[2] or 0) + cost > budget then
  return 0
end
redis.call('HINCRBY', KEYS[1], 'reserved_nano_usd', ARGV[2])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[4])
return 1
"""

# KEYS: backend's spend, inflight, spend, ledger.
# ARGV: call id, nano-USD, outcome, entry, entries to keep, tokens: in, out, cached, stored.
_SETTLE = """
local held = redis.call('HGET', KEYS[2], ARGV[1])
if not held then return 0 end
redis.call('HDEL', KEYS[2], ARGV[1])
local reserved = cjson.decode(held)['nano_usd']
redis.call('HINCRBY', KEYS[1], 'reserved_nano_usd', string.format('%.0f', 0 - reserved))
redis.call('HINCRBY', KEYS[1], 'nano_usd', ARGV[2])
redis.call('HINCRBY', KEYS[3], 'calls', 1)
redis.call('HINCRBY', KEYS[3], 'nano_usd', ARGV[2])
redis.call('HINCRBY', KEYS[3], 'tokens_in', ARGV[6])
redis.call('HINCRBY', KEYS[3], 'tokens_out', ARGV[7])
redis.call('HINCRBY', KEYS[3], 'tokens_cached', ARGV[8])
redis.call('HINCRBY', KEYS[3], 'tokens_stored', ARGV[9])
redis.call('HINCRBY', KEYS[3], 'outcome:' .. ARGV[3], 1)
redis.call('RPUSH', KEYS[4], ARGV[4])
redis.call('LTRIM', KEYS[4], -ARGV[5], -1)
return 1
"""

_KINDS = ("in", "out", "cached", "stored")  # of tokens, in the order of Tokens' fields


@dataclass(frozen=True)
class Purpose:
    """What a call is for: `work` is "review", or what else asks; tasks and control of a review."""

    work: str
    control: str = ""
    task_ids: tuple[int, ...] = ()


@dataclass(frozen=True)
class Call:
    """A reserved call: its id, what the ledger will say of it, and the most it can cost."""

    id: str
    about: Mapping[str, Any]
    price: Price
    nano_usd: int


@dataclass(frozen=True)
class Spend:
    """A project's sums.

    `answered` counts calls that were no review; `failures` failed ones by kind, lost among them.
    """

    usd: float = 0.0
    calls: int = 0
    verdicts: int = 0
    unsure: int = 0
    answered: int = 0
    cached: int = 0
    tokens: Tokens = NO_TOKENS
    failures: Mapping[str, int] = field(default_factory=dict)


class Ledger:
    """The calls of one project; expects a client with `decode_responses=True`.

    `budget_usd` is for all projects of the backend together; None means no limit.
    """

    def __init__(
        self,
        redis: Redis,
        project_id: int,
        budget_usd: float | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._redis = redis
        self._project_id = project_id
        self._budget_usd = budget_usd
        self._clock = clock

    @property
    def backend_spend_key(self) -> str:
        """Hash of all projects' sums: nano_usd, reserved_nano_usd."""
        return "aa:spend"

    @property
    def ledger_key(self) -> str:
        """List of JSON entries, oldest first."""
        return f"aa:project:{self._project_id}:ledger"

    @property
    def spend_key(self) -> str:
        """Hash of the project's sums, integers."""
        return f"aa:project:{self._project_id}:spend"

    @property
    def inflight_key(self) -> str:
        """Hash: call id -> JSON of the reservation."""
        return f"aa:project:{self._project_id}:inflight"

    def reserve(
        self,
        purpose: Purpose,
        model: LanguageModel,
        price: Price,
        most_tokens: Tokens,
        run: str = "",
        transaction: Transaction | None = None,
    ) -> Call:
        """Set aside the most a call can cost; `run` is its owner's id.

        Raises:
            BudgetExceeded: spent, all reservations and this one together pass the budget.
        """
        about = {
            "at": self._clock(),
            "work": purpose.work,
            "task_ids": purpose.task_ids,
            "control": purpose.control,
            "provider": model.provider,
            "model": model.model,
            "prompt_version": PROMPT_VERSION,
            "price_known": price.known,
            "run": run,
        }
        call = Call(uuid.uuid4().hex, about, price, price.nano_usd(most_tokens))
        budget = -1 if self._budget_usd is None else int(self._budget_usd * NANO)
        keys = (self.backend_spend_key, self.inflight_key)
        held = json.dumps({**about, "nano_usd": call.nano_usd})

        def write(pipe: Pipeline) -> None:
            pipe.eval(_RESERVE, 2, *keys, call.id, call.nano_usd, budget, held)

        (transaction or self._alone)(write)
        if not self._redis.hexists(self.inflight_key, call.id):
            raise BudgetExceeded(
                f"The LLM budget of {self._budget_usd} USD leaves no room for the next call "
                f"(at most {call.nano_usd / NANO:.6f} USD): raise LLM_BUDGET_USD."
            )
        return call

    def settle(
        self,
        pipe: Pipeline,
        call: Call,
        outcome: str,
        tokens: Tokens,
        latency_s: float,
        in_full: bool = False,
    ) -> None:
        """End a call as part of the caller's transaction.

        `outcome` is "verdict", "unsure", "answered" or a failure's kind; `in_full` charges the
        whole reservation, for calls of which nobody knows whether they were billed.
        """
        nano = call.nano_usd if in_full else call.price.nano_usd(tokens)
        self._close(pipe, call.id, call.about, outcome, tokens, latency_s, nano)

    def count_cached(self, pipe: Pipeline, questions: int) -> None:
        """Count questions that needed no call of their own."""
        pipe.hincrby(self.spend_key, "cached", questions)

    def charge_lost(self, is_alive: Callable[[str], bool]) -> int:
        """Charge the reservations of dead runs in full; return how many there were."""
        lost = 0
        for call_id, held in self._redis.hgetall(self.inflight_key).items():
            about = json.loads(held)
            if is_alive(about["run"]):
                continue
            nano = about.pop("nano_usd")
            with self._redis.pipeline() as pipe:
                self._close(pipe, str(call_id), about, "lost", NO_TOKENS, 0.0, nano)
                lost += pipe.execute()[0]
        return lost

    def _close(
        self,
        pipe: Pipeline,
        call_id: str,
        about: Mapping[str, Any],
        outcome: str,
        tokens: Tokens,
        latency_s: float,
        nano_usd: int,
    ) -> None:
        entry = {
            **about,
            "outcome": outcome,
            "tokens_in": tokens.sent,
            "tokens_out": tokens.written,
            "tokens_cached": tokens.cached,
            "tokens_stored": tokens.stored,
            "latency_s": round(latency_s, 3),
            "usd": nano_usd / NANO,
        }
        keys = (self.backend_spend_key, self.inflight_key, self.spend_key, self.ledger_key)
        args = (call_id, nano_usd, outcome, json.dumps(entry), KEEP_ENTRIES)
        pipe.eval(_SETTLE, 4, *keys, *args, *astuple(tokens))

    def entries(self, last: int = 100) -> list[dict[str, Any]]:
        """The newest entries, oldest first."""
        rows = self._redis.lrange(self.ledger_key, -last, -1) if last > 0 else []
        return [json.loads(row) for row in rows]

    def spend(self) -> Spend:
        """The project's sums."""
        sums = {str(name): int(n) for name, n in self._redis.hgetall(self.spend_key).items()}
        outcomes = {
            name.removeprefix("outcome:"): n
            for name, n in sums.items()
            if name.startswith("outcome:")
        }
        return Spend(
            usd=sums.get("nano_usd", 0) / NANO,
            calls=sums.get("calls", 0),
            verdicts=outcomes.pop("verdict", 0),
            unsure=outcomes.pop("unsure", 0),
            answered=outcomes.pop("answered", 0),
            cached=sums.get("cached", 0),
            tokens=Tokens(*(sums.get(f"tokens_{kind}", 0) for kind in _KINDS)),
            failures=outcomes,
        )

    def backend_usd(self) -> float:
        """What all projects together have spent or reserved."""
        sums = self._redis.hmget(self.backend_spend_key, ["nano_usd", "reserved_nano_usd"])
        return sum(int(n or 0) for n in sums) / NANO

    def _alone(self, write: Callable[[Pipeline], None]) -> None:
        with self._redis.pipeline() as pipe:
            write(pipe)
            pipe.execute()
