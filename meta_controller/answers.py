"""The stored answers of a project: an answered question is never asked again.

Keyed by all that an answer is about: prompt version, model, control, labels with their
descriptions, guideline, text, and which of several askings it was. Not by how it was asked: runs,
tags, company in the prompt, aliases, and the examples, which every answer of a person may change
and which must not make paid answers worthless. Failures are never stored.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata

from redis import Redis
from redis.client import Pipeline

from meta_controller.language_model import NO_TOKENS, LanguageModel, Question, Reply
from meta_controller.prompt import PROMPT_VERSION


def normalise(text: str) -> str:
    """Make texts equal that differ in whitespace or Unicode composition only."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def answer_key(model: LanguageModel, question: Question) -> str:
    """The SHA-256 (hex) under which the model's answer to the question is stored."""
    parts = (
        PROMPT_VERSION,
        model.provider,
        model.model,
        question.control,
        question.labels.to_json(),
        question.guideline,
        question.descriptions,
        question.draw,
        normalise(question.text),
    )
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


class Answers:
    """One Redis hash per project; expects a client with `decode_responses=True`."""

    def __init__(self, redis: Redis, project_id: int) -> None:
        self._redis = redis
        self._project_id = project_id

    @property
    def key(self) -> str:
        """The hash: answer key -> JSON of labels, reason, model and confidence."""
        return f"aa:project:{self._project_id}:answers"

    def get(self, answer_key: str) -> Reply | None:
        """The stored reply, with no tokens and no latency: it costs nothing now."""
        stored = self._redis.hget(self.key, answer_key)
        if not isinstance(stored, str):
            return None
        data = json.loads(stored)
        labels, confidence = tuple(data["labels"]), data.get("confidence")
        return Reply(labels, data["reason"], NO_TOKENS, 0.0, data["model"], confidence)

    def put(self, pipe: Pipeline, answer_key: str, reply: Reply) -> None:
        """Store a reply as part of the caller's transaction."""
        data = {
            "labels": reply.labels,
            "reason": reply.reason,
            "model": reply.model,
            "confidence": reply.confidence,
        }
        pipe.hset(self.key, answer_key, json.dumps(data))
