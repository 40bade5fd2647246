"""Audits: a fixed random share of the tasks, the same in every process."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.audit import is_audit


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


def test_projects_audit_different_tasks() -> None:
    first, second = ({t for t in range(500) if is_audit(p, t, 0.5)} for p in (1, 2))
    assert 90 < len(first & second) < 160  # 125 by chance, 250 if they were the same
