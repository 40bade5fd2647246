"""What the local provider answers: scenes, and how they look in each wire format."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from meta_controller.language_model import Tokens

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
    logprobs: tuple[tuple[str, float], ...] = ()  # the answer's tokens, told where asked for
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


def claude_message(body: dict[str, Any], scene: Scene) -> dict[str, Any]:
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


def openai_completion(body: dict[str, Any], scene: Scene) -> dict[str, Any]:
    message = {
        "role": "assistant",
        "content": scene.answer or None,
        "refusal": scene.refusal or None,
    }
    choice: dict[str, Any] = {
        "index": 0,
        "message": message,
        "finish_reason": scene.stop or "stop",
    }
    if body.get("logprobs") and scene.logprobs:
        told = [
            {"token": token, "bytes": list(token.encode()), "logprob": chance, "top_logprobs": []}
            for token, chance in scene.logprobs
        ]
        choice["logprobs"] = {"content": told, "refusal": None}
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
