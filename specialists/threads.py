"""How many cores this process may really use, and how forward passes share them.

A container's quota is not in `os.cpu_count()`: a pool sized by that number waits for its own
threads. It knows no model.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

# A few passes at once use cores better than one pass on all of them: nothing waits at the barriers
# inside a pass (BENCHMARKS.md). With more cores each pass gets several, so that one long text is
# still answered fast.
_MAX_STREAMS = 4


def cores(system: Path = Path("/")) -> int:
    """How many cores the affinity mask and the control group's quota leave, at least 1.

    OMP_NUM_THREADS lowers it: several of our processes can share a machine. `system` is where
    /proc and /sys lie.
    """
    asked = os.environ.get("OMP_NUM_THREADS", "")
    limits = [int(asked)] if asked.isdecimal() and int(asked) else []
    return max(1, min([_affinity(), *limits, *(math.ceil(quota) for quota in _quotas(system))]))


def streams() -> int:
    """How many forward passes run at once on the CPU."""
    return min(cores(), _MAX_STREAMS)


def intra_op() -> int:
    """How many threads work on one forward pass."""
    return max(1, cores() // _MAX_STREAMS)


def _affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quotas(system: Path) -> Iterator[float]:
    """The limits, in cores, of every control group around this process."""
    for folder in _groups(system):
        quota, period = _v2(folder) or _v1(folder) or ("max", "")
        if quota not in ("max", "-1"):
            yield int(quota) / int(period)


def _groups(system: Path) -> Iterator[Path]:
    """Folders of this process's groups and of the groups around them, version 2 and 1."""
    for line in _read(system / "proc/self/cgroup").splitlines():
        _, controllers, name = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        root = system / "sys/fs/cgroup" / ("cpu" if controllers else "")
        group = PurePosixPath(name.lstrip("/"))
        yield from (root / one for one in (group, *group.parents))


def _v2(folder: Path) -> tuple[str, str] | None:
    fields = _read(folder / "cpu.max").split()
    return (fields[0], fields[1]) if len(fields) == 2 else None


def _v1(folder: Path) -> tuple[str, str] | None:
    quota, period = (_read(folder / f"cpu.cfs_{one}_us").strip() for one in ("quota", "period"))
    return (quota, period) if quota and period else None


def _read(path: Path) -> str:
    """A file's text, empty where there is none: other systems have no control groups."""
    try:
        return path.read_text(encoding="ascii")
    except OSError:
        return ""


def limit() -> None:
    """Let torch's operations of the calling thread use `intra_op` threads."""
    import torch  # late: the numbers alone need none

    torch.set_num_threads(intra_op())
