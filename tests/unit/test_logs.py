"""A line of the logs, as text and as JSON: what it says, and of what it is about."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backend import logs

ROOT = Path(__file__).parents[2]


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """What a logger of our own writes; `formatted` chooses the form."""
    yield io.StringIO()
    logs.tell()


def formatted(stream: io.StringIO, formatter: logging.Formatter) -> logging.Logger:
    logger = logging.Logger("backend.tested")
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    logger.addHandler(handler)
    return logger


def objects(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_of_json_has_time_level_logger_message_and_what_it_is_about(
    stream: io.StringIO,
) -> None:
    logs.tell(request_id="r-1")
    formatted(stream, logs.JsonLines()).warning("task %d", 7, extra={"fields": {"ms": 1.5}})
    (row,) = objects(stream)
    assert row.pop("time").endswith("Z")
    assert row == {
        "level": "WARNING",
        "logger": "backend.tested",
        "message": "task 7",
        "request_id": "r-1",
        "ms": 1.5,
    }


def test_an_exception_is_a_field_and_takes_no_line_of_its_own(stream: io.StringIO) -> None:
    logger = formatted(stream, logs.JsonLines())
    try:
        raise ValueError("a\nb")
    except ValueError:
        logger.exception("failed")
    (row,) = objects(stream)
    assert row["message"] == "failed"
    assert "Traceback" in row["exception"]
    assert row["exception"].endswith("ValueError: a\nb")


@pytest.mark.parametrize("formatter", [logs.TextLines(), logs.JsonLines()])
def test_a_message_stays_on_its_line_without_colours(
    stream: io.StringIO, formatter: logging.Formatter
) -> None:
    formatted(stream, formatter).info("\x1b[32mdone\x1b[39;49;00m\nINFO forged: %s", "\r\n")
    (line,) = stream.getvalue().splitlines()
    assert "done\\nINFO forged" in line
    assert "\x1b" not in line and "u001b" not in line


def test_a_line_of_text_ends_with_what_it_is_about(stream: io.StringIO) -> None:
    logger = formatted(stream, logs.TextLines())
    with logs.job(job_id="j", job="review", project=7):
        logger.info("one")
    logger.info("two")
    one, two = stream.getvalue().splitlines()
    assert one.endswith("INFO    backend.tested: one [job_id=j job=review project=7]")
    assert two.endswith("INFO    backend.tested: two")


def test_threads_of_a_job_write_about_it_but_for_those_that_told_their_own(
    stream: io.StringIO,
) -> None:
    logger = formatted(stream, logs.JsonLines())

    def scheduler() -> None:
        logs.tell(job="scheduler")
        logger.info("ticked")

    with logs.job(job_id="j"):
        for work in (lambda: logger.info("asked"), scheduler, lambda: logger.info("again")):
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
    told = {row["message"]: (row.get("job_id"), row.get("job")) for row in objects(stream)}
    assert told == {"asked": ("j", None), "ticked": (None, "scheduler"), "again": ("j", None)}


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", f"import logging\nfrom backend import logs\n{code}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.stderr


def test_at_debug_our_own_loggers_are_heard_and_libraries_from_warning_on() -> None:
    said = run(
        "logs.configure('DEBUG')\n"
        "for name in ('backend.x', 'training.x', 'httpx', 'openai', 'a.new.library'):\n"
        "    logging.getLogger(name).debug('whisper of %s', name)\n"
        "    logging.getLogger(name).warning('word of %s', name)\n"
    )
    assert said.count("word of") == 5
    assert {line.split()[-1] for line in said.splitlines() if "whisper" in line} == {
        "backend.x",
        "training.x",
    }


def test_what_nobody_caught_and_warnings_are_lines_of_json_too() -> None:
    said = run(
        "import threading, warnings\n"
        "logs.configure('INFO', 'json')\n"
        "warnings.warn('old')\n"
        "def fail(): raise KeyError('in a thread')\n"
        "thread = threading.Thread(target=fail); thread.start(); thread.join()\n"
        "raise KeyError('in the main one')\n"
    )
    rows = [json.loads(line) for line in said.splitlines()]
    assert [row["level"] for row in rows] == ["WARNING", "CRITICAL", "CRITICAL"]
    assert [("exception" in row) for row in rows] == [False, True, True]
