"""The evidence store: rows come back as they were, and no damage to a disk reaches a caller."""

from __future__ import annotations

import logging
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from backend import evidence_store
from backend.evidence_store import EvidenceStore, Row, Shown, text_hash

WRITER = """
import sys
from pathlib import Path
from backend.evidence_store import EvidenceStore, Row
store = EvidenceStore(Path(sys.argv[1]))
for i in range(int(sys.argv[2]), int(sys.argv[2]) + 200):
    store.put(7, "mood", "t1", [Row(i, b"h" * 16, ("m",), b"x" * 5000)])
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "evidence"


@pytest.fixture
def store(folder: Path) -> Iterator[EvidenceStore]:
    store = EvidenceStore(folder)
    yield store
    store.close()


def row(task_id: int, text: str = "fine", members: tuple[str, ...] = ("a", "b")) -> Row:
    return Row(task_id, text_hash(text), members, text.encode() * 10)


def test_rows_come_back_as_they_were_put(store: EvidenceStore) -> None:
    shown = replace(row(3), shown=Shown(("good",), 0.5, hard=True))
    store.put(7, "mood", "t1", [shown, row(1)])
    assert store.read(7, "mood", "t1") == [row(1), shown]
    assert store.read(7, "mood", "t1", [3, 4, 3]) == [shown]
    assert store.read(7, "mood", "t1", []) == []
    others = ((8, "mood", "t1"), (7, "tone", "t1"), (7, "mood", "t2"))
    assert all(store.read(*other) == [] for other in others)


def test_a_row_replaces_the_one_of_the_same_task(store: EvidenceStore) -> None:
    store.put(7, "mood", "t1", [row(1, "old")])
    store.put(7, "mood", "t1", [row(1, "new")])
    assert store.read(7, "mood", "t1") == [row(1, "new")]


def test_what_is_shown_is_noted_only_where_there_is_evidence(store: EvidenceStore) -> None:
    store.put(7, "mood", "t1", [row(1)])
    shown = Shown(("good", "bad"), 0.25, hard=False)
    store.show(7, "mood", "t1", {1: shown, 2: shown})
    assert store.read(7, "mood", "t1") == [replace(row(1), shown=shown)]


def test_many_rows_are_read_in_chunks_and_by_many_ids(store: EvidenceStore) -> None:
    store.put(7, "mood", "t1", [row(i) for i in range(1, 2502)])
    assert [len(chunk) for chunk in store.chunks(7, "mood", "t1", size=1000)] == [1000, 1000, 501]
    assert [one.task_id for one in store.read(7, "mood", "t1")] == list(range(1, 2502))
    some = range(2, 2502, 2)
    assert [one.task_id for one in store.read(7, "mood", "t1", some)] == list(some)
    assert store.task_ids(7) == set(range(1, 2502))


def test_only_rows_of_the_members_that_voted_last_are_given(store: EvidenceStore) -> None:
    store.put(7, "mood", "t1", [row(1, members=("a",)), row(2, members=("a",))])
    store.put(7, "mood", "t1", [row(2), row(3)])
    assert store.read(7, "mood", "t1") == [row(2), row(3)]
    assert store.read(7, "mood", "t1", [1, 2]) == [row(2)]


def test_a_committee_without_members_has_evidence_too(store: EvidenceStore) -> None:
    store.put(7, "mood", "t1", [row(1, members=())])
    assert store.read(7, "mood", "t1") == [row(1, members=())]


def test_deleted_tasks_and_old_tags_are_forgotten(store: EvidenceStore) -> None:
    for tag in ("t1", "t2", "t3"):
        store.put(7, "mood", tag, [row(1), row(2)])
    store.forget(7, [1, 9])
    assert store.task_ids(7) == {2}
    store.prune(7, ["t2"])
    assert [len(store.read(7, "mood", tag)) for tag in ("t1", "t2", "t3")] == [0, 1, 0]


def test_a_count_that_took_long_serves_for_a_while(
    store: EvidenceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([0.0, 1.0, 2.0, 20.0, 23.0, 24.0])
    monkeypatch.setattr(evidence_store, "_MANY", 2)
    monkeypatch.setattr(evidence_store, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    store.put(7, "mood", "t1", [row(1)])
    assert store.count(7) == 1, "few are counted each time"
    store.put(7, "mood", "t1", [row(2)])
    assert store.count(7) == 2  # took a second
    store.put(7, "mood", "t1", [row(3)])
    assert store.count(7) == 2
    assert store.count(7) == 3, "after 20 times as long it is counted again"


def test_tasks_are_counted_once_however_many_controls_and_tags_know_them(
    store: EvidenceStore, folder: Path
) -> None:
    assert store.count(7) == 0
    store.put(7, "mood", "t1", [row(1), row(2)])
    store.put(7, "topic", "t2", [row(2), row(3)])
    store.put(12, "mood", "t1", [row(9)])
    assert (store.count(7), store.count(12)) == (3, 1)
    EvidenceStore(folder / "nothing").close()


def test_threads_and_processes_write_at_the_same_time(store: EvidenceStore, folder: Path) -> None:
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(folder), str(start)])
        for start in (10_000, 20_000)
    ]
    with ThreadPoolExecutor(4) as threads:
        list(
            threads.map(lambda i: store.put(7, "mood", "t1", [row(i, members=("m",))]), range(200))
        )
    assert [writer.wait(60) for writer in writers] == [0, 0]
    assert len(store.read(7, "mood", "t1")) == 600


@pytest.mark.parametrize("damage", [b"no database at all" * 500, b"\x00" * 20_000])
def test_a_damaged_file_is_moved_aside_and_begun_anew(
    store: EvidenceStore, folder: Path, damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    folder.mkdir()
    (folder / "7.sqlite3").write_bytes(damage)
    with caplog.at_level(logging.WARNING):
        assert store.read(7, "mood", "t1") == []
    assert "moved to 7.sqlite3.damaged-" in caplog.text
    store.put(7, "mood", "t1", [row(1)])
    assert store.read(7, "mood", "t1") == [row(1)]
    assert [file.read_bytes() for file in folder.glob("7.sqlite3.damaged-*")] == [damage]


def test_damage_while_the_file_is_open_in_two_places(store: EvidenceStore, folder: Path) -> None:
    store.put(7, "mood", "t1", [row(i, "x" * 900) for i in range(300)])
    store.close()  # what was written is in the file itself now
    file = folder / "7.sqlite3"
    raw = bytearray(file.read_bytes())
    raw[4096:] = b"\xff" * (len(raw) - 4096)
    file.write_bytes(raw)
    other = EvidenceStore(folder)
    assert store.read(7, "mood", "t1") == other.read(7, "mood", "t1") == []
    other.put(7, "mood", "t1", [row(1)])
    assert store.read(7, "mood", "t1") == [row(1)], "both use the new file"
    assert len(list(folder.glob("*.damaged-*[0-9]"))) == 1, "moved aside once"
    other.close()


def test_a_removed_folder_is_begun_anew(store: EvidenceStore, folder: Path) -> None:
    store.put(7, "mood", "t1", [row(1)])
    shutil.rmtree(folder)
    assert store.read(7, "mood", "t1") == []
    store.put(7, "mood", "t1", [row(2)])
    assert store.read(7, "mood", "t1") == [row(2)]


def test_a_disk_that_takes_nothing_costs_a_warning_and_no_prediction(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "evidence").write_text("a file where the folder should be")
    store = EvidenceStore(tmp_path / "evidence")
    store.put(7, "mood", "t1", [row(1, "a private text")])
    store.show(7, "mood", "t1", {1: Shown((), 0.0, hard=False)})
    assert store.read(7, "mood", "t1") == [] and store.task_ids(7) == set()
    assert "cannot be used" in caplog.text and "private" not in caplog.text


def test_a_full_disk_keeps_what_was_written(
    store: EvidenceStore, caplog: pytest.LogCaptureFixture
) -> None:
    store.put(7, "mood", "t1", [row(1)])
    store._file(7).use(lambda db: db.execute("PRAGMA max_page_count = 1"), None)  # never smaller
    store.put(7, "mood", "t1", [row(i, "long" * 1000) for i in range(2, 50)])
    assert "full" in caplog.text
    assert store.read(7, "mood", "t1") == [row(1)]


def test_a_locked_file_costs_no_error(store: EvidenceStore, folder: Path) -> None:
    store.put(7, "mood", "t1", [row(1)])
    with sqlite3.connect(folder / "7.sqlite3", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        assert store.read(7, "mood", "t1") == [row(1)], "readers do not wait for a writer"
        other.execute("ROLLBACK")
    other.close()


def test_evidence_never_shows_in_a_repr() -> None:
    assert "private" not in repr(row(1, "a private text"))
