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
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from meta_controller.language_model import Tokens

KEY = "sk-secret-0123456789"
PATIENCE_S = 1.0
"""No test's client waits longer for an answer, but for those that say so."""


@dataclass(frozen=True)
class Scene:
    """One response: a status and what to answer, or an error with its code and words."""

    status: int = 200
    answer: str = ""
    stop: str = ""
    refusal: str = ""
    code: str = ""
    message: str = "as scripted"
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    sent: int = 100
    written: int = 20
    cached: int = 0  # of the tokens that were sent
    stored: int = 0
    delay_s: float = 0.0
    hang_up: bool = False
    cut: bool = False  # the connection ends in the middle of the body

    @property
    def bills(self) -> bool:
        """Whether the provider made an answer, and will be paid for it."""
        return self.status == 200

    @property
    def told(self) -> bool:
        """Whether the client learns what it is billed."""
        lost = self.hang_up or self.cut or self.raw is not None or self.delay_s >= PATIENCE_S
        return self.bills and not lost

    @property
    def tokens(self) -> Tokens:
        """What is billed."""
        return Tokens(self.sent, self.written, self.cached, self.stored)


def says(label: str, reason: str = "because", **more: Any) -> Scene:
    """A valid answer."""
    return Scene(answer=json.dumps({"label": label, "reason": reason}), **more)


class Provider:
    """The server; `calls` counts requests, `requests` keeps their JSON bodies.

    `billed` are the scenes it wants to be paid for, whether the client heard of them or not.
    """

    def __init__(self) -> None:
        self.scenes: deque[Scene] = deque()
        self.decide: Callable[[dict[str, Any]], Scene] | None = None
        self.requests: list[dict[str, Any]] = []
        self.billed: list[Scene] = []
        self.most_at_once = 0
        self._at_once = 0
        self._lock = threading.Lock()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                owner.serve(self)

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
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
        body = json.loads(http.rfile.read(int(http.headers["content-length"])))
        with self._lock:
            self.requests.append(body)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            scene = self.decide(body) if self.decide else self.scenes.popleft()
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
            data = _claude(body, scene) if claude else _openai(body, scene)
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


def _claude(body: dict[str, Any], scene: Scene) -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": body["model"],
        "content": [{"type": "text", "text": scene.answer}] if scene.answer else [],
        "stop_reason": scene.stop or "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": scene.sent - scene.cached - scene.stored,
            "cache_read_input_tokens": scene.cached,
            "cache_creation_input_tokens": scene.stored,
            "output_tokens": scene.written,
        },
    }


def _openai(body: dict[str, Any], scene: Scene) -> dict[str, Any]:
    message = {
        "role": "assistant",
        "content": scene.answer or None,
        "refusal": scene.refusal or None,
    }
    choice = {"index": 0, "message": message, "finish_reason": scene.stop or "stop"}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": body["model"],
        "choices": [choice],
        "usage": {
            "prompt_tokens": scene.sent,
            "completion_tokens": scene.written,
            "total_tokens": scene.sent + scene.written,
            "prompt_tokens_details": {
                "cached_tokens": scene.cached,
                "cache_write_tokens": scene.stored,
            },
        },
    }
