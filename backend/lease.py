"""A lease in Redis: the right to do one unit of work, lost when its holder dies.

RQ alone notices a dead worker only after minutes, so each unit of work holds a lease with a short
life that a thread renews; whoever finds it expired may do the work again. All writes of that work
go through `transaction`, which compares the lease's token: a holder that was paused past its
lease's life cannot write over its successor's work.

Not covered: calls to Label Studio and to LLMs carry no token; they are made safe to repeat instead.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable
from types import TracebackType
from typing import Any

import redis
from redis.client import Pipeline

from backend.errors import BackendError

logger = logging.getLogger(__name__)

TTL_S = 10.0

_RENEW = """
if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('pexpire', KEYS[1], ARGV[2]) end
return 0
"""
_FREE = (
    "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0"
)


class LeaseLost(BackendError):
    """The lease went to somebody else; stop without writing anything more."""


class LeaseHeld(BackendError):
    """Somebody else does this work at the moment."""


class Lease:
    """Hold the lease `name` inside a `with` block.

    Raises:
        LeaseHeld: On entry, when another holder is alive.
    """

    def __init__(self, client: redis.Redis, name: str, ttl_s: float = TTL_S) -> None:
        self._redis = client
        self._name = name
        self._ttl_ms = int(ttl_s * 1000)
        self._renew_s = ttl_s / 3
        self._stop = threading.Event()
        self._renewer = threading.Thread(target=self._renew, name=f"lease {name}", daemon=True)
        self.token = ""

    @staticmethod
    def key(name: str) -> str:
        """The Redis key that holds the token of `name`'s holder."""
        return f"aa:lease:{name}"

    @staticmethod
    def is_held(client: redis.Redis, name: str) -> bool:
        """Whether somebody alive holds `name`."""
        return bool(client.exists(Lease.key(name)))

    def __enter__(self) -> Lease:
        fence = self._redis.incr("aa:fence")
        self.token = f"{fence}:{uuid.uuid4().hex}"
        if not self._redis.set(self.key(self._name), self.token, nx=True, px=self._ttl_ms):
            raise LeaseHeld(f"{self._name}: another process does this at the moment.")
        self._renewer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._renewer.join()
        try:
            self._redis.eval(_FREE, 1, self.key(self._name), self.token)
        except redis.RedisError:
            logger.warning("lease %s: not freed, it expires by itself", self._name)

    def check(self) -> None:
        """Raise LeaseLost unless the lease is still ours."""
        if self._redis.get(self.key(self._name)) != self.token:
            raise LeaseLost(f"{self._name}: the lease was lost; its next holder goes on.")

    def transaction(self, write: Callable[[Pipeline], Any], *read: str) -> None:
        """Run `write` in MULTI/EXEC, only while the lease is ours.

        `write` queues commands on the pipeline. It is called again when a key that it `read`
        changed before they ran, or the lease was renewed (WATCH sees that as a change).

        Raises:
            LeaseLost: The token in Redis is not ours any more; nothing was written.
        """
        key = self.key(self._name)
        with self._redis.pipeline() as pipe:
            while True:
                try:
                    pipe.watch(key, *read)  # type: ignore[no-untyped-call]
                    if pipe.get(key) != self.token:
                        raise LeaseLost(f"{self._name}: the lease was lost before a write.")
                    pipe.multi()
                    write(pipe)
                    pipe.execute()
                    return
                except redis.WatchError:
                    continue

    def _renew(self) -> None:
        while not self._stop.wait(self._renew_s):
            try:
                kept = self._redis.eval(
                    _RENEW, 1, self.key(self._name), self.token, str(self._ttl_ms)
                )
            except redis.RedisError as error:
                logger.warning("lease %s: renewal failed: %s", self._name, type(error).__name__)
                continue
            if not kept:
                return
