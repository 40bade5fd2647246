"""The evidence store: what committees said of tasks, and what Label Studio shows for them.

One SQLite file a project under DATA_DIR/evidence, one row per control, tag and task. Rows can be
computed again, so nothing depends on them: a file that is damaged is moved aside and begun anew,
and a write that fails is told in the log and otherwise forgotten. Safe for several threads and
processes. It knows bytes and task ids; no task text, no committee, no Redis.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backend.database_file import DatabaseFile

_CHUNK = 2000
_VARIABLES = 500  # in one statement; SQLite's oldest limit is 999
_HASH_BYTES = 16
_MANY = 50_000  # a count of so many tasks serves for 20 times as long as it took
_SCHEMA = """
CREATE TABLE IF NOT EXISTS evidence (
    control TEXT, tag TEXT, task_id INTEGER, text_hash BLOB, members TEXT, evidence BLOB,
    shown TEXT, PRIMARY KEY (control, tag, task_id));
CREATE TABLE IF NOT EXISTS committees (
    control TEXT, tag TEXT, members TEXT, PRIMARY KEY (control, tag));
"""
# Only rows of the committee as it was loaded last: with a member more or less none compare.
_ROWS = """
SELECT task_id, text_hash, members, evidence, shown
FROM committees JOIN evidence USING (control, tag, members) WHERE control = ? AND tag = ?"""


@dataclass(frozen=True)
class Shown:
    """What Label Studio shows for one control of a task."""

    labels: tuple[str, ...]
    score: float
    hard: bool


@dataclass(frozen=True)
class Row:
    """Evidence of one task, packed (`Evidence.pack`); `members` are those that voted."""

    task_id: int
    text_hash: bytes
    members: tuple[str, ...]
    evidence: bytes = field(repr=False)
    shown: Shown | None = None


def text_hash(text: str) -> bytes:
    """16 bytes that tell whether a task's text is still the one that was observed."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:_HASH_BYTES]


class EvidenceStore:
    """Evidence of all projects; files are opened on first use."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[int, DatabaseFile] = {}
        self._counted: dict[int, tuple[int, float]] = {}
        self._lock = threading.Lock()

    def put(self, project_id: int, control: str, tag: str, rows: Sequence[Row]) -> None:
        """Store rows, all of the same members; they replace those of the same tasks."""
        if not rows:
            return
        packed = [(control, tag, *_pack(row)) for row in rows]
        committee = (control, tag, json.dumps(rows[-1].members))

        def write(db: Any) -> None:
            db.execute("INSERT OR REPLACE INTO committees VALUES (?, ?, ?)", committee)
            db.executemany("INSERT OR REPLACE INTO evidence VALUES (?, ?, ?, ?, ?, ?, ?)", packed)

        self._file(project_id).use(write, None)

    def show(self, project_id: int, control: str, tag: str, shown: Mapping[int, Shown]) -> None:
        """Note what Label Studio shows for tasks that have evidence."""
        rows = [(json.dumps(one.__dict__), control, tag, task) for task, one in shown.items()]
        statement = "UPDATE evidence SET shown = ? WHERE control = ? AND tag = ? AND task_id = ?"
        if rows:
            self._file(project_id).use(lambda db: db.executemany(statement, rows), None)

    def read(
        self, project_id: int, control: str, tag: str, task_ids: Collection[int] | None = None
    ) -> list[Row]:
        """The rows of some tasks, or of all, ascending by task; unknown ones are left out.

        All rows have the same members: those that the committee had when it was used last.
        """
        if task_ids is None:
            return [row for chunk in self.chunks(project_id, control, tag) for row in chunk]
        found: list[Row] = []
        for some, marks in _batches(task_ids):
            query = f"{_ROWS} AND task_id IN ({marks}) ORDER BY task_id"
            found += map(_unpack, self._run(project_id, query, control, tag, *some))
        return found

    def chunks(
        self, project_id: int, control: str, tag: str, size: int = _CHUNK
    ) -> Iterator[list[Row]]:
        """All rows as `read` gives them, at most `size` at a time."""
        query = f"{_ROWS} AND task_id > ? ORDER BY task_id LIMIT ?"
        after = -1
        while rows := self._run(project_id, query, control, tag, after, size):
            yield [_unpack(row) for row in rows]
            after = rows[-1][0]

    def task_ids(self, project_id: int) -> set[int]:
        """All tasks of which something is stored."""
        rows = self._run(project_id, "SELECT DISTINCT task_id FROM evidence")
        return {int(row[0]) for row in rows}

    def count(self, project_id: int) -> int:
        """How many tasks that are; where they are many, as of some seconds ago.

        The scheduler asks every second, and SQLite reads its whole index for it.
        """
        known, until = self._counted.get(project_id, (0, 0.0))
        started = time.monotonic()
        if started < until:
            return known
        rows = self._run(project_id, "SELECT COUNT(DISTINCT task_id) FROM evidence")
        counted = int(rows[0][0]) if rows else 0
        if counted >= _MANY:
            self._counted[project_id] = counted, started + 20 * (time.monotonic() - started)
        return counted

    def forget(self, project_id: int, task_ids: Iterable[int]) -> None:
        """Remove what is known of tasks that were deleted."""
        for some, marks in _batches(task_ids):
            statement = f"DELETE FROM evidence WHERE task_id IN ({marks})"
            self._run(project_id, statement, *some)

    def prune(self, project_id: int, kept_tags: Iterable[str]) -> None:
        """Remove the rows of tags that are not kept; later rows use their space."""
        kept = set(kept_tags)
        for (tag,) in self._run(project_id, "SELECT DISTINCT tag FROM committees"):
            if tag not in kept:
                while self._delete_some(project_id, tag):
                    pass

    def close(self) -> None:
        """Close all files; the next use opens them again."""
        with self._lock:
            for file in self._files.values():
                file.close()

    def _file(self, project_id: int) -> DatabaseFile:
        with self._lock:
            if project_id not in self._files:
                path = self._folder / f"{project_id}.sqlite3"
                self._files[project_id] = DatabaseFile(path, _SCHEMA)
            return self._files[project_id]

    def _delete_some(self, project_id: int, tag: str) -> int:
        """Delete a chunk of a tag's rows, so that no prediction waits long; how many it were."""
        some = (
            "DELETE FROM evidence WHERE rowid IN (SELECT rowid FROM evidence WHERE tag = ? LIMIT ?)"
        )

        def delete(db: Any) -> int:
            gone = int(db.execute(some, (tag, _CHUNK)).rowcount)
            if not gone:
                db.execute("DELETE FROM committees WHERE tag = ?", (tag,))
            return gone

        return self._file(project_id).use(delete, 0)

    def _run(self, project_id: int, statement: str, *values: object) -> list[Any]:
        return self._file(project_id).use(lambda db: db.execute(statement, values).fetchall(), [])


def _batches(task_ids: Iterable[int]) -> Iterator[tuple[list[int], str]]:
    """Distinct ids, ascending, as many as one statement takes, each with its placeholders."""
    ids = sorted(set(task_ids))
    for start in range(0, len(ids), _VARIABLES):
        some = ids[start : start + _VARIABLES]
        yield some, ", ".join("?" * len(some))


def _pack(row: Row) -> tuple[object, ...]:
    shown = None if row.shown is None else json.dumps(row.shown.__dict__)
    return row.task_id, row.text_hash, json.dumps(row.members), row.evidence, shown


def _unpack(row: Sequence[Any]) -> Row:
    task_id, digest, members, evidence, shown = row
    return Row(task_id, digest, tuple(json.loads(members)), evidence, _shown(shown))


def _shown(raw: str | None) -> Shown | None:
    if raw is None:
        return None
    row = json.loads(raw)
    return Shown(tuple(row["labels"]), row["score"], row["hard"])
