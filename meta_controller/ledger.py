"""The durable record of LLM calls: what each one was for, took and cost. Never the text.

A call is reserved at the most it can cost before it starts, and settled at what it did cost
when it ends; a process that dies in between leaves its reservation, which `charge_lost` charges
in full. So concurrent calls of all projects together never pass a cap of the budget. Each change
is one Lua script, safe to run twice: a call is counted once.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, field
from typing import Any

from redis import Redis
from redis.client import Pipeline

from meta_controller.budget import NO_CAPS, RESERVE, Budget, Caps
from meta_controller.errors import BudgetExceeded
from meta_controller.language_model import NO_TOKENS, LanguageModel, Question, Tokens
from meta_controller.prices import NANO, Price
from meta_controller.prompt import PROMPT_VERSION

KEEP_ENTRIES = 100_000
"""Older entries of a project are dropped; its sums stay."""
OTHERS_S = 3600.0
"""No call takes so long: a reservation of other work than reviews that is older is lost."""

Transaction = Callable[[Callable[[Pipeline], None]], None]
"""Runs Redis writes in one MULTI, fenced by the caller's lease; may raise instead."""

# KEYS: sums of all projects, of the day, of the project; reservations, entries.
# ARGV: call id, nano-USD, tokens, outcome ("" for a call that was never made), entry, entries to
# keep, tokens: in, out, cached, stored. A reservation without tokens is from before they counted.
_SETTLE = """
local held = redis.call('HGET', KEYS[4], ARGV[1])
if not held then return 0 end
redis.call('HDEL', KEYS[4], ARGV[1])
held = cjson.decode(held)
local function minus(n) return string.format('%.0f', 0 - n) end
redis.call('HINCRBY', KEYS[1], 'reserved_nano_usd', minus(held.nano_usd))
if held.tokens then
  redis.call('HINCRBY', KEYS[1], 'reserved_tokens', minus(held.tokens))
  redis.call('HINCRBY', KEYS[2], 'reserved_nano_usd', minus(held.nano_usd))
  redis.call('HINCRBY', KEYS[3], 'reserved_nano_usd', minus(held.nano_usd))
end
if ARGV[4] == '' then return 1 end
for i = 1, 3 do redis.call('HINCRBY', KEYS[i], 'nano_usd', ARGV[2]) end
redis.call('HINCRBY', KEYS[1], 'tokens', ARGV[3])
redis.call('HINCRBY', KEYS[3], 'calls', 1)
redis.call('HINCRBY', KEYS[3], 'outcome:' .. ARGV[4], 1)
for i, kind in ipairs({'in', 'out', 'cached', 'stored'}) do
  redis.call('HINCRBY', KEYS[3], 'tokens_' .. kind, ARGV[6 + i])
end
redis.call('RPUSH', KEYS[5], ARGV[5])
redis.call('LTRIM', KEYS[5], -ARGV[6], -1)
return 1
"""
_KINDS = ("in", "out", "cached", "stored")  # of tokens, in the order of Tokens' fields


@dataclass(frozen=True)
class Purpose:
    """What a call is for: `work` is "review", or what else asks; tasks and control of a review."""

    work: str
    control: str = ""
    task_ids: tuple[int, ...] = ()


def about(questions: Sequence[Question]) -> Purpose:
    """The purpose of a call that asks questions; those of several controls name each once."""
    controls = ", ".join(dict.fromkeys(one.control for one in questions))
    tasks = dict.fromkeys(task for one in questions for task in one.task_ids)
    return Purpose("review", controls, tuple(tasks))


@dataclass(frozen=True)
class Call:
    """A reserved call: its id, what the ledger will say of it, and the most it can take."""

    id: str
    about: Mapping[str, Any]
    price: Price
    nano_usd: int
    tokens: int


@dataclass(frozen=True)
class Spend:
    """A project's sums.

    `verdicts` and `unsure` count questions, several of which may share a call; `answered` calls
    that were no review; `failures` failed calls by kind, lost ones among them; `redacted` what was
    taken out of texts before they were sent.
    """

    usd: float = 0.0
    calls: int = 0
    verdicts: int = 0
    unsure: int = 0
    answered: int = 0
    cached: int = 0
    tokens: Tokens = NO_TOKENS
    failures: Mapping[str, int] = field(default_factory=dict)
    redacted: Mapping[str, int] = field(default_factory=dict)


class Ledger:
    """The calls of one project; expects a client with `decode_responses=True`."""

    def __init__(
        self,
        redis: Redis,
        project_id: int,
        caps: Caps = NO_CAPS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.budget = Budget(redis, project_id, caps, clock)
        self._redis = redis
        self._project_id = project_id
        self._clock = clock

    @property
    def ledger_key(self) -> str:
        """List of JSON entries, oldest first."""
        return f"aa:project:{self._project_id}:ledger"

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
        """Set aside the most a call can take; `run` is its owner's id.

        Raises:
            BudgetExceeded: what is spent, all reservations and this one together pass a cap.
        """
        call = self.plan(purpose, model, price, most_tokens, run)
        (transaction or self._alone)(lambda pipe: self.hold(pipe, call))
        if not self.holds([call]):
            raise BudgetExceeded(self.budget.refusal(call.nano_usd, call.tokens))
        return call

    def plan(
        self, purpose: Purpose, model: LanguageModel, price: Price, most_tokens: Tokens, run: str
    ) -> Call:
        """Describe a call that may be made; nothing is set aside yet."""
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
        tokens = most_tokens.sent + most_tokens.written
        return Call(uuid.uuid4().hex, about, price, price.nano_usd(most_tokens), tokens)

    def hold(self, pipe: Pipeline, call: Call) -> None:
        """Set aside what a call can take, if the caps allow it, in the caller's transaction."""
        held = {"nano_usd": call.nano_usd, "tokens": call.tokens, "price": asdict(call.price)}
        keys = (*self.budget.keys(call.about["at"]), self.inflight_key)
        row = json.dumps({**call.about, **held})
        limits = self.budget.limits()
        pipe.eval(RESERVE, 4, *keys, call.id, call.nano_usd, call.tokens, row, *limits)

    def holds(self, calls: Sequence[Call]) -> list[Call]:
        """Those calls that are reserved."""
        if not calls:
            return []
        rows = self._redis.hmget(self.inflight_key, [call.id for call in calls])
        return [call for call, row in zip(calls, rows, strict=True) if row]

    def held(self, run: str) -> list[Call]:
        """The reserved calls of a run."""
        rows = self._redis.hgetall(self.inflight_key).items()
        calls = [_call(str(call_id), json.loads(row)) for call_id, row in rows]
        return [call for call in calls if call.about["run"] == run]

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
        counted = call.tokens if in_full else tokens.sent + tokens.written
        entry = {
            **call.about,
            "outcome": outcome,
            **{f"tokens_{kind}": n for kind, n in zip(_KINDS, astuple(tokens), strict=True)},
            "latency_s": round(latency_s, 3),
            "usd": nano / NANO,
        }
        args = (nano, counted, outcome, json.dumps(entry), KEEP_ENTRIES, *astuple(tokens))
        self._close(pipe, call, *args)

    def release(self, pipe: Pipeline, call: Call) -> None:
        """Give back what was set aside for a call that was never made; no entry tells of it."""
        self._close(pipe, call, 0, 0, "", "", KEEP_ENTRIES, *astuple(NO_TOKENS))

    def count_more(self, pipe: Pipeline, outcomes: Mapping[str, int]) -> None:
        """Count the answers of a call about several questions beyond the one of its outcome."""
        for outcome, questions in outcomes.items():
            pipe.hincrby(self.budget.project_key, f"outcome:{outcome}", questions)

    def count_redacted(self, pipe: Pipeline, found: Mapping[str, int]) -> None:
        """Count what was taken out of texts before they were sent, by kind."""
        for kind, times in found.items():
            pipe.hincrby(self.budget.project_key, f"redacted:{kind}", times)

    def count_cached(self, pipe: Pipeline, questions: int) -> None:
        """Count questions that needed no call of their own."""
        pipe.hincrby(self.budget.project_key, "cached", questions)

    def charge_lost(self, is_alive: Callable[[str], bool]) -> int:
        """Charge the reservations of dead runs in full; return how many there were.

        Runs are those of reviews; what else asks has its own, and OTHERS_S for each call.
        """
        lost, now = 0, self._clock()
        for call_id, row in self._redis.hgetall(self.inflight_key).items():
            call = _call(str(call_id), json.loads(row))
            alive = is_alive(call.about["run"])
            if call.about["work"] != "review":
                alive = now - call.about["at"] < OTHERS_S
            if alive:
                continue
            with self._redis.pipeline() as pipe:
                self.settle(pipe, call, "lost", NO_TOKENS, 0.0, in_full=True)
                lost += pipe.execute()[0]
        return lost

    def _close(self, pipe: Pipeline, call: Call, *args: str | int) -> None:
        keys = (*self.budget.keys(call.about["at"]), self.inflight_key, self.ledger_key)
        pipe.eval(_SETTLE, 5, *keys, call.id, *args)

    def entries(self, last: int = 100) -> list[dict[str, Any]]:
        """The newest entries, oldest first."""
        rows = self._redis.lrange(self.ledger_key, -last, -1) if last > 0 else []
        return [json.loads(row) for row in rows]

    def spend(self) -> Spend:
        """The project's sums."""
        rows = self._redis.hgetall(self.budget.project_key)
        sums = {str(name): int(n) for name, n in rows.items()}
        outcomes = _of_kind(sums, "outcome:")
        return Spend(
            usd=sums.get("nano_usd", 0) / NANO,
            calls=sums.get("calls", 0),
            verdicts=outcomes.pop("verdict", 0),
            unsure=outcomes.pop("unsure", 0),
            answered=outcomes.pop("answered", 0),
            cached=sums.get("cached", 0),
            tokens=Tokens(*(sums.get(f"tokens_{kind}", 0) for kind in _KINDS)),
            failures=outcomes,
            redacted=_of_kind(sums, "redacted:"),
        )

    def _alone(self, write: Callable[[Pipeline], None]) -> None:
        with self._redis.pipeline() as pipe:
            write(pipe)
            pipe.execute()


def _of_kind(sums: Mapping[str, int], prefix: str) -> dict[str, int]:
    return {name.removeprefix(prefix): n for name, n in sums.items() if name.startswith(prefix)}


def _call(call_id: str, row: dict[str, Any]) -> Call:
    """Read a reservation; those from before tokens counted have neither tokens nor price."""
    nano, tokens = row.pop("nano_usd"), row.pop("tokens", 0)
    return Call(call_id, row, Price(**row.pop("price", {})), nano, tokens)
