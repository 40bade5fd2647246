"""What all projects together have spent or reserved, read from Redis as it lies there."""

from __future__ import annotations

from redis import Redis

from meta_controller.prices import NANO


def backend_usd(redis: Redis) -> float:
    """The sum over the backend, in USD."""
    sums = redis.hmget("aa:spend", ["nano_usd", "reserved_nano_usd"])
    return sum(int(n or 0) for n in sums) / NANO
