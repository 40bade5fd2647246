"""One SQLite file whose content can be lost: a damaged one is moved aside and begun anew.

One connection a process, used by one thread at a time. It knows files, locks and errors; nothing of
what is stored.
"""

from __future__ import annotations

import fcntl
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

logger = logging.getLogger(__name__)

_T = TypeVar("_T")
_BUSY_S = 10.0  # another process writes some thousand rows at once, well under a second
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class DatabaseFile:
    """A SQLite file with a schema; `use` never raises for what can happen to a disk."""

    def __init__(self, path: Path, schema: str) -> None:
        self._path = path
        self._schema = schema
        self._lock = threading.Lock()
        self._db: sqlite3.Connection | None = None
        self._inode = 0

    def use(self, work: Callable[[sqlite3.Connection], _T], otherwise: _T) -> _T:
        """Run `work` in a transaction; `otherwise` when the file cannot be used now.

        The log says why: a full or read-only disk, a lock that is not given up, damage.
        """
        with self._lock:
            for _ in range(2):  # a damaged file is replaced, and the work tried once more
                try:
                    with self._connection() as db:
                        return work(db)
                except (sqlite3.Error, OSError) as error:
                    logger.warning("%s: cannot be used: %s", self._path.name, error)
                    self._close()
                    if not _is_damage(error) or not self._set_aside():
                        break
        return otherwise

    def close(self) -> None:
        """Close the connection; the next use opens it again."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None

    def _connection(self) -> sqlite3.Connection:
        """The open connection, or a new one where the file was replaced under us."""
        if self._db is not None and self._inode == self._inode_now():
            return self._db
        self._close()
        with self._guard():
            self._path.touch()
            self._inode = self._inode_now()
            self._db = sqlite3.connect(self._path, timeout=_BUSY_S, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")  # a crash may lose the last rows only
            self._db.executescript(self._schema)
        return self._db

    def _set_aside(self) -> bool:
        """Move the damaged file away unless another process did; false when it cannot be moved."""
        try:
            with self._guard():
                if self._inode == self._inode_now():
                    aside = f"{self._path.name}.damaged-{time.time_ns()}"
                    # Its journal goes first: a new file must not meet it.
                    for suffix in ("-wal", "-shm", ""):
                        part = self._path.with_name(self._path.name + suffix)
                        if part.exists():
                            part.rename(self._path.with_name(aside + suffix))
                    logger.warning("%s: damaged, moved to %s; begun anew", self._path.name, aside)
        except OSError as error:
            logger.warning("%s: cannot be moved aside: %s", self._path.name, error)
            return False
        return True

    def _inode_now(self) -> int:
        """Tells this file from its replacement; 0 when there is none."""
        try:
            return self._path.stat().st_ino
        except FileNotFoundError:
            return 0

    @contextmanager
    def _guard(self) -> Iterator[None]:
        """One process at a time opens the file or moves it aside."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _is_damage(error: Exception) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in _DAMAGED
