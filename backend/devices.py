"""The devices of this machine that a stage trains on: one stage a device at a time.

A device is held by a lease in Redis, beside the project's: a GPU by its own id, which is the same
in every container, the CPU by the name of the host (a container counts as one). It knows neither
projects nor how a model learns.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import redis

from backend.committees import pick_device
from backend.errors import BackendError
from backend.lease import Lease, LeaseHeld
from backend.settings import Settings

_LOOK_S = 0.5
_LONGEST_S = 60.0  # so long a worker may need to stop while it waits


class GpuMissing(BackendError):
    """DEVICE names a GPU that is not here."""


class DevicesBusy(BackendError):
    """Other stages train on all devices that this one could take."""

    def __init__(self, client: redis.Redis, names: Sequence[str]) -> None:
        super().__init__("Another stage trains on this machine; this one waits for a free device.")
        self._redis = client
        self._names = names

    def wait(self) -> str:
        """Return when a device may be free, or after a minute; tells what to do then."""
        deadline_s = time.monotonic() + _LONGEST_S
        while time.monotonic() < deadline_s:
            if not all(Lease.is_held(self._redis, name) for name in self._names):
                break
            time.sleep(_LOOK_S)
        return "Another stage trained on this machine; whoever is free first does this one."


@dataclass(frozen=True)
class Held:
    """Devices that nobody else trains on while their leases last."""

    devices: Sequence[str]
    leases: Sequence[Lease]

    def check(self) -> None:
        """Raise LeaseLost unless all of them are still ours."""
        for lease in self.leases:
            lease.check()


@contextmanager
def hold(client: redis.Redis, devices: Sequence[str]) -> Iterator[Held]:
    """Hold those of `devices` that are free.

    Raises:
        DevicesBusy: None of them is.
    """
    names = {device: f"device:{_identity(device)}" for device in devices}
    held: dict[str, Lease] = {}
    with ExitStack() as stack:
        for device, name in names.items():
            try:
                held[device] = stack.enter_context(Lease(client, name))
            except LeaseHeld:
                continue
        if not held:
            raise DevicesBusy(client, list(names.values()))
        yield Held(list(held), list(held.values()))


def train_devices(settings: Settings) -> list[str]:
    """Where a stage may train: on every GPU, unless DEVICE names one of them, or on the CPU.

    Raises:
        GpuMissing: DEVICE asks for a GPU that torch does not see, and TRAIN_FALLBACK is none.
    """
    device = pick_device(settings.device)
    if device == "cpu":
        return [device]
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    here = [f"cuda:{index}" for index in range(count)]
    found = here if device == "cuda" else [one for one in here if one == device]
    if not found and settings.train_fallback == "none":
        raise GpuMissing(
            f"DEVICE is {settings.device}, but torch sees {', '.join(here) or 'no GPU'} here; look "
            "at the driver and CUDA_VISIBLE_DEVICES, or set DEVICE=cpu or TRAIN_FALLBACK=cpu."
        )
    return found or ["cpu"]


def _identity(device: str) -> str:
    if device == "cpu":
        return f"{socket.gethostname()}:cpu"
    import torch

    return str(torch.cuda.get_device_properties(device).uuid)
