"""The pool: verdicts of one project, and which of them wait for the next stage.

Every verdict is kept (replay needs the earlier ones). A text may have several: one of the LLM and
one of each annotator; `effective` makes one of them (consensus.py), people before the LLM. What
waits is a sorted set of (task, control) scored by a sequence number, so that a stage can take all
up to a number and a verdict that changes meanwhile waits again. It knows nothing of Label Studio or
of leases: writes take the caller's pipeline.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import redis
from redis.client import Pipeline

from specialists.types import Verdict, VerdictSource
from training.consensus import Place as Place  # part of what a pool is asked
from training.consensus import resolve

QUIET_S = 5.0
"""So long nothing new comes when a burst is over: longer than people and hooks take in a row."""
BURST_S = 60.0
"""Longest wait for a burst to end: whoever answers without a pause gets a stage as well."""


@dataclass(frozen=True)
class Arrivals:
    """When verdicts that wait came, in seconds since the epoch; 0.0 where none did.

    `burst` is when the newest one's burst began: one after the other, none QUIET_S later.
    """

    first: float = 0.0
    burst: float = 0.0
    newest: float = 0.0

    def in_burst(self, now: float) -> bool:
        """Whether more may come in a moment."""
        return now - self.newest < QUIET_S and now - self.burst < BURST_S


# A verdict that says what is stored already does not wait again: hooks and reconcile repeat.
_ADD = """
redis.call('HDEL', KEYS[6], ARGV[1])
local old = redis.call('HGET', KEYS[1], ARGV[1])
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
if ARGV[4] ~= '' then redis.call('HSET', KEYS[4], ARGV[4] .. ':' .. ARGV[5], ARGV[1]) end
if old then
  local was, is = cjson.decode(old), cjson.decode(ARGV[2])
  local truth = (was.ground_truth or false) == (is.ground_truth or false)
  if truth and cjson.encode(was.labels) == cjson.encode(is.labels) and was.text == is.text then
    return 0
  end
end
if ARGV[6] == '1' then
  redis.call('ZADD', KEYS[2], redis.call('INCR', KEYS[3]), ARGV[3])
  local newest = redis.call('HGET', KEYS[5], 'newest')
  if not newest or ARGV[7] - newest >= tonumber(ARGV[8]) then
    redis.call('HSET', KEYS[5], 'burst', ARGV[7])
  end
  redis.call('HSETNX', KEYS[5], 'first', ARGV[7])
  redis.call('HSET', KEYS[5], 'newest', ARGV[7])
end
redis.call('HINCRBY', KEYS[7], ARGV[9], 1)
return 1
"""

# ARGV: field, verdict, field, verdict, ... Whoever answered anew meanwhile is not overwritten.
_REVISE = """
for i = 1, #ARGV, 2 do
  local old = redis.call('HGET', KEYS[1], ARGV[i])
  if old then
    local was, is = cjson.decode(old), cjson.decode(ARGV[i + 1])
    local said = was.answer
    if not said or #said == 0 then said = was.labels end -- stored before answers were kept
    local same = cjson.encode(said) == cjson.encode(is.answer)
    if same and was.text == is.text and was.author == is.author and was.at == is.at then
      redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
    end
  end
end
"""

# Of a verdict that is still what was read: it goes to another hash, or only has another name. What
# comes back waits for the next stage again: members may have forgotten it.
_MOVE = """
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('HSET', KEYS[2], ARGV[3], ARGV[4])
if ARGV[7] ~= '' then
  redis.call('HDEL', KEYS[3], ARGV[7])
  redis.call('HSET', KEYS[3], ARGV[8], ARGV[3])
end
local number = redis.call('ZSCORE', KEYS[4], ARGV[5])
if ARGV[9] == 'back' then
  redis.call('ZADD', KEYS[4], redis.call('INCR', KEYS[5]), ARGV[6])
elseif number and ARGV[5] ~= ARGV[6] then
  redis.call('ZADD', KEYS[4], number, ARGV[6])
end
return 1
"""

_STOP_WAITING = """
local number = redis.call('ZSCORE', KEYS[1], ARGV[1])
if number and tonumber(number) <= tonumber(ARGV[2]) then redis.call('ZREM', KEYS[1], ARGV[1]) end
"""


class Pool:
    """The verdicts of one project in Redis (a client with decode_responses=True)."""

    def __init__(self, client: redis.Redis, project_id: int) -> None:
        self._redis = client
        self._prefix = f"aa:project:{project_id}:pool"

    @property
    def _verdicts(self) -> str:
        return f"{self._prefix}:verdicts"

    @property
    def _waiting(self) -> str:
        return f"{self._prefix}:waiting"

    @property
    def _sequence(self) -> str:
        return f"{self._prefix}:sequence"

    @property
    def _annotations(self) -> str:
        return f"{self._prefix}:annotations"

    @property
    def _arrivals(self) -> str:
        return f"{self._prefix}:arrivals"

    @property
    def _aside(self) -> str:
        return f"{self._prefix}:aside"

    @property
    def _added(self) -> str:
        return f"{self._prefix}:added"

    def add(self, verdict: Verdict, via: Pipeline | None = None, waits: bool = True) -> bool:
        """Store a verdict; it waits for the next stage unless it repeats a stored one.

        One that `waits` not is stored only: nothing new is to be learned from it. Returns whether
        it was new, unknown (false) when it is written by the caller's pipeline.
        """
        annotation = "" if verdict.annotation_id is None else str(verdict.annotation_id)
        new: Any = (via if via is not None else self._redis).eval(
            _ADD,
            7,
            self._verdicts,
            self._waiting,
            self._sequence,
            self._annotations,
            self._arrivals,
            self._aside,
            self._added,
            _field(verdict),
            json.dumps(verdict.to_json()),
            _member((verdict.task_id, verdict.control)),
            annotation,
            verdict.control,
            int(waits),
            repr(time.time()),
            repr(QUIET_S),
            verdict.source,
        )
        return via is None and bool(new)

    def arrivals(self) -> Arrivals:
        """When verdicts came that wait, or did until a stage."""
        found: Any = self._redis.hgetall(self._arrivals)
        return Arrivals(**{str(name): float(at) for name, at in found.items()})

    def revise(self, verdicts: Iterable[Verdict], via: Pipeline) -> None:
        """Replace the labels and chances of stored LLM verdicts; they do not wait again for that.

        One whose answer was given anew or taken away meanwhile is left as it is.
        """
        pairs = [part for v in verdicts for part in (_field(v), json.dumps(v.to_json()))]
        if pairs:
            via.eval(_REVISE, 1, self._verdicts, *pairs)

    def retract(self, annotation_id: int) -> bool:
        """Forget what an annotation said (deleted, skipped, emptied); whether it said anything."""
        known = [
            (name, str(field))
            for name, field in self._redis.hscan_iter(
                self._annotations, match=f"{annotation_id}:*", count=1000
            )
        ]
        for name, field in known:
            raw = self._redis.hget(self._verdicts, field)
            with self._redis.pipeline() as pipe:
                pipe.hdel(self._verdicts, field)
                pipe.hdel(self._aside, field)
                pipe.hdel(self._annotations, name)
                pipe.execute()
            if raw:
                verdict = Verdict.from_json(json.loads(raw))
                self._forget_or_wait((verdict.task_id, verdict.control))
        return bool(known)

    def _forget_or_wait(self, place: Place) -> None:
        """After a retraction: what another verdict still answers waits again, the rest does not."""
        task, control = place
        newest = self.sequence()  # what comes after this waits, whether the scan sees it or not
        rest = self._redis.hscan_iter(self._verdicts, match=f"{task}:*", count=1000)
        if any(str(name).split(":", 3)[3] == control for name, _ in rest):
            number = self._redis.incr(self._sequence)
            self._redis.zadd(self._waiting, {_member(place): number}, gt=True)
        else:
            self._redis.eval(_STOP_WAITING, 1, self._waiting, _member(place), str(newest))

    # Verdicts set aside: their labels are none of the project's at the moment

    def set_aside(self, verdict: Verdict) -> None:
        """Keep a verdict that cannot be used now; it takes the place of what its author said."""
        field, annotation = _field(verdict), f"{verdict.annotation_id}:{verdict.control}"
        with self._redis.pipeline() as pipe:
            pipe.hset(self._aside, field, json.dumps(verdict.to_json()))
            if verdict.annotation_id is not None:
                pipe.hset(self._annotations, annotation, field)
            pipe.hdel(self._verdicts, field)
            counted = pipe.execute()[-1]
        if counted:
            self._forget_or_wait((verdict.task_id, verdict.control))

    def aside(self) -> list[Verdict]:
        """All verdicts that are set aside."""
        return [Verdict.from_json(json.loads(raw)) for raw in self._redis.hvals(self._aside)]

    def size_aside(self) -> int:
        """How many verdicts are set aside."""
        return int(self._redis.hlen(self._aside))

    def settle(
        self, current: Callable[[Verdict], Verdict], fits: Callable[[Verdict], bool]
    ) -> list[Verdict]:
        """Rename every verdict to what is `current`, and set aside or take back by whether it fits.

        Returns those that it set aside. Safe to repeat; one that is given anew meanwhile stays as
        it was given.
        """
        newest, set_aside, kept = self.sequence(), [], set[Place]()
        for source in (self._verdicts, self._aside):
            rows: Any = self._redis.hgetall(source)
            for name, raw in rows.items():
                old = Verdict.from_json(json.loads(raw))
                new = current(old)
                target = self._verdicts if fits(new) else self._aside
                if target == self._verdicts:
                    kept.add((new.task_id, new.control))
                if (source, old) == (target, new):
                    continue
                moved = self._move(source, str(name), str(raw), target, old, new)
                if moved and source != target == self._aside:
                    set_aside.append(new)
        for place in self.waiting_places(newest) - kept:
            self._redis.eval(_STOP_WAITING, 1, self._waiting, _member(place), str(newest))
        return set_aside

    def _move(
        self, source: str, field: str, raw: str, target: str, old: Verdict, new: Verdict
    ) -> bool:
        annotation = "" if old.annotation_id is None else f"{old.annotation_id}:"
        return bool(
            self._redis.eval(
                _MOVE,
                5,
                source,
                target,
                self._annotations,
                self._waiting,
                self._sequence,
                field,
                raw,
                _field(new),
                json.dumps(new.to_json()),
                _member((old.task_id, old.control)),
                _member((new.task_id, new.control)),
                annotation and annotation + old.control,
                annotation and annotation + new.control,
                "back" if source == self._aside and target == self._verdicts else "",
            )
        )

    def annotation_ids(self) -> set[int]:
        """Ids of the annotations that gave a verdict."""
        return {int(str(name).split(":", 1)[0]) for name in self._redis.hkeys(self._annotations)}

    def llm_verdicts(self, places: Iterable[Place]) -> dict[Place, Verdict]:
        """The LLM's verdicts at the given places; places without one are left out."""
        wanted = list(places)
        if not wanted:
            return {}
        raws = self._redis.hmget(
            self._verdicts, [f"{task}:llm:0:{control}" for task, control in wanted]
        )
        return {
            place: Verdict.from_json(json.loads(raw))
            for place, raw in zip(wanted, raws, strict=True)
            if raw
        }

    def verdicts(self) -> list[Verdict]:
        """All stored verdicts, of all sources."""
        return [Verdict.from_json(json.loads(raw)) for raw in self._redis.hvals(self._verdicts)]

    def size(self) -> int:
        """How many verdicts are stored, of all sources."""
        return int(self._redis.hlen(self._verdicts))

    def places(self, source: VerdictSource) -> set[Place]:
        """The places where somebody of a source gave a verdict."""
        names = (str(name).split(":", 3) for name in self._redis.hkeys(self._verdicts))
        return {(int(task), control) for task, who, _, control in names if who == source}

    def effective(self) -> dict[Place, Verdict]:
        """One verdict a place: what people say together, else the LLM's."""
        return resolve(self.verdicts())

    def waiting(self, after: int = 0) -> int:
        """How many places wait that were added after sequence number `after`."""
        return int(self._redis.zcount(self._waiting, f"({after}", "+inf"))

    def sequence(self) -> int:
        """The newest sequence number; a stage takes all up to it."""
        return int(self._redis.get(self._sequence) or 0)

    def waiting_places(self, up_to: int) -> set[Place]:
        """The places that wait, up to a sequence number."""
        members = self._redis.zrangebyscore(self._waiting, "-inf", up_to)
        return {_place(str(member)) for member in members}

    def done(self, up_to: int, via: Pipeline) -> None:
        """A promoted stage has learned everything up to a sequence number."""
        via.zremrangebyscore(self._waiting, "-inf", up_to)

    def counts(self) -> dict[str, int]:
        """Stored verdicts by source."""
        sources = Counter(str(name).split(":", 3)[1] for name in self._redis.hkeys(self._verdicts))
        return {"llm": sources["llm"], "human": sources["human"]}

    def added(self) -> dict[str, int]:
        """How many verdicts each source ever gave, changed ones again; costs no look at them."""
        return {str(source): int(n) for source, n in self._redis.hgetall(self._added).items()}


def _field(verdict: Verdict) -> str:
    return f"{verdict.task_id}:{verdict.source}:{verdict.annotation_id or 0}:{verdict.control}"


def _member(place: Place) -> str:
    return f"{place[0]}:{place[1]}"


def _place(member: str) -> Place:
    task, control = member.split(":", 1)
    return int(task), control
