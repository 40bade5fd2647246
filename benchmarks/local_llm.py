"""A local server with OpenAI's wire format whose answers are a function of the request."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Decide = Callable[[Mapping[str, Any]], Mapping[str, Any] | None]
"""The completion that answers a request; None for what it cannot answer."""


@contextmanager
def serve(decide: Decide) -> Iterator[str]:
    """Serve on a free port of this machine; yields the base URL.

    `decide` runs in many threads. What it does not answer, and any other path, is a 404.
    """

    class Handler(_Handler):
        answer = staticmethod(decide)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def completion(
    request: Mapping[str, Any], text: str, sent: int, written: int, **cache: int
) -> dict[str, Any]:
    """A whole completion; `cache` may hold cached_tokens and cache_write_tokens."""
    return {
        "id": "local",
        "object": "chat.completion",
        "created": 0,
        "model": request["model"],
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text},
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": sent,
            "completion_tokens": written,
            "total_tokens": sent + written,
            "prompt_tokens_details": cache,
        },
    }


class _Handler(BaseHTTPRequestHandler):
    """POST /v1/chat/completions."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # one packet an answer: else two meet Nagle's delay of 40 ms
    answer: Decide

    def do_POST(self) -> None:  # noqa: N802 - the base class's name
        """Answer one request."""
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        known = self.path == "/v1/chat/completions"
        answer = self.answer(request) if known else None
        if answer is None:
            self._send(404, {"error": {"message": "unknown sample", "type": "not_found"}})
        else:
            self._send(200, answer)

    def _send(self, status: int, body: Mapping[str, Any]) -> None:
        raw = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: hundreds of requests."""
