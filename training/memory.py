"""The memory that training takes in this process: bounded, and given back."""

from __future__ import annotations

import gc
import sys


def bound(device: str, megabytes: float | None) -> None:
    """Let allocations past `megabytes` (1e6 bytes) fail from now on; None leaves all as it is.

    On CUDA that is what torch allocates there. On a CPU it is the process's writable private
    memory (RLIMIT_DATA, Linux 4.7), some 450 MB of which are taken before a model is opened:
    unlike with RLIMIT_AS, libraries and reserved addresses are free. Resident memory stays below
    it.
    """
    if megabytes is None:
        return
    limit = int(megabytes * 1e6)
    if device.startswith("cuda"):
        import torch

        total = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, limit / total), device)
    else:
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        if most != resource.RLIM_INFINITY:
            limit = min(limit, most)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, most))


def give_back() -> None:
    """Free what an ended training left allocated, on a GPU too."""
    gc.collect()
    if (torch := sys.modules.get("torch")) and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
