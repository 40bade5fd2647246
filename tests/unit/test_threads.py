"""Cores are those that the affinity mask and all control groups around a process leave it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from specialists import threads


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


@pytest.mark.parametrize(("asked", "expected"), [("1", 1), ("3", 3), ("64", 8), ("0", 8), ("", 8)])
def test_a_process_can_be_given_fewer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str, expected: int
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    assert threads.cores(tmp_path) == expected


def system(root: Path, groups: str, files: dict[str, str]) -> Path:
    """A machine's /proc and /sys, as far as they say something of quotas."""
    for name, text in {"proc/self/cgroup": groups, **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        ("", {}, 8),
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "max 100000\n"}, 8),
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "250000 100000\n"}, 3),
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "20000 100000\n"}, 1),
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "3200000 100000\n"}, 8),
        (
            "0::/pod/container\n",
            {
                "sys/fs/cgroup/pod/cpu.max": "200000 100000\n",
                "sys/fs/cgroup/pod/container/cpu.max": "max 100000\n",
            },
            2,
        ),
        (
            "4:memory:/job\n2:cpu,cpuacct:/job\n0::/\n",
            {
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
                "sys/fs/cgroup/cpu/job/cpu.cfs_quota_us": "400000\n",
                "sys/fs/cgroup/cpu/job/cpu.cfs_period_us": "100000\n",
            },
            4,
        ),
    ],
)
def test_the_smallest_limit_counts(
    tmp_path: Path, groups: str, files: dict[str, str], expected: int
) -> None:
    assert threads.cores(system(tmp_path, groups, files)) == expected


@pytest.mark.parametrize(
    ("cores", "streams", "intra_op"), [(1, 1, 1), (2, 2, 1), (4, 4, 1), (8, 4, 2), (32, 4, 8)]
)
def test_streams_share_the_cores(
    monkeypatch: pytest.MonkeyPatch, cores: int, streams: int, intra_op: int
) -> None:
    monkeypatch.setattr(threads, "cores", lambda: cores)
    assert (threads.streams(), threads.intra_op()) == (streams, intra_op)
    assert streams * intra_op <= cores


def test_this_machine_has_a_core() -> None:
    assert 1 <= threads.cores() <= 8
