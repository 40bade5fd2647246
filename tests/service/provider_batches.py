"""The batch APIs of the local provider, in both wire formats: it works when it is told to.

Requests of a batch are answered by the provider's own script; an error status is an error in the
results, and `Scene(code="expired")` a request that was never made.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from typing import Any

from scenes import Scene, claude_message, openai_completion

Answer = tuple[int, Any]


@dataclass
class Made:
    """One batch: its requests by custom id, and their results once it is over."""

    id: str
    claude: bool
    requests: dict[str, Any]
    metadata: Mapping[str, str] = field(default_factory=dict)
    at: float = field(default_factory=time.time)
    status: str = "in_progress"
    results: dict[str, Scene] = field(default_factory=dict)


class ProviderBatches:
    """`made` are the batches, `billed` the scenes to be paid for, at half the price.

    `decide` answers a request's body; `refuse` answers a creation instead, after the batch was
    made if `made_anyway`; `garbled` answers everything with a page of HTML.
    """

    def __init__(self, decide: Callable[[dict[str, Any]], Scene], url: Callable[[], str]) -> None:
        self.made: list[Made] = []
        self.billed: list[Scene] = []
        self.refuse: Scene | None = None
        self.made_anyway = False
        self.garbled = False
        self._decide = decide
        self._url = url
        self._files: dict[str, bytes] = {}

    def finish(self, status: str = "") -> None:
        """Work off what was created; or let it end as "expired", "cancelled" or "failed"."""
        for batch in self.made:
            if batch.status != "in_progress":
                continue
            batch.status = status or "completed"
            for custom_id, body in batch.requests.items():
                scene = Scene(code="expired", status=0) if status else self._decide(body)
                batch.results[custom_id] = scene
                if scene.bills:
                    self.billed.append(scene)

    def answer(self, http: BaseHTTPRequestHandler, raw: bytes) -> Answer | None:
        """The status and the JSON (or JSONL text) for a request; None when it is no batch's."""
        if self.garbled:
            return 200, "<html>Sign in</html>"
        path = http.path.split("?")[0].removeprefix("/v1")
        if path == "/files" and http.command == "POST":
            return self._upload(raw)
        if found := re.fullmatch(r"/files/(\w+)/content", path):
            return 200, self._files[found[1]].decode()
        if path in ("/batches", "/messages/batches"):
            claude = "messages" in path
            if http.command == "POST":
                return self._create(claude, json.loads(raw))
            rows = [self._row(one) for one in reversed(self.made)]
            ends = {"has_more": False, "first_id": None, "last_id": None}
            return 200, {"object": "list", "data": rows, **ends}
        found = re.fullmatch(r"(?:/messages)?/batches/(\w+)(/results)?", path)
        batch = next((one for one in self.made if found and one.id == found[1]), None)
        if found is None:
            return None
        if batch is None:
            return 404, {"error": {"type": "not_found_error", "message": "no such batch"}}
        return (200, _results(batch)) if found[2] else (200, self._row(batch))

    def _upload(self, raw: bytes) -> Answer:
        start = raw.index(b'{"custom_id"')
        name = f"file_{len(self._files)}"
        self._files[name] = raw[start : raw.index(b"\r\n--", start)]
        row = {"id": name, "object": "file", "bytes": len(raw), "created_at": 1}
        return 200, {**row, "filename": "x.jsonl", "purpose": "batch", "status": "processed"}

    def _create(self, claude: bool, body: dict[str, Any]) -> Answer:
        if claude:
            rows, metadata = body["requests"], {}
            requests = {row["custom_id"]: row["params"] for row in rows}
        else:
            lines = self._files[body["input_file_id"]].decode().splitlines()
            rows, metadata = [json.loads(line) for line in lines], body["metadata"]
            requests = {row["custom_id"]: row["body"] for row in rows}
        assert len(requests) == len(rows), "custom ids are unique"
        batch = Made(f"batch_{len(self.made)}", claude, requests, metadata)
        refuse, self.refuse = self.refuse, None
        if refuse is None or self.made_anyway:
            self.made.append(batch)
        if refuse:
            return refuse.status, {"error": {"type": refuse.code, "message": refuse.message}}
        return 200, self._row(batch)

    def _row(self, batch: Made) -> dict[str, Any]:
        return self._claude_row(batch) if batch.claude else self._openai_row(batch)

    def _claude_row(self, batch: Made) -> dict[str, Any]:
        ended = batch.status != "in_progress"
        kinds = [_claude_kind(scene) for scene in batch.results.values()]
        counts = {k: kinds.count(k) for k in ("succeeded", "errored", "canceled", "expired")}
        at = datetime.fromtimestamp(batch.at, UTC).isoformat()
        return {
            "id": batch.id,
            "type": "message_batch",
            "processing_status": "ended" if ended else "in_progress",
            "request_counts": {"processing": 0 if ended else len(batch.requests), **counts},
            "created_at": at,
            "expires_at": at,
            "ended_at": at if ended else None,
            "archived_at": None,
            "cancel_initiated_at": None,
            "results_url": f"{self._url()}/v1/messages/batches/{batch.id}/results",
        }

    def _openai_row(self, batch: Made) -> dict[str, Any]:
        outputs: dict[str, list[str]] = {"output_file_id": [], "error_file_id": []}
        for custom_id, scene in batch.results.items():
            kind = "output_file_id" if scene.status == 200 else "error_file_id"
            outputs[kind].append(_openai_line(custom_id, batch.requests[custom_id], scene))
        names = {}
        for kind, lines in outputs.items():
            names[kind] = f"{batch.id}_{kind}" if lines and batch.status != "failed" else None
            self._files[f"{batch.id}_{kind}"] = "\n".join(lines).encode()
        return {
            "id": batch.id,
            "object": "batch",
            "endpoint": "/v1/chat/completions",
            "input_file_id": "file_0",
            "completion_window": "24h",
            "created_at": int(batch.at),
            "status": batch.status,
            "metadata": dict(batch.metadata),
            **names,
        }


def _claude_kind(scene: Scene) -> str:
    if scene.status == 200:
        return "succeeded"
    return "expired" if scene.code == "expired" else "errored"


def _results(batch: Made) -> str:
    """Anthropic's results, not in the order of the requests."""
    lines = []
    for custom_id, scene in reversed(batch.results.items()):
        kind = _claude_kind(scene)
        result: dict[str, Any] = {"type": kind}
        if kind == "succeeded":
            result["message"] = claude_message(batch.requests[custom_id], scene)
        elif kind == "errored":
            error = {"type": scene.code or "api_error", "message": scene.message}
            result["error"] = {"type": "error", "error": error}
        lines.append(json.dumps({"custom_id": custom_id, "result": result}))
    return "\n".join(lines) + "\n"


def _openai_line(custom_id: str, body: dict[str, Any], scene: Scene) -> str:
    row: dict[str, Any] = {"id": "r", "custom_id": custom_id, "response": None, "error": None}
    if scene.code == "expired":
        row["error"] = {"code": "batch_expired", "message": "not in time"}
    elif scene.status == 200:
        row["response"] = {"status_code": 200, "body": openai_completion(body, scene)}
    else:
        error = {"error": {"code": scene.code, "message": scene.message}}
        row["response"] = {"status_code": scene.status, "body": error}
    return json.dumps(row)
