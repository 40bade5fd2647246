"""One case after the other on a running plant; a case that fails leaves its logs behind."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from cases import Case
from faults import KINDS
from invariants import Findings, Watch, collect, compare, problems
from machine import eventually
from phases import PHASES, Walk, under_way
from plant import START_S, Plant

BOUND_S = 300.0
"""Until everything must be well again. Most of it is for slow machines: a pause after an error is
60 s, and reconcile takes no more than a twentieth of the time. What was needed is printed."""


@dataclass(frozen=True)
class Result:
    """How a case ended: what was found, and the seconds from the end of the fault."""

    case: Case
    findings: Findings
    recovered_s: float
    logs: Path | None = None


def walk_through(
    plant: Plant, cases: Sequence[Case], say: Callable[[str], None], bound_s: float = BOUND_S
) -> Iterator[Result]:
    """Take one project through cases; after one that fails, the rest get a new project."""
    walk: Walk | None = None
    for case in cases:
        try:
            walk = walk or _new_walk(plant)
            _make_ready(walk, case.phase)
            result = strike(walk, case, bound_s)
        except Exception:
            told = traceback.format_exc(limit=-4)
            result = Result(case, Findings(unrecovered=[told]), 0.0)
        if result.findings:
            result = Result(case, result.findings, result.recovered_s, _keep_logs(plant, result))
            walk = None
        say(_line(result))
        yield result


def strike(walk: Walk, case: Case, bound_s: float = BOUND_S) -> Result:
    """Let a fault strike in the middle of a phase, and wait until all is well."""
    fault, _ = KINDS[case.fault]
    dice = case.dice
    with Watch(walk) as watch:
        with under_way(walk, case.phase):
            time.sleep(dice.uniform(0, PHASES[case.phase].window_s))
            fault(walk.plant, case.target, dice)
            over = time.monotonic()
        findings = settle(walk, watch, case.phase, bound_s)
        return Result(case, findings, time.monotonic() - over)


def settle(walk: Walk, watch: Watch, phase: str, bound_s: float = BOUND_S) -> Findings:
    """Wait until nothing is wrong, twice in a row; what still is after the bound is returned."""
    deadline, well = time.monotonic() + bound_s, 0
    while True:
        try:
            findings = compare(collect(walk, watch, phase))
            if not findings:
                findings = Findings(unrecovered=problems(walk))
        except Exception as error:  # a part is still down, in whatever way it says so
            findings = Findings(unrecovered=[f"{type(error).__name__}: {error}"])
        well = 0 if findings else well + 1
        if well == 2 or time.monotonic() > deadline:
            return findings
        time.sleep(1.0 if well else 0.5)


def forget_others(plant: Plant, project: int) -> None:
    """Leave the projects of earlier walks alone from now on."""
    for other in plant.wiring.projects.ids():
        if other != project:
            plant.wiring.projects.forget(other)


def _new_walk(plant: Plant) -> Walk:
    eventually(plant.is_up, START_S, "the plant, after what the case before did to it")
    walk = Walk(plant)
    forget_others(plant, walk.project)
    return walk


def _make_ready(walk: Walk, phase: str) -> None:
    """Take a project through what a phase goes on from, undisturbed."""
    before = PHASES[phase].after
    if before and before not in walk.been:
        _make_ready(walk, before)
        _undisturbed(walk, before)


def _undisturbed(walk: Walk, phase: str) -> None:
    with Watch(walk) as watch:
        with under_way(walk, phase):
            pass
        if findings := settle(walk, watch, phase):
            raise RuntimeError(f"{phase}, undisturbed: {'; '.join(findings.lines())}")


def _keep_logs(plant: Plant, result: Result) -> Path:
    """Copy what was written meanwhile to a folder of its own."""
    folder = Path(tempfile.mkdtemp(prefix=f"fault-{result.case.name.replace('/', '-')}-"))
    shutil.copytree(plant.data_dir / "logs", folder / "logs")
    shutil.copy(plant.record, folder) if plant.record.exists() else None
    (folder / "case.json").write_text(json.dumps(asdict(result.case)))
    (folder / "findings.txt").write_text("\n".join(result.findings.lines()) + "\n")
    try:
        errors: Iterable[object] = plant.wiring.journal.errors()
    except Exception as error:
        errors = [repr(error)]
    (folder / "journal.txt").write_text("\n".join(map(str, errors)) + "\n")
    return folder


def _line(result: Result) -> str:
    if not result.findings:
        return f"ok    {result.case.name} (well after {result.recovered_s:.0f} s)"
    case = result.case
    return "\n".join(
        [
            f"FAIL  {case.name}",
            *(f"        {line}" for line in result.findings.lines()),
            f"        logs: {result.logs}",
            f"        alone: make faults FAULTS='--only {case.name} --seed {case.seed}'",
        ]
    )
