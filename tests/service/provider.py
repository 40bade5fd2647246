"""A local LLM provider: a real HTTP server that speaks both wire formats, by script.

What it says is a queue of scenes, or a function of the request; it keeps every request, and counts
what it bills. It checks what the real ones check first: the path, and the key's header.
"""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from provider_batches import ProviderBatches
from scenes import Scene, claude_message, openai_completion, says

KEY = "sk-secret-0123456789"


class Provider:
    """The server; `calls` counts requests, `requests` keeps their JSON bodies.

    `billed` are the scenes it wants to be paid for, whether the client heard of them or not.
    """

    def __init__(self, port: int = 0) -> None:
        self.scenes: deque[Scene] = deque()
        self.decide: Callable[[dict[str, Any]], Scene] | None = None
        self.requests: list[dict[str, Any]] = []
        self.billed: list[Scene] = []
        self.most_at_once = 0
        self.batches = ProviderBatches(self._scene, lambda: self.url)
        self._at_once = 0
        self._lock = threading.Lock()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                owner.serve(self)

            def do_GET(self) -> None:
                owner.serve(self)

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def __enter__(self) -> Provider:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        """The address without a path, as the Anthropic SDK wants it."""
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def calls(self) -> int:
        """How many requests came in."""
        return len(self.requests)

    def serve(self, http: BaseHTTPRequestHandler) -> None:
        """Answer one request by the next scene."""
        raw = http.rfile.read(int(http.headers["content-length"] or 0))
        with self._lock:
            found = self.batches.answer(http, raw)
        if found is not None:
            _write(http, found[0], found[1])
            return
        body = json.loads(raw)
        with self._lock:
            self.requests.append(body)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            scene = self._scene(body)
            if scene.bills:
                self.billed.append(scene)
        try:
            time.sleep(scene.delay_s)
            self._send(http, body, scene)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the client gave up, as a timeout scene wants it to
        finally:
            with self._lock:
                self._at_once -= 1

    def _scene(self, body: dict[str, Any]) -> Scene:
        return self.decide(body) if self.decide else self.scenes.popleft()

    def _send(self, http: BaseHTTPRequestHandler, body: dict[str, Any], scene: Scene) -> None:
        if scene.hang_up:
            http.close_connection = True
            return
        claude = http.path == "/v1/messages"
        key = http.headers["authorization"] or http.headers["x-api-key"]
        if not claude and http.path != "/v1/chat/completions":
            scene = Scene(404)
        elif KEY not in (key or ""):
            scene = Scene(401, message=f"Incorrect API key provided: {key}")
        if scene.status == 200:
            data = claude_message(body, scene) if claude else openai_completion(body, scene)
        else:
            data = {"error": {"type": scene.code, "code": scene.code, "message": scene.message}}
        payload = json.dumps(data).encode() if scene.raw is None else scene.raw
        if "date" in scene.headers:  # a clock of its own
            http.send_response_only(scene.status)
        else:
            http.send_response(scene.status)
        for name, value in {"content-type": "application/json", **scene.headers}.items():
            http.send_header(name, value)
        http.send_header("content-length", str(len(payload)))
        http.end_headers()
        http.wfile.write(payload[: len(payload) // 2] if scene.cut else payload)
        http.close_connection = scene.cut


def _write(http: BaseHTTPRequestHandler, status: int, answer: Any) -> None:
    """Send JSON, or a text as it is."""
    payload = (answer if isinstance(answer, str) else json.dumps(answer)).encode()
    http.send_response(status)
    http.send_header("content-type", "application/json")
    http.send_header("content-length", str(len(payload)))
    http.end_headers()
    http.wfile.write(payload)


__all__ = ["KEY", "Provider", "Scene", "says"]
