"""A local LLM that takes its time: OpenAI's wire format, the gold label as its answer.

Tokens are the server's `usage`: characters / 4, OpenAI's rule of thumb for English. It shows what
waiting for a provider costs; how well a real LLM answers is `benchmarks.replay`'s matter.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_CHARS_PER_TOKEN = 4
_REASON = "The words leave little doubt about what the writer wants to say."


@contextmanager
def serve(answers: Mapping[str, str], delay_s: float) -> Iterator[str]:
    """Serve on a free port of this machine; yields the base URL.

    `answers` maps the sample as the prompt has it to a label; any other question is a 404.
    """

    class Handler(_Handler):
        known = answers
        takes_s = delay_s

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


class _Handler(BaseHTTPRequestHandler):
    """POST /v1/chat/completions."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # one packet an answer: else two meet Nagle's delay of 40 ms
    known: Mapping[str, str] = {}
    takes_s = 0.0

    def do_POST(self) -> None:  # noqa: N802 - the base class's name
        """Answer after the delay."""
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        label = self.known.get(request["messages"][-1]["content"])
        if self.path != "/v1/chat/completions" or label is None:
            self._send(404, {"error": {"message": "unknown sample", "type": "not_found"}})
            return
        time.sleep(self.takes_s)
        self._send(200, _completion(request, label))

    def _send(self, status: int, body: dict[str, Any]) -> None:
        raw = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: hundreds of requests."""


def _completion(request: dict[str, Any], label: str) -> dict[str, Any]:
    answer = json.dumps({"label": label, "reason": _REASON})
    asked = sum(len(message["content"]) for message in request["messages"]) // _CHARS_PER_TOKEN
    said = len(answer) // _CHARS_PER_TOKEN
    message = {"role": "assistant", "content": answer}
    return {
        "id": "local",
        "object": "chat.completion",
        "created": 0,
        "model": request["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {
            "prompt_tokens": asked,
            "completion_tokens": said,
            "total_tokens": asked + said,
        },
    }
