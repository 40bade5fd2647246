"""The backend as fuzzing asks it: the real app over a real Redis, and what every answer must be."""

from __future__ import annotations

import io
import json
import os
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tiny_models
from machine import Machine

from backend.web.app import create_app

INPUTS: Counter[str] = Counter()
"""How many requests each target sent."""

SECRET_TEXT = "zq7" + "-what-a-person-wrote" * 3 + "-q9x"
"""Stands in texts and data; an error that shows it shows more than a short value."""

HANG_S = 60.0
"""Far more than any answer takes, also on a busy machine: what is over it hangs."""

_ERROR_BYTES = 2000  # with a few short values
_LABELS = ("negative", "neutral", "positive")


@dataclass(frozen=True)
class Answer:
    """What the app said."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)


class Served:
    """An app in this process; a context manager."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self._machine = Machine(folder, LOG_LEVEL="ERROR", RUNTIME="torch-fp32", **settings)

    def __enter__(self) -> Served:
        self._machine.__enter__()
        self.wiring = self._machine.wiring
        self.app = create_app(self.wiring)
        return self

    def __exit__(self, *error: object) -> None:
        self.wiring.evidence.close()
        self._machine.__exit__(*error)

    def ask(
        self,
        target: str,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        chunked: bool = False,
    ) -> Answer:
        """Send one request and check what holds for every answer."""
        INPUTS[target] += 1
        before, started = self._state(), time.monotonic()
        answer = self._call(method, path, body, headers or {}, chunked)
        assert time.monotonic() - started < HANG_S, f"{path} hangs"
        check(method, answer)
        if answer.status >= 400:
            assert self._state() == before, f"{answer.status}, and yet something was written"
        return answer

    def post(self, target: str, path: str, body: Any) -> Answer:
        """POST JSON; halves of surrogate pairs are sent escaped, as JSON allows."""
        return self.ask(target, "POST", path, json.dumps(body).encode())

    def _call(
        self, method: str, path: str, body: bytes, headers: Mapping[str, str], chunked: bool
    ) -> Answer:
        path, _, query = path.partition("?")
        environ: dict[str, Any] = {
            "REQUEST_METHOD": method,
            "SCRIPT_NAME": "",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "SERVER_NAME": "127.0.0.1",
            "SERVER_PORT": "9090",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(body),
            "wsgi.errors": io.StringIO(),
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        if chunked:
            environ.update({"wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"})
        else:
            environ["CONTENT_LENGTH"] = str(len(body))
        for name, value in headers.items():
            key = name.upper().replace("-", "_")
            plain = key in ("CONTENT_TYPE", "CONTENT_LENGTH")
            environ[key if plain else f"HTTP_{key}"] = value
        said: dict[str, Any] = {}

        def start_response(status: str, rows: list[tuple[str, str]], *_: Any) -> None:
            said.update(status=int(status[:3]), headers={k.lower(): v for k, v in rows})

        parts = self.app(environ, start_response)
        return Answer(said["status"], said["headers"], b"".join(parts))

    def _state(self) -> tuple[object, ...]:
        """Changes that Redis counted so far, and how many files there are."""
        changes = self.wiring.redis.info("persistence")["rdb_changes_since_last_save"]
        folders = (self.wiring.settings.data_dir / "evidence", self.wiring.settings.models)
        return changes, *(len(os.listdir(one)) if one.is_dir() else 0 for one in folders)


def check(method: str, answer: Answer) -> None:
    """What holds for every answer: no 5xx, and an error says what is wrong and what to do."""
    assert answer.status < 500, (answer.status, answer.body[:500])
    if answer.status < 400 or method == "HEAD":
        return
    error = answer.json
    assert set(error) == {"title", "description", "next_step"}, error
    assert all(isinstance(said, str) and said for said in error.values()), error
    assert len(answer.body) < _ERROR_BYTES
    assert SECRET_TEXT not in answer.body.decode()


def tiny_members(folder: Path) -> str:
    """Write three tiny classifiers; their folders as SPECIALISTS names them."""
    made = [tiny_models.publish(folder / f"member-{seed}", _LABELS, seed=seed) for seed in range(3)]
    return ",".join(map(str, made))
