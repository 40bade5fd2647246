"""OpenAI, and every server that speaks its chat completions, behind the `LanguageModel` seam.

One HTTP request per call, no retries of its own. Imports the SDK, so the web process never
imports this module.
"""

from __future__ import annotations

import time
import weakref
from typing import Any

from openai import (
    APIConnectionError,
    APIResponseValidationError,
    APIStatusError,
    ContentFilterFinishReasonError,
    DefaultHttpxClient,
    LengthFinishReasonError,
    OpenAI,
    OpenAIError,
)
from openai.types import CompletionUsage
from openai.types.chat import ChatCompletion
from openai.types.chat.chat_completion import Choice

from meta_controller.chat import ChatModel
from meta_controller.errors import Fatal, LanguageModelError, from_status
from meta_controller.language_model import NO_TOKENS, TIMEOUT_S, Completion, Prompt, Tokens
from meta_controller.wire import Option, broken_reply, lost_connection, no_verdict

_OPTIONAL = ("format", "logprobs", "prompt_cache")
"""Not every model or server knows them: custom servers may not know json_schema and OpenAI's older
models no reasoning effort ("format"); reasoning models tell no likelihoods; and models before
GPT-5.6 know no explicit breakpoint. Without one those after it would write every prompt to the
cache, its sample included, at 1.25 times the price, and never find any of it again.
Source: https://developers.openai.com/api/docs/guides/prompt-caching
"""
_STOPPED = {
    "content_filter": ("refusal", "the content filter stepped in"),
    "length": ("truncated", "the answer is too long"),
}


class OpenAIModel(ChatModel):
    """A chat model of OpenAI's or of a compatible server (vLLM, Ollama, DeepSeek, MiniMax)."""

    provider = "openai"

    def __init__(
        self, model: str, api_key: str, base_url: str = "", timeout_s: float = TIMEOUT_S
    ) -> None:
        super().__init__(model, base_url)
        self._options = {name: Option() for name in _OPTIONAL}
        # A redirect would take the texts to whom it names.
        http = DefaultHttpxClient(timeout=timeout_s, follow_redirects=False)
        weakref.finalize(self, http.close)
        self.client = OpenAI(
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
        sent = self._wanted(prompt)
        started_s = time.monotonic()
        try:
            completion = self.client.chat.completions.create(**self._body(prompt, sent))
        except OpenAIError as error:
            # "from None": what the provider wrote may quote the key or the text.
            raise self._refused(error, sent) from None
        except ValueError:  # a body that is not the JSON it says it is
            raise broken_reply(self.who) from None
        for name, option in self._options.items():
            option.accepted(name in sent)
        return self.read(completion, time.monotonic() - started_s)

    def batched(self, prompt: Prompt) -> dict[str, Any]:
        """The request that sends a prompt in a batch."""
        return self._body(prompt, self._wanted(prompt))

    def _wanted(self, prompt: Prompt) -> frozenset[str]:
        """The optional fields that are to be sent."""
        wanted = {name for name, option in self._options.items() if option.wanted}
        if not prompt.with_chances:
            wanted.discard("logprobs")
        if self.base_url:
            wanted.discard("prompt_cache")
        return frozenset(wanted)

    def _refused(self, error: OpenAIError, sent: frozenset[str]) -> LanguageModelError:
        """Class an error; where it can be an optional field's fault, the one that it names."""
        failure = translate(error, self.who)
        for name in sorted(_OPTIONAL, key=lambda name: name not in str(error)):
            failure = self._options[name].refused(failure, name in sent)
        return failure

    def _body(self, prompt: Prompt, sent: frozenset[str]) -> dict[str, Any]:
        system: dict[str, Any] = {"type": "text", "text": prompt.system}
        fields = self._fields(prompt, "format" in sent)
        if "logprobs" in sent:
            fields["logprobs"] = True
        if "prompt_cache" in sent:
            system["prompt_cache_breakpoint"] = {"mode": "explicit"}
            fields["prompt_cache_options"] = {"mode": "explicit"}
        messages = [
            {"role": "system", "content": [system] if "prompt_cache" in sent else prompt.system},
            {"role": "user", "content": prompt.sample},
        ]
        return {"model": self.model, "messages": messages, **fields}

    def _fields(self, prompt: Prompt, with_format: bool) -> dict[str, Any]:
        schema = {"name": "answer", "strict": True, "schema": prompt.schema}
        strict = {"type": "json_schema", "json_schema": schema}
        if self.base_url:
            # Compatible servers know max_tokens; OpenAI's reasoning models refuse that name.
            form = strict if with_format else {"type": "json_object"}
            return {"max_tokens": prompt.max_output_tokens, "response_format": form}
        fields = {"max_completion_tokens": prompt.max_output_tokens, "response_format": strict}
        return {**fields, "reasoning_effort": "low"} if with_format else fields

    def read(self, completion: ChatCompletion, latency_s: float) -> Completion:
        """Read what came back.

        Raises:
            LanguageModelError: NoVerdict, or Retryable for what is no completion at all.
        """
        if not isinstance(completion, ChatCompletion) or not completion.choices:
            raise broken_reply(self.who)
        tokens, choice = _tokens(completion.usage), completion.choices[0]
        kind, why = _STOPPED.get(choice.finish_reason, ("", ""))
        if choice.message.refusal:
            kind, why = "refusal", "the model refused"
        if kind:
            raise no_verdict(self.who, kind, why, tokens)
        text = choice.message.content or ""
        return Completion(text, tokens, latency_s, self.model, _token_logprobs(choice))


def _tokens(usage: CompletionUsage | None) -> Tokens:
    """OpenAI counts what it read from the cache, or wrote to it, among the prompt's tokens."""
    if usage is None:
        return NO_TOKENS
    of = usage.prompt_tokens_details
    cached, stored = (of.cached_tokens or 0, of.cache_write_tokens or 0) if of else (0, 0)
    return Tokens(usage.prompt_tokens, usage.completion_tokens, cached, stored)


def _token_logprobs(choice: Choice) -> tuple[tuple[int, float], ...]:
    """Sizes in bytes and log-likelihoods of the tokens; some make up a letter only together."""
    told = choice.logprobs.content if choice.logprobs else None
    return tuple(
        (len(one.token.encode()) if one.bytes is None else len(one.bytes), one.logprob)
        for one in told or ()
    )


def translate(error: OpenAIError, who: str) -> LanguageModelError:
    """Class an error of the SDK; every class it has ends in one of ours."""
    if isinstance(error, APIStatusError):
        return from_status(
            who,
            error.status_code,
            key_name="OPENAI_API_KEY",
            body=str(error.body),
            headers=error.response.headers,
        )
    if isinstance(error, APIConnectionError):
        return lost_connection(error, who)
    if isinstance(error, APIResponseValidationError):
        return broken_reply(who)
    if isinstance(error, LengthFinishReasonError):
        return no_verdict(who, "truncated", "the answer was cut")
    if isinstance(error, ContentFilterFinishReasonError):
        return no_verdict(who, "refusal", "the content filter stepped in")
    # Credentials, sockets, misuse: nothing that another question could change.
    return Fatal(f"{who}: {type(error).__name__}: check OPENAI_API_KEY", "client")
