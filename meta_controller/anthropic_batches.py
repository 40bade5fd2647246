"""Anthropic's Message Batches behind `BatchApi`.

Source: https://platform.claude.com/docs/en/build-with-claude/batch-processing (100,000 requests or
256 MB a batch, results for 29 days). Imports the SDK, so the web process never imports this module.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager

from anthropic import AnthropicError
from anthropic.types.messages import (
    MessageBatch,
    MessageBatchIndividualResponse,
    MessageBatchRequestCounts,
)
from anthropic.types.messages.batch_create_params import Request

from meta_controller.anthropic_model import AnthropicModel, translate
from meta_controller.batch_store import Batch
from meta_controller.batches import Brought
from meta_controller.errors import LanguageModelError, NoVerdict, Retryable
from meta_controller.language_model import Prompt
from meta_controller.wire import UPLOAD_S, broken_reply, speaking

_SKEW_S = 3600.0  # how far the provider's clock may be from ours


class AnthropicBatches:
    """The batches of one model's account."""

    def __init__(self, model: AnthropicModel) -> None:
        self._model = model
        self._batches = model.client.messages.batches

    def create(self, batch: Batch, prompts: Mapping[str, Prompt]) -> str:
        """Send the prompts; see `BatchApi`."""
        requests = [
            Request(custom_id=one, params=self._model.batched(prompt))
            for one, prompt in prompts.items()
        ]
        with self._speaking():
            made = self._batches.create(requests=requests, timeout=UPLOAD_S)
            return self._checked(made).id

    def find(self, batch: Batch) -> str | None:
        """Look for a batch with our questions; one that has not ended shows only how many."""
        with self._speaking():
            for made in self._batches.list(limit=100):  # newest first
                if self._checked(made).created_at.timestamp() < batch.at - _SKEW_S:
                    return None
                if _size(made.request_counts) != len(batch.sent):
                    continue
                if made.processing_status != "ended":
                    text = f"{self._model.who}: a batch may be ours: wait for its end"
                    raise Retryable(text, "server error")
                if any(one.custom_id in batch.sent for one in self._batches.results(made.id)):
                    return made.id
        return None

    def results(self, batch: Batch) -> Iterator[tuple[str, Brought]] | None:
        """Read what ended; see `BatchApi`."""
        with self._speaking():
            made = self._checked(self._batches.retrieve(batch.id))
            if made.processing_status != "ended":
                return None
            rows = list(self._batches.results(batch.id))
        return ((one.custom_id, self._result(one)) for one in rows)

    def _result(self, row: MessageBatchIndividualResponse) -> Brought:
        who, result = self._model.who, row.result
        if result.type == "succeeded":
            try:
                return self._model.read(result.message, 0.0)
            except LanguageModelError as error:
                return error
        if result.type == "errored" and result.error.error.type == "invalid_request_error":
            return NoVerdict(f"{who}: the request was rejected: see the provider's log", "rejected")
        return Retryable(f"{who}: {result.type} in a batch: ask again", result.type)

    def _checked(self, made: MessageBatch) -> MessageBatch:
        if not isinstance(made, MessageBatch) or not made.id or not made.request_counts:
            raise broken_reply(self._model.who)
        return made

    def _speaking(self) -> AbstractContextManager[None]:
        return speaking(self._model.who, AnthropicError, translate)


def _size(counts: MessageBatchRequestCounts) -> int:
    """How many requests a batch has, however they ended."""
    ended = counts.succeeded + counts.errored + counts.canceled + counts.expired
    return counts.processing + ended
