"""What is done to a part of the plant; every fault is over when its function returns.

Signals go to programs, cuts and delays to the ways between them. What died is restarted by the
supervisor, as in production; nothing here starts anything.
"""

from __future__ import annotations

import errno
import os
import random
import signal
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from plant import OURS, PROGRAMS, ROUTES, Plant

PAUSE_S = 10.0
OUTAGE_S = 8.0
CLOCK_S = 10.0
JUMP_S = 5 * 3600
Fault = Callable[[Plant, str, random.Random], None]


def kill(plant: Plant, program: str, dice: random.Random) -> None:
    """Kill a program, at once: its leader alone, or whatever it started as well."""
    pids = plant.pids(program) if dice.random() < 0.5 else [plant.pid(program)]
    _signal(pids, signal.SIGKILL)


def terminate(plant: Plant, program: str, dice: random.Random) -> None:
    """Ask a program to end; it is started again."""
    _signal([plant.pid(program)], signal.SIGTERM)


def restart(plant: Plant, target: str, dice: random.Random) -> None:
    """Ask all of our programs to end at once, as an upgrade does."""
    _signal([plant.pid(program) for program in OURS], signal.SIGTERM)


def pause(plant: Plant, program: str, dice: random.Random) -> None:
    """Stop a program's clockwork for a while, as a suspended machine or a full swap does."""
    pids = plant.pids(program)
    _signal(pids, signal.SIGSTOP)
    try:
        time.sleep(PAUSE_S)
    finally:
        _signal(pids, signal.SIGCONT)


def refuse(plant: Plant, route: str, dice: random.Random) -> None:
    """Nobody listens at the other end for a while."""
    _disturb(plant, route, "refuse")


def slow(plant: Plant, route: str, dice: random.Random) -> None:
    """Answers take seconds for a while."""
    _disturb(plant, route, "slow")


def cut(plant: Plant, route: str, dice: random.Random) -> None:
    """Connections break in the middle of an answer for a while."""
    _disturb(plant, route, "cut")


def fill(plant: Plant, target: str, dice: random.Random) -> None:
    """Fill the disk of DATA_DIR, where Redis writes its log as well, for a while."""
    ballast = plant.data_dir / "ballast"
    try:
        _fill(ballast)
        time.sleep(OUTAGE_S)
    finally:
        ballast.unlink()


def clock_forward(plant: Plant, target: str, dice: random.Random) -> None:
    """The clock jumps five hours ahead, and back again after a while."""
    _shift(plant, target, JUMP_S)


def clock_back(plant: Plant, target: str, dice: random.Random) -> None:
    """The clock jumps five hours back, and ahead again after a while."""
    _shift(plant, target, -JUMP_S)


CLOCKS = {"our clocks": OURS, "redis clock": ("redis",)}
KINDS: dict[str, tuple[Fault, Iterable[str]]] = {
    "kill": (kill, PROGRAMS),
    "terminate": (terminate, PROGRAMS),
    "pause": (pause, PROGRAMS),
    "restart": (restart, ("ours",)),
    "refuse": (refuse, ROUTES),
    "slow": (slow, ROUTES),
    "cut": (cut, ROUTES),
    "full": (fill, ("disk",)),
    "clock-forward": (clock_forward, CLOCKS),
    "clock-back": (clock_back, CLOCKS),
}


def _signal(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _disturb(plant: Plant, route: str, mode: str) -> None:
    plant.switch(route, mode)
    try:
        time.sleep(OUTAGE_S)
    finally:
        plant.switch(route, "pass")


def _shift(plant: Plant, target: str, shift_s: int) -> None:
    for program in CLOCKS[target]:
        plant.set_clock(program, shift_s)
    try:
        time.sleep(CLOCK_S)
    finally:
        for program in CLOCKS[target]:
            plant.set_clock(program, 0)


def _fill(ballast: Path) -> None:
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(100_000))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
