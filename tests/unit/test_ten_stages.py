"""Ten real stages: no promoted committee is truly worse than the one before beyond the margin."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from benchmarks.ten_stages import follow, made


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny tensors wait for busy cores when torch spreads them over several."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_over_ten_stages_none_is_worse_by_more_than_the_margin(tmp_path: Path) -> None:
    project = made(tmp_path / "models", tests=800, members=2)
    rows = list(follow(project, tmp_path / "store", stages=10, verdicts=40))
    assert len(rows) == 10
    promoted = [row for row in rows if row.promoted]
    assert len(promoted) >= 3 and any(not row.promoted for row in rows)
    assert not [row for row in rows if row.beyond], "truly worse by more than its card tells"
    assert all(row.margin > 0 for row in promoted)
    for row, following in zip(rows, rows[1:], strict=False):
        assert following.before == (row.after if row.promoted else row.before)
    assert promoted[-1].after > rows[0].before, "ten stages are worth something"
