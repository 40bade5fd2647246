"""Devices held in a real Redis: what is free is taken, what is busy is waited for."""

from __future__ import annotations

import threading
import time

import pytest
from redis import Redis

from backend import devices
from backend.devices import DevicesBusy, GpuMissing, hold, train_devices
from backend.lease import LeaseLost
from backend.settings import Settings


def test_the_cpu_is_held_once(redis: Redis) -> None:
    with hold(redis, ["cpu"]) as held:
        held.check()
        with pytest.raises(DevicesBusy), hold(redis, ["cpu"]):
            pass
    with hold(redis, ["cpu"]):
        pass


def test_of_several_gpus_those_that_are_free(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """GPUs by name, as there is none to ask for its id."""
    monkeypatch.setattr(devices, "_identity", lambda device: f"GPU-{device}")
    with hold(redis, ["cuda:1"]) as one, hold(redis, ["cuda:0", "cuda:1", "cuda:2"]) as rest:
        assert one.devices == ["cuda:1"]
        assert rest.devices == ["cuda:0", "cuda:2"]
        with pytest.raises(DevicesBusy), hold(redis, ["cuda:0", "cuda:1"]):
            pass


def test_a_device_that_was_lost_is_noticed(redis: Redis) -> None:
    with hold(redis, ["cpu"]) as held:
        for key in redis.scan_iter("aa:lease:device:*"):
            redis.delete(key)
        with pytest.raises(LeaseLost):
            held.check()


def test_waiting_ends_when_the_device_is_free(redis: Redis) -> None:
    with hold(redis, ["cpu"]):
        with pytest.raises(DevicesBusy) as busy, hold(redis, ["cpu"]):
            pass
        waiter = threading.Thread(target=busy.value.wait)
        waiter.start()
        time.sleep(1.5)
        assert waiter.is_alive()
    waiter.join(5)
    assert not waiter.is_alive()


def test_a_gpu_that_is_not_here_is_refused_or_replaced_by_the_cpu() -> None:
    for missing in ("cuda:77", "cuda:4096"):
        with pytest.raises(GpuMissing, match=f"DEVICE is {missing}.* TRAIN_FALLBACK=cpu"):
            train_devices(Settings(device=missing))
        assert train_devices(Settings(device=missing, train_fallback="cpu")) == ["cpu"]
    assert train_devices(Settings(device="cpu")) == ["cpu"]
