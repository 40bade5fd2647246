"""Audits: a fixed random share of the tasks, the same in every process."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend import report
from backend.audit import is_audit, is_llm_audit
from training.promise import certify


@pytest.mark.parametrize("share", [0.02, 0.5])
def test_about_the_share_of_the_tasks_is_audited(share: float) -> None:
    found = sum(is_audit(7, task_id, share) for task_id in range(20_000)) / 20_000
    assert found == pytest.approx(share, rel=0.1)


@given(st.integers(1), st.integers(1))
def test_none_and_all(project_id: int, task_id: int) -> None:
    assert not is_audit(project_id, task_id, 0.0)
    assert is_audit(project_id, task_id, 1.0)


@given(st.integers(1), st.integers(1), st.floats(0, 1), st.floats(0, 1))
def test_a_larger_share_keeps_the_audits_of_a_smaller_one(
    project_id: int, task_id: int, one: float, other: float
) -> None:
    low, high = sorted((one, other))
    assert is_audit(project_id, task_id, low) <= is_audit(project_id, task_id, high)


@given(st.integers(1), st.integers(1), st.floats(0, 0.5))
def test_the_llm_audits_other_tasks_than_people(
    project_id: int, task_id: int, share: float
) -> None:
    both = is_audit(project_id, task_id, share), is_llm_audit(project_id, task_id, share)
    assert both != (True, True)
    assert any(both) == is_audit(project_id, task_id, 2 * share), "and as many"


def test_projects_audit_different_tasks() -> None:
    first, second = ({t for t in range(500) if is_audit(p, t, 0.5)} for p in (1, 2))
    assert 90 < len(first & second) < 160  # 125 by chance, 250 if they were the same


@pytest.mark.parametrize("target", [None, 0.1])
@pytest.mark.parametrize("share", [0.02, 0.1])
def test_the_interval_covers_the_true_accuracy_whatever_the_committee_believes(
    share: float, target: float | None
) -> None:
    """Also where the audits chose, by their promise, from which confidence labels are accepted."""
    covered = [held for run in range(110) if (held := covers(run, share, target)) is not None][:100]
    print(f"audits {share:.0%}, target {target}: {sum(covered)} of {len(covered)} cover the truth")
    assert len(covered) == 100
    assert sum(covered) >= 90


def covers(run: int, share: float, target: float | None) -> bool | None:
    """Whether one project's interval holds the true accuracy; None where audits are too few."""
    rng, tasks = np.random.default_rng(run), round(100 / share)
    true = rng.beta(5, 1, tasks)  # each label's chance to be right
    right = rng.random(tasks) < true
    sure = true ** rng.uniform(0.2, 1.0)  # and what the committee believes: too much
    audits = np.array([is_audit(run + 1, task, share) for task in range(tasks)])
    above = 0.9
    if target is not None:
        above = certify(sure, sure[audits], right[audits], target).accept_above
    accepted = sure >= above
    answers = right[accepted & audits]
    asked, agreed, size = len(answers), int(answers.sum()), int(accepted.sum())
    found = report.estimate((asked, agreed), (0, 0), size, float(sure[accepted].sum()), 1.0)
    if found["basis"] != "audits":
        return None
    return bool(found["low"] <= right[accepted].mean() <= found["high"])
