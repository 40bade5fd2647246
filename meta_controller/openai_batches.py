"""OpenAI's Batch API behind `BatchApi`: a file of requests, a batch, files of results.

Source: https://developers.openai.com/api/docs/guides/batch (50,000 requests or 200 MB a batch).
A file that was uploaded for a batch that was never created stays with the provider, unpaid.
Imports the SDK, so the web process never imports this module.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, Literal

from openai import OpenAIError
from openai.types import Batch as Made
from openai.types.chat import ChatCompletion

from meta_controller.batch_store import Batch
from meta_controller.batches import Brought
from meta_controller.errors import LanguageModelError, Retryable, from_status
from meta_controller.language_model import Prompt
from meta_controller.openai_model import OpenAIModel, translate
from meta_controller.wire import UPLOAD_S, broken_reply, speaking

_ENDPOINT: Literal["/v1/chat/completions"] = "/v1/chat/completions"
_OURS = "autoannotator"  # the metadata's field for our key
_SKEW_S = 3600.0  # how far the provider's clock may be from ours
_OVER = ("completed", "expired", "cancelled")


class OpenAIBatches:
    """The batches of one model's account."""

    def __init__(self, model: OpenAIModel) -> None:
        self._model = model
        self._client = model.client.with_options(timeout=UPLOAD_S)

    def create(self, batch: Batch, prompts: Mapping[str, Prompt]) -> str:
        """Upload the prompts and start; see `BatchApi`."""
        lines = (self._line(one, prompt) for one, prompt in prompts.items())
        file = (f"{batch.key}.jsonl", "\n".join(lines).encode())
        with self._speaking():
            uploaded = self._client.files.create(file=file, purpose="batch")
            if not getattr(uploaded, "id", ""):
                raise broken_reply(self._model.who)
            made = self._client.batches.create(
                input_file_id=uploaded.id,
                endpoint=_ENDPOINT,
                completion_window="24h",
                metadata={_OURS: batch.key},
            )
            return self._checked(made).id

    def _line(self, custom_id: str, prompt: Prompt) -> str:
        body = self._model.batched(prompt)
        request = {"custom_id": custom_id, "method": "POST", "url": _ENDPOINT, "body": body}
        return json.dumps(request)

    def find(self, batch: Batch) -> str | None:
        """Look for the batch that carries our key; see `BatchApi`."""
        with self._speaking():
            for made in self._client.batches.list(limit=100):  # newest first
                if self._checked(made).created_at < batch.at - _SKEW_S:
                    return None
                if (made.metadata or {}).get(_OURS) == batch.key:
                    return made.id
        return None

    def results(self, batch: Batch) -> Iterator[tuple[str, Brought]] | None:
        """Read what ended; see `BatchApi`."""
        with self._speaking():
            made = self._checked(self._client.batches.retrieve(batch.id))
            if made.status == "failed":  # it was not even begun
                return ((one, self._not_made("failed")) for one in batch.sent)
            if made.status not in _OVER:
                return None
            files = [file for file in (made.output_file_id, made.error_file_id) if file]
            texts = [self._client.files.content(file).text for file in files]
            rows = [json.loads(line) for text in texts for line in text.splitlines() if line]
            found = {str(row["custom_id"]): self._result(row) for row in rows}
        missing = {} if made.status == "completed" else dict.fromkeys(batch.sent.keys() - found)
        return iter({**dict.fromkeys(missing, self._not_made(made.status)), **found}.items())

    def _result(self, row: Mapping[str, Any]) -> Brought:
        response = row.get("response")
        if not response:  # batch_expired, batch_cancelled
            return self._not_made("expired")
        status, body = int(response["status_code"]), response["body"]
        if status != 200:
            key = "OPENAI_API_KEY"
            return from_status(self._model.who, status, key_name=key, body=str(body), headers={})
        try:
            return self._model.read(ChatCompletion.model_validate(body), 0.0)
        except LanguageModelError as error:
            return error

    def _not_made(self, why: str) -> Retryable:
        return Retryable(f"{self._model.who}: {why} in a batch: ask again", why)

    def _checked(self, made: Made) -> Made:
        if not isinstance(made, Made) or not made.id or not made.status:
            raise broken_reply(self._model.who)
        return made

    def _speaking(self) -> AbstractContextManager[None]:
        return speaking(self._model.who, OpenAIError, translate)
