"""Claude behind the `LanguageModel` seam: one HTTP request per call, no retries of its own.

Imports the SDK, so the web process never imports this module.
"""

from __future__ import annotations

import time
import weakref

from anthropic import (
    Anthropic,
    AnthropicError,
    APIConnectionError,
    APIResponseValidationError,
    APIStatusError,
    DefaultHttpxClient,
    RetryableError,
)
from anthropic.types import Message, OutputConfigParam, TextBlockParam, Usage
from anthropic.types.message_create_params import MessageCreateParamsNonStreaming

from meta_controller.chat import ChatModel
from meta_controller.errors import Fatal, LanguageModelError, Retryable, from_status
from meta_controller.language_model import TIMEOUT_S, Completion, Prompt, Tokens
from meta_controller.wire import Option, broken_reply, lost_connection, no_verdict

_STOPPED = {
    "refusal": ("refusal", "the model refused"),
    "max_tokens": ("truncated", "the answer is too long"),
    "model_context_window_exceeded": ("truncated", "the text fills the context window"),
}


class AnthropicModel(ChatModel):
    """A Claude model, asked with structured output and, where it knows it, low effort."""

    provider = "anthropic"

    def __init__(
        self, model: str, api_key: str, base_url: str = "", timeout_s: float = TIMEOUT_S
    ) -> None:
        super().__init__(model, base_url)
        # Models before Claude 4.6 refuse the effort setting; newer ones think at length without.
        self._effort = Option()
        # A redirect would take the texts, and the key in x-api-key, to whom it names.
        http = DefaultHttpxClient(timeout=timeout_s, follow_redirects=False)
        weakref.finalize(self, http.close)
        self.client = Anthropic(
            api_key=api_key,
            base_url=base_url or None,
            timeout=timeout_s,
            max_retries=0,
            http_client=http,
        )

    def complete(self, prompt: Prompt) -> Completion:
        """Send a prompt exactly once.

        Raises:
            LanguageModelError: Retryable, Fatal or NoVerdict.
        """
        with_effort = self._effort.wanted
        started_s = time.monotonic()
        try:
            message = self.client.messages.create(**self._params(prompt, with_effort))
        except AnthropicError as error:
            # "from None": what the provider wrote may quote the key or the text.
            raise self._effort.refused(translate(error, self.who), with_effort) from None
        except ValueError:  # a body that is not the JSON it says it is
            raise broken_reply(self.who) from None
        self._effort.accepted(with_effort)
        return self.read(message, time.monotonic() - started_s)

    def batched(self, prompt: Prompt) -> MessageCreateParamsNonStreaming:
        """The request that sends a prompt in a batch."""
        return self._params(prompt, self._effort.wanted)

    def _params(self, prompt: Prompt, with_effort: bool) -> MessageCreateParamsNonStreaming:
        config = OutputConfigParam(format={"type": "json_schema", "schema": prompt.schema})
        if with_effort:
            config["effort"] = "low"
        return MessageCreateParamsNonStreaming(
            model=self.model,
            max_tokens=prompt.max_output_tokens,
            system=[_cached(prompt.system)],
            messages=[{"role": "user", "content": prompt.sample}],
            output_config=config,
        )

    def read(self, message: Message, latency_s: float) -> Completion:
        """Read what came back.

        Raises:
            LanguageModelError: NoVerdict, or Retryable for what is no message at all.
        """
        if not isinstance(message, Message) or not message.usage:
            raise broken_reply(self.who)
        tokens = _tokens(message.usage)
        if message.stop_reason in _STOPPED:
            raise no_verdict(self.who, *_STOPPED[message.stop_reason], tokens)
        answer = "".join(block.text for block in message.content if block.type == "text")
        return Completion(answer, tokens, latency_s, self.model)


def _cached(system: str) -> TextBlockParam:
    """The static prefix, kept in the provider's cache for 5 minutes after each use.

    Prefixes below the model's minimum (512 to 4,096 tokens) are not cached and cost no surcharge.
    Source: https://platform.claude.com/docs/en/build-with-claude/prompt-caching
    """
    return {"type": "text", "text": system, "cache_control": {"type": "ephemeral"}}


def _tokens(usage: Usage) -> Tokens:
    """Anthropic counts what it read from the cache, or wrote to it, apart from other input."""
    cached, stored = usage.cache_read_input_tokens or 0, usage.cache_creation_input_tokens or 0
    return Tokens(usage.input_tokens + cached + stored, usage.output_tokens, cached, stored)


def translate(error: AnthropicError, who: str) -> LanguageModelError:
    """Class an error of the SDK; every class it has ends in one of ours."""
    if isinstance(error, APIStatusError):
        return from_status(
            who,
            error.status_code,
            key_name="ANTHROPIC_API_KEY",
            body=str(error.body),
            headers=error.response.headers,
        )
    if isinstance(error, APIConnectionError):
        return lost_connection(error, who)
    if isinstance(error, APIResponseValidationError):
        return broken_reply(who)
    if isinstance(error, RetryableError):
        return Retryable(f"{who}: {type(error).__name__}: try again later", "server error")
    # Credentials, webhooks, tools, misuse: nothing that another question could change.
    return Fatal(f"{who}: {type(error).__name__}: check ANTHROPIC_API_KEY", "client")
