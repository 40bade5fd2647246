"""What was written to Label Studio: recorded with its reason where Label Studio carried it out."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from redis import Redis

from backend import writes
from backend.errors import Rejected
from backend.label_studio import LabelStudio
from backend.writes import Writes


class _Server(BaseHTTPRequestHandler):
    """Answers as Label Studio does: an import is counted, what names `refused` is refused."""

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        rows = json.loads(body) if body else {}
        told = {"id": 7, "created": len(rows) if isinstance(rows, list) else 0}
        raw = json.dumps(told).encode()
        self.send_response(400 if b"refused" in body else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    do_GET = do_POST = do_PATCH = _answer  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet."""


@pytest.fixture
def record(redis_socket: str) -> Iterator[Writes]:
    with Redis(unix_socket_path=redis_socket, decode_responses=True) as client:
        client.delete(writes.writes_key(7), writes.writes_key(8))
        yield Writes(client)


@pytest.fixture
def client(record: Writes) -> Iterator[LabelStudio]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        with LabelStudio(url, "a" * 40, on_write=record.note) as one:
            yield one
        server.shutdown()


def test_a_write_is_recorded_with_its_reason_and_without_its_content(
    client: LabelStudio, record: Writes
) -> None:
    record.because(7, "because of a test")
    client.project(7)
    client.import_predictions(7, [{"task": 1, "result": ["a secret text"]}, {"task": 2}])
    client.update_project(7, model_version="stage-1")
    patched, imported = record.last(7)
    assert (patched["method"], patched["path"]) == ("PATCH", "api/projects/7/")
    assert (imported["method"], imported["rows"]) == ("POST", 2)
    assert imported["reason"] == "because of a test" and imported["at"] <= patched["at"]
    assert "secret" not in json.dumps(record.last(7))
    assert "2 rows: because of a test" in writes.line(imported)


def test_what_was_refused_or_has_no_reason_is_no_write(client: LabelStudio, record: Writes) -> None:
    client.update_project(7, title="before anybody said why")
    record.because(7, "a reason")
    with pytest.raises(Rejected):
        client.update_project(7, title="refused")
    assert record.last(7) == []


def test_projects_have_records_of_their_own_and_a_bound(
    client: LabelStudio, record: Writes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writes, "KEPT", 5)
    for number in range(300):
        record.because(7, "many")
        record.note("PATCH", f"api/predictions/{number}/", 1)
    record.because(8, "the other")
    client.update_project(8, title="new")
    assert [one["reason"] for one in record.last(8)] == ["the other"]
    kept = record.last(7, count=1000)
    assert len(kept) < 300 and kept[0]["path"] == "api/predictions/299/"
