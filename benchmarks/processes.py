"""What the processes of a backend hold: memory, open files, threads; read from the system."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import psutil  # type: ignore[import-untyped]


@dataclass(frozen=True)
class Held:
    """What one program holds, with all that it started."""

    rss_mb: float
    files: int
    threads: int


def held(data_dir: Path) -> dict[str, Held]:
    """By program of `python -m backend run`; one that restarts at the moment is left out.

    What the train worker starts is not its own: a stage is told apart, while there is one.
    """
    programs = json.loads((data_dir / "processes.json").read_text())["programs"]
    found = {}
    for name, (pid, _) in programs.items():
        try:
            process = psutil.Process(pid)
            started = process.children(recursive=True)
            if name == "train":
                found |= {"stage": _sum(started)} if started else {}
                started = []
            found[name] = _sum([process, *started])
        except psutil.Error:
            continue
    return found


def _sum(processes: list[psutil.Process]) -> Held:
    return Held(
        sum(one.memory_info().rss for one in processes) / 1e6,
        sum(one.num_fds() for one in processes),
        sum(one.num_threads() for one in processes),
    )
