"""Look for known vulnerabilities in requirements.lock: `make audit`.

Fails on each finding that audit-exceptions.txt does not name. Where no source of advisories can be
reached nothing was audited; that is said, and is no failure.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "requirements.lock"
EXCEPTIONS = Path(__file__).parent / "audit-exceptions.txt"

Package = dict[str, Any]


def main() -> int:
    """Audit the lock; 1 for a finding that is no exception."""
    pins = [line.removesuffix("\\").strip() for line in LOCK.read_text().splitlines()]
    pins = [pin for pin in pins if "==" in pin]
    # One first: without a source each of them would be waited for.
    packages = audited(pins) if audited(pins[:1]) else []
    if not packages:
        print("No source of advisories can be reached: nothing was audited.")
        return 0
    left = findings(packages, exceptions(EXCEPTIONS.read_text()))
    for line in left:
        print(line)
    missing = len(pins) - len(packages)
    print(
        f"{len(packages)} packages audited, {missing} unknown to the source, {len(left)} findings."
    )
    return 1 if left else 0


def audited(pins: list[str]) -> list[Package]:
    """What pip-audit says about those packages that its source knows; none without a source."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join(pins))
        file.flush()
        command = [sys.executable, "-m", "pip_audit", "--disable-pip", "--no-deps", "-f", "json"]
        more = ["--progress-spinner", "off", "-r", file.name]
        done = subprocess.run([*command, *more], capture_output=True, text=True)
    if not done.stdout.startswith("{"):  # no connection is an error of its own
        return []
    return [one for one in json.loads(done.stdout)["dependencies"] if "vulns" in one]


def findings(packages: list[Package], known: set[tuple[str, str]]) -> list[str]:
    """A line for each vulnerability that is not among the known ones."""
    return [
        f"{one['name']} {one['version']}: {found['id']}, fixed in {found['fix_versions'] or 'none'}"
        for one in packages
        for found in one["vulns"]
        if (one["name"], found["id"]) not in known
    ]


def exceptions(text: str) -> set[tuple[str, str]]:
    """The findings that a file of lines `PACKAGE ID REASON` excepts.

    Raises:
        ValueError: A line gives no reason.
    """
    rows = [line.split(maxsplit=2) for line in text.splitlines() if line and line[0] != "#"]
    for row in rows:
        if len(row) < 3:
            raise ValueError(f"{' '.join(row)!r}: write PACKAGE ID REASON.")
    return {(package, found) for package, found, _ in rows}


if __name__ == "__main__":
    raise SystemExit(main())
