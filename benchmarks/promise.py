"""How often a verified promise about the accepted labels breaks, over simulated projects.

    python -m benchmarks.promise [--projects 200] [--seeds 1] [--target 0.05]

Each project has its own size, labels, members, difficulty and audits. Its votes go through the
product's own rule and promise, asked again after every tenth audit, as the product does. A promise
breaks when it is verified and yet more of all accepted labels are wrong than the target. `ever`
counts projects in which that was so at any look, not only at the last. Plain thresholds on the
committee's own confidence stand beside it. Prints tables and, last, one JSON line.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from specialists.chances import log_softmax
from specialists.evidence import Evidence
from specialists.rule_state import RuleState
from specialists.value_rule import ValueRule
from training.promise import CONFIDENCE, Promise, certify

Array = npt.NDArray[np.float64]

KINDS = ("calibrated", "overconfident", "underconfident", "blind spot", "edge")
AUDIT_SHARES = (0.02, 0.05, 0.1, 0.2)
LOOK_EVERY = 10  # audits
MEMBERS = 3


@dataclass(frozen=True, eq=False)
class Project:
    """Confidences (tasks,), whether each is right (tasks,), and audits as they come in."""

    kind: str
    audit_share: float
    confidence: Array
    right: npt.NDArray[np.bool_]
    audits: npt.NDArray[np.intp]


@dataclass(frozen=True)
class Outcome:
    """What came of one project; errors are shares of the accepted labels, None without any."""

    kind: str
    audit_share: float
    verified: bool
    accepted_share: float
    error: float | None
    broke: bool
    broke_ever: bool
    naive_accepted_share: float
    naive_broke: bool


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description="How often a verified promise breaks.")
    parser.add_argument("--projects", type=int, default=200, help="projects of each seed")
    parser.add_argument("--seeds", type=int, default=1, help="how many times all of them")
    parser.add_argument("--target", type=float, default=0.05, help="share of wrong labels promised")
    options = parser.parse_args()
    outcomes = [
        judge(simulate(number, seed, options.target), options.target)
        for seed in range(options.seeds)
        for number in range(options.projects)
    ]
    show("kind", outcomes, KINDS, lambda one: one.kind)
    show("audit share", outcomes, AUDIT_SHARES, lambda one: one.audit_share)
    print(json.dumps({**summary(outcomes), "target": options.target, "confidence": CONFIDENCE}))


def simulate(number: int, seed: int, target: float) -> Project:
    """Draw a project; `number` chooses its kind."""
    rng = np.random.default_rng((seed, number))
    tasks, labels = int(rng.integers(500, 5001)), int(rng.integers(2, 13))
    # How sure one can be of a text varies within a project, and its mean between projects.
    sharpness = rng.gamma(2.0, rng.uniform(1.5, 8.0), (tasks, 1))
    known = log_softmax(sharpness * rng.normal(0.0, 1.0, (tasks, labels)))
    truth = _drawn(rng, np.exp(known))
    kind = KINDS[number % len(KINDS)]
    if kind == "blind spot":  # texts of which the members are sure and know nothing
        blind = rng.random(tasks) < rng.uniform(0.03, 0.15)
        known[blind] = log_softmax(30.0 * rng.normal(0.0, 1.0, (int(blind.sum()), labels)))
    stretch = {"overconfident": rng.uniform(1.5, 3.0), "underconfident": rng.uniform(0.4, 0.8)}
    heard = stretch.get(kind, 1.0) * known[:, None] + rng.normal(0, 0.3, (tasks, MEMBERS, labels))
    rule = ValueRule(RuleState.first(MEMBERS, labels))
    pooled = rule.probabilities(Evidence(np.exp(log_softmax(heard)).astype(np.float32)))
    right = pooled.argmax(axis=1) == truth
    if kind == "edge":  # confidence says nothing, and the error is a little above the target
        right = rng.random(tasks) >= 1.04 * target
    audit_share = float(rng.choice(AUDIT_SHARES))
    audits = rng.permutation(np.flatnonzero(rng.random(tasks) < audit_share))
    return Project(kind, audit_share, pooled.max(axis=1), right, audits)


def _drawn(rng: np.random.Generator, chances: Array) -> npt.NDArray[np.intp]:
    """One label a row of chances (tasks, labels)."""
    drawn = (chances.cumsum(axis=1) < rng.random((len(chances), 1))).sum(axis=1)
    return np.asarray(np.minimum(drawn, chances.shape[1] - 1), dtype=np.intp)


def judge(project: Project, target: float) -> Outcome:
    """Ask for the promise as audits come in, and compare it with the truth."""
    looks = [*range(LOOK_EVERY, len(project.audits), LOOK_EVERY), len(project.audits)]
    promises = [_promise(project, project.audits[:count], target) for count in looks]
    errors = [_error(project, one.accept_above) for one in promises]
    broken = [
        promise.verified and error is not None and error > target
        for promise, error in zip(promises, errors, strict=True)
    ]
    naive = _promise(project, project.audits[:0], target)
    naive_error = _error(project, naive.accept_above)
    return Outcome(
        kind=project.kind,
        audit_share=project.audit_share,
        verified=promises[-1].verified,
        accepted_share=promises[-1].accepted_share,
        error=errors[-1],
        broke=broken[-1],
        broke_ever=any(broken),
        naive_accepted_share=naive.accepted_share,
        naive_broke=naive_error is not None and naive_error > target,
    )


def _promise(project: Project, audits: npt.NDArray[np.intp], target: float) -> Promise:
    return certify(project.confidence, project.confidence[audits], project.right[audits], target)


def _error(project: Project, accept_above: float) -> float | None:
    """The share of wrong labels among all that are accepted."""
    accepted = project.confidence >= accept_above
    return float(1.0 - project.right[accepted].mean()) if accepted.any() else None


def summary(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """The figures of some projects; shares of projects, but accepted and error of tasks.

    `accepted_share` and `error` are means over the projects with a verified promise.
    """
    verified = [one for one in outcomes if one.verified]
    violations = sum(one.broke for one in outcomes)
    return {
        "projects": len(outcomes),
        "violations": violations,
        "violation_share": _share(violations, len(outcomes)),
        "violation_share_of_verified": _share(violations, len(verified)),
        "violation_share_ever": _share(sum(one.broke_ever for one in outcomes), len(outcomes)),
        "allowed": round(1.0 - CONFIDENCE, 4),
        "verified_share": _share(len(verified), len(outcomes)),
        "accepted_share": _share(sum(one.accepted_share for one in verified), len(verified)),
        "error": _share(sum(one.error or 0.0 for one in verified), len(verified)),
        "naive_violation_share": _share(sum(one.naive_broke for one in outcomes), len(outcomes)),
        "naive_accepted_share": _share(
            sum(one.naive_accepted_share for one in outcomes), len(outcomes)
        ),
    }


def _share(part: float, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


_COLUMNS = {
    "projects": "projects",
    "verified": "verified_share",
    "accepted": "accepted_share",
    "error": "error",
    "broke": "violation_share",
    "ever": "violation_share_ever",
    "naive acc.": "naive_accepted_share",
    "naive broke": "naive_violation_share",
}


def show(
    title: str,
    outcomes: Sequence[Outcome],
    groups: Sequence[Any],
    group_of: Callable[[Outcome], Any],
) -> None:
    """Print a table with one row a group and one for all."""
    print(f"{title:<16}" + "".join(f"{name:>12}" for name in _COLUMNS))
    for group in groups:
        _row(str(group), [one for one in outcomes if group_of(one) == group])
    _row("all", outcomes)
    print()


def _row(name: str, outcomes: Sequence[Outcome]) -> None:
    figures = summary(outcomes)
    values = (figures[key] for key in _COLUMNS.values())
    shown = ("-" if v is None else f"{v:d}" if isinstance(v, int) else f"{v:.1%}" for v in values)
    print(f"{name:<16}" + "".join(f"{text:>12}" for text in shown))


if __name__ == "__main__":
    main()
