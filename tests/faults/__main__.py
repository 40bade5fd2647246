"""`make faults`: faults on every part in every phase, a table of them, and one line of JSON."""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parent), str(HERE.parent / "service")]

from cases import Case, draw, every, only  # noqa: E402
from invariants import KINDS as FOUND  # noqa: E402
from phases import PHASES  # noqa: E402
from plant import Plant  # noqa: E402
from run import BOUND_S, Result, walk_through  # noqa: E402

DISK_BYTES = 400_000_000
_DISK = "FAULTS_DISK"


def main(arguments: Sequence[str]) -> int:
    """Run the cases that are asked for; 0 when all of them ended well."""
    parser = argparse.ArgumentParser(prog="faults", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="draws cases and moments (1)")
    parser.add_argument("--cases", type=int, default=66, help="how many, about (66)")
    parser.add_argument("--only", default="", help="FAULT/PHASE/TARGET, parts may be empty")
    parser.add_argument("--bound", type=float, default=BOUND_S, help="seconds to recover (300)")
    parser.add_argument("--list", action="store_true", help="name all cases and stop")
    asked = parser.parse_args(arguments)
    if asked.list:
        print(*(case.name for case in every(asked.seed)), sep="\n")
        return 0
    walks = only(asked.seed, asked.only) if asked.only else draw(asked.seed, asked.cases)
    if not walks:
        print(f"No case is called {asked.only!r}; --list names all.", file=sys.stderr)
        return 2
    if _DISK not in os.environ:
        _on_a_small_disk()
    _be_quiet()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the plant is stopped all the same
    started, results = time.monotonic(), list[Result]()
    disk = Path(os.environ[_DISK])
    with tempfile.TemporaryDirectory(prefix="faults-") as folder, suppress(KeyboardInterrupt):
        with Plant(Path(folder), disk) as plant:
            for walk in walks:
                for result in walk_through(plant, walk, _say, asked.bound):
                    results.append(result)
    if not results:
        return 130
    print(table(results))
    print(json.dumps(summary(results, asked.seed, time.monotonic() - started)))
    return 1 if any(one.findings for one in results) else 0


def table(results: Sequence[Result]) -> str:
    """Cases that ended well, of those that ran, by fault and phase."""
    ran = Counter((_row(one.case), one.case.phase) for one in results)
    well = Counter((_row(one.case), one.case.phase) for one in results if not one.findings)
    lines = [f"{'':24}" + "".join(f"{phase:>11}" for phase in PHASES)]
    for row in sorted({row for row, _ in ran}):
        cells = (f"{well[row, p]}/{ran[row, p]}" if ran[row, p] else "-" for p in PHASES)
        lines.append(f"{row:24}" + "".join(f"{cell:>11}" for cell in cells))
    return "\n".join(lines)


def summary(results: Sequence[Result], seed: int, took_s: float) -> dict[str, float]:
    """What was found, counted; `unrecovered` counts cases, the others what was lost or doubled."""
    found = {kind: sum(len(getattr(r.findings, kind)) for r in results) for kind in FOUND}
    found["unrecovered"] = sum(bool(one.findings.unrecovered) for one in results)
    slowest = max(one.recovered_s for one in results)
    times = {"slowest_recovery_s": round(slowest, 1), "took_s": round(took_s)}
    return {"cases": len(results), **found, **times, "seed": seed}


def _say(line: str) -> None:
    print(line, flush=True)


def _be_quiet() -> None:
    """No progress bars of the libraries between our lines, nor what the supervisor restarts."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    for name in ("huggingface_hub", "backend.supervisor"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _row(case: Case) -> str:
    return f"{case.fault} {case.target}"


def _on_a_small_disk() -> None:
    """Begin anew where DATA_DIR is a small disk, in a mount namespace; needs no root."""
    mounted = tempfile.mkdtemp(prefix="faults-disk-")
    command = [
        *("bwrap", "--dev-bind", "/", "/", "--size", str(DISK_BYTES), "--tmpfs", mounted),
        *("--die-with-parent", "--setenv", _DISK, mounted, sys.executable, *sys.argv),
    ]
    os.execvp(command[0], command)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
