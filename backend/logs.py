"""Logging for the doors: one line a record on stderr, as text or as JSON, and what it is about.

What a line is about is the request that the web process answers or the job that a worker does. It
never holds task text, keys or headers: our own messages name ids and counts, and libraries, which
write bodies and headers at DEBUG, are heard from WARNING on whatever LOG_LEVEL says.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

About = Mapping[str, str | int]

_OURS = ("_wsgi", "backend", "meta_controller", "training", "specialists")
# Its own loggers have handlers of their own, which the root's level does not reach.
_LIBRARIES = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "TRANSFORMERS_VERBOSITY": "error"}

_COLOUR = re.compile(r"\x1b\[[\d;]*m")  # RQ's, meant for terminals

_about: ContextVar[About | None] = ContextVar("about", default=None)
_job: About = {}  # a worker does one at a time; threads that it starts have no context of their own


def configure(level: str, form: str = "text") -> None:
    """Set up the root logger once (`form` is text or json); later calls only change the level."""
    for name, value in _LIBRARIES.items():
        os.environ.setdefault(name, value)
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if form == "json" else TextLines())
    logging.basicConfig(handlers=[handler])  # leaves a root logger that has handlers alone
    logging.getLogger().setLevel(logging.WARNING)
    for name in _OURS:
        logging.getLogger(name).setLevel(level)
    if form == "json":
        logging.captureWarnings(True)
        sys.excepthook = _uncaught
        threading.excepthook = lambda told: _uncaught(
            told.exc_type, told.exc_value or told.exc_type(), told.exc_traceback
        )


def tell(**about: str | int) -> None:
    """What the lines of this thread are about from now on; nothing without arguments."""
    _about.set(about)


@contextmanager
def job(**about: str | int) -> Iterator[None]:
    """What the lines of this process are about meanwhile, but for threads that told their own."""
    global _job
    _job = about
    before = _about.set(about)
    try:
        yield
    finally:
        _about.reset(before)
        _job = {}


def about() -> About:
    """What a line written now is about."""
    own = _about.get()
    return _job if own is None else own


class TextLines(logging.Formatter):
    """Lines for people: time, level, logger, message, what it is about; a trace on more lines."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Keep a record on its line, whatever its message holds."""
        line = _COLOUR.sub("", super().formatMessage(record))
        line = line.replace("\r", "\\r").replace("\n", "\\n")
        told = " ".join(f"{name}={value}" for name, value in about().items())
        return f"{line} [{told}]" if told else line


class JsonLines(logging.Formatter):
    """One JSON object a line: time (UTC), level, logger, message, what it is about, exception.

    What a caller gives as `extra={"fields": {...}}` stands beside these.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The record as a line."""
        at = datetime.fromtimestamp(record.created, UTC)
        row: dict[str, Any] = {
            "time": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": _COLOUR.sub("", record.getMessage()),
            **about(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            row["exception"] = self.formatException(record.exc_info)
        return json.dumps(row, default=str)


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if not issubclass(kind, KeyboardInterrupt | SystemExit):
        logging.getLogger("backend").critical("not caught", exc_info=(kind, error, trace))
