"""The real SDK clients against a local provider: every way an answer can come or fail."""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import anthropic
import httpx2
import openai
import pytest
from provider import KEY, Provider, Scene, says

from benchmarks.asked import read
from meta_controller import anthropic_model, openai_model
from meta_controller.anthropic_model import AnthropicModel
from meta_controller.errors import Fatal, LanguageModelError, NoVerdict, Retryable
from meta_controller.language_model import LanguageModel, Question, Tokens
from meta_controller.packing import build_pack
from meta_controller.wire import to_replies
from specialists.types import Label, LabelSet

MOOD = LabelSet((Label("positive"), Label("negative")))
TOPICS = LabelSet((Label("sport"), Label("art")), multiple=True)
ASKED = Question("mood", "a private text", MOOD, task_ids=(1,))
TIMEOUT_S = 0.4

Make = Callable[..., LanguageModel]


def claude(provider: Provider, key: str = KEY) -> AnthropicModel:
    return AnthropicModel("claude-haiku-5-5", key, provider.url, TIMEOUT_S)


def compatible(provider: Provider, key: str = KEY) -> openai_model.OpenAIModel:
    return openai_model.OpenAIModel("qwen3", key, provider.url + "/v1", TIMEOUT_S)


@pytest.fixture(params=[claude, compatible], ids=["anthropic", "openai"])
def make(request: pytest.FixtureRequest) -> Iterator[Make]:
    made: list[AnthropicModel | openai_model.OpenAIModel] = []

    def make_one(*args: object) -> LanguageModel:
        made.append(request.param(*args))
        return made[-1]

    yield make_one
    for model in made:
        model.client.close()


def failure(model: LanguageModel, question: Question = ASKED) -> LanguageModelError:
    with pytest.raises(LanguageModelError) as caught:
        model.ask(question)
    text = str(caught.value) + repr(caught.value)
    assert KEY not in text and "private" not in text, "errors never quote keys or texts"
    assert caught.value.__cause__ is None
    return caught.value


def test_an_answer_comes_with_its_tokens_and_latency(provider: Provider, make: Make) -> None:
    provider.scenes.append(says("negative", "it is rude"))
    reply = make(provider).ask(ASKED)
    assert (reply.labels, reply.reason) == (("negative",), "it is rude")
    assert reply.tokens == Tokens(100, 20)
    assert 0 < reply.latency_s < TIMEOUT_S


def test_what_the_providers_cache_did_is_told(provider: Provider, make: Make) -> None:
    provider.scenes.append(says("positive", cached=70, stored=20))
    assert make(provider).ask(ASKED).tokens == Tokens(100, 20, cached=70, stored=20)


def test_claudes_prefix_is_marked_for_the_cache_and_the_sample_is_not(provider: Provider) -> None:
    provider.scenes.append(says("positive"))
    model = claude(provider)
    model.ask(ASKED)
    (body,) = provider.requests
    (block,) = body["system"]
    assert block["cache_control"] == {"type": "ephemeral"} and "private" not in block["text"]
    assert "cache_control" not in json.dumps(body["messages"])
    model.client.close()


def test_several_labels_and_unsure_come_through(provider: Provider, make: Make) -> None:
    both = {"labels": ["art", "sport"], "unsure": False, "reason": "r"}
    provider.scenes.extend([Scene(answer=json.dumps(both)), says("unsure")])
    model = make(provider)
    assert model.ask(Question("topic", "x", TOPICS)).labels == ("sport", "art")
    assert model.ask(ASKED).labels == ()


def test_the_request_is_structured_and_has_no_temperature(provider: Provider, make: Make) -> None:
    provider.scenes.append(says("positive"))
    make(provider).ask(ASKED)
    (body,) = provider.requests
    words = json.dumps(body)
    assert '"json_schema"' in words and '"enum": ["positive", "negative", "unsure"]' in words
    assert "temperature" not in body
    assert "a private text" in body["messages"][-1]["content"]


@pytest.mark.parametrize(
    ("scene", "expected", "kind"),
    [
        (Scene(429, headers={"retry-after": "3"}), Retryable, "rate limit"),
        (Scene(429, code="insufficient_quota"), Fatal, "quota"),
        (Scene(500), Retryable, "server error"),
        (Scene(529), Retryable, "overloaded"),
        (Scene(404), Fatal, "not found"),
        (Scene(403), Fatal, "key"),
        (Scene(413), NoVerdict, "too large"),
        (Scene(answer="positive, I think"), NoVerdict, "invalid answer"),
        (says("Positive"), NoVerdict, "invalid answer"),
        (Scene(), NoVerdict, "invalid answer"),
        (Scene(raw=b'{"choices": [], "content'), Retryable, "server error"),
        (Scene(raw=b"<html>hi</html>", headers={"content-type": "text/html"}), Retryable,
         "server error"),
        (Scene(raw=b'{"unexpected": 1}'), Retryable, "server error"),
        (Scene(delay_s=3 * TIMEOUT_S), Retryable, "timeout"),
        (Scene(hang_up=True), Retryable, "connection"),
        (Scene(answer='{"label": "positive"}', cut=True), Retryable, "connection"),
    ],
)  # fmt: skip
def test_each_failure_is_classed_after_one_call(
    provider: Provider, make: Make, scene: Scene, expected: type[Exception], kind: str
) -> None:
    provider.scenes.append(scene)
    error = failure(make(provider))
    assert (type(error), error.kind) == (expected, kind)
    assert provider.calls == 1, "the SDK must not retry behind the ledger's back"
    if scene.headers.get("retry-after"):
        assert error.retry_after_s == 3.0
    if scene.status == 200 and kind == "invalid answer":
        assert error.tokens == Tokens(100, 20)
    assert error.maybe_billed == (kind in ("timeout", "connection") or scene.raw is not None)


def test_a_wrong_key_is_fatal_and_not_repeated(provider: Provider, make: Make) -> None:
    provider.scenes.append(says("positive"))
    error = failure(make(provider, "sk-wrong-987"))
    assert (type(error), error.kind) == (Fatal, "key")
    assert "_API_KEY" in str(error) and "sk-wrong" not in str(error)


def test_a_server_that_is_down_may_be_asked_again_and_costs_nothing(make: Make) -> None:
    with Provider() as gone:
        model = make(gone)
    error = failure(model)
    assert (type(error), error.kind, error.maybe_billed) == (Retryable, "connection", False)


@pytest.mark.parametrize(
    ("scene", "kind"),
    [
        (Scene(stop="refusal"), "refusal"),
        (Scene(stop="max_tokens", answer='{"label": "posi'), "truncated"),
        (Scene(stop="model_context_window_exceeded"), "truncated"),
    ],
)
def test_claudes_refusal_and_truncation_are_no_verdict(
    provider: Provider, scene: Scene, kind: str
) -> None:
    provider.scenes.append(scene)
    model = claude(provider)
    error = failure(model)
    assert (type(error), error.kind, error.tokens.written) == (NoVerdict, kind, 20)
    model.client.close()


@pytest.mark.parametrize(
    ("scene", "kind"),
    [
        (Scene(refusal="I cannot help with that."), "refusal"),
        (Scene(stop="content_filter"), "refusal"),
        (Scene(stop="length", answer='{"label": "posi'), "truncated"),
    ],
)
def test_openais_refusal_and_truncation_are_no_verdict(
    provider: Provider, scene: Scene, kind: str
) -> None:
    provider.scenes.append(scene)
    model = compatible(provider)
    error = failure(model)
    assert (type(error), error.kind, error.tokens.written) == (NoVerdict, kind, 20)
    model.client.close()


def test_a_server_without_json_schema_is_asked_in_json_mode_from_then_on(
    provider: Provider,
) -> None:
    def strict_is_unknown(body: dict[str, dict[str, str]]) -> Scene:
        strict = body["response_format"]["type"] == "json_schema"
        return Scene(400, message="unknown response_format") if strict else says("positive")

    provider.decide = strict_is_unknown
    model = compatible(provider)
    error = failure(model)
    assert (type(error), error.kind, error.retry_after_s) == (Retryable, "option refused", 0.0)
    for _ in range(2):
        assert model.ask(ASKED).labels == ("positive",)
    formats = [body["response_format"]["type"] for body in provider.requests]
    assert formats == ["json_schema", "json_object", "json_object"]
    model.client.close()


def test_a_claude_without_effort_is_asked_without_from_then_on(provider: Provider) -> None:
    def effort_is_unknown(body: dict[str, dict[str, str]]) -> Scene:
        return Scene(400) if "effort" in body["output_config"] else says("positive")

    provider.decide = effort_is_unknown
    model = claude(provider)
    assert failure(model).kind == "option refused"
    assert model.ask(ASKED).labels == ("positive",)
    model.client.close()


def test_a_rejection_after_an_accepted_request_is_about_the_sample(
    provider: Provider, make: Make
) -> None:
    provider.scenes.extend([says("positive"), Scene(400), says("negative")])
    model = make(provider)
    model.ask(ASKED)
    assert failure(model).kind == "rejected"
    model.ask(ASKED)
    assert "json_schema" in json.dumps(provider.requests[-1]), "the schema is not given up for it"


def test_a_text_that_is_no_unicode_is_still_asked(provider: Provider, make: Make) -> None:
    provider.scenes.append(says("positive"))
    assert make(provider).ask(Question("mood", "half \ud83d a smile", MOOD)).labels
    assert "half ? a smile" in provider.requests[0]["messages"][-1]["content"]


def test_thinking_around_the_answer_is_tolerated(provider: Provider, make: Make) -> None:
    answer = '<think>{"label": "negative"}? no</think> {"label": "positive", "reason": "r"}'
    provider.scenes.append(Scene(answer=answer))
    assert make(provider).ask(ASKED).labels == ("positive",)


def subclasses(root: type[BaseException]) -> Iterator[type[BaseException]]:
    for child in root.__subclasses__():
        yield child
        yield from subclasses(child)


def raised(kind: type[BaseException], status: int) -> BaseException:
    """An instance of an SDK's exception, whatever its constructor wants."""
    error = kind.__new__(kind)
    request = httpx2.Request("POST", "http://x")
    error.body, error.request, error.__cause__ = {}, request, None  # type: ignore[attr-defined]
    error.response = httpx2.Response(status, request=request)  # type: ignore[attr-defined]
    if not isinstance(getattr(kind, "status_code", None), int):
        error.status_code = status  # type: ignore[attr-defined]
    return error


# The only classes that may end in the catch-all: no chat request raises them, but for a broken
# set-up. A class that a new SDK version adds fails the test until somebody has looked at it.
SURELY_FATAL = {
    "anthropic": {
        "CredentialsError", "IdentityTokenFileError", "WorkloadIdentityError",
        "APIWebhookValidationError", "StreamAlreadyConsumed", "MissingDependencyError",
        "MutuallyExclusiveAuthError", "ToolsetUsageError", "ToolsetConfigError",
        "ToolsetContractError", "ToolsetsFixedError", "ToolsetClosedError", "APIError",
    },
    "openai": {
        "SubjectTokenProviderError", "WebSocketConnectionClosedError", "WebSocketQueueFullError",
        "StreamAlreadyConsumed", "MutuallyExclusiveAuthError", "APIRemovedInV1",
        "_AmbiguousModuleClientUsageError", "APIError",
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("sdk", "root", "translate"),
    [
        (anthropic, anthropic.AnthropicError, anthropic_model.translate),
        (openai, openai.OpenAIError, openai_model.translate),
    ],
    ids=["anthropic", "openai"],
)
def test_no_exception_of_the_sdks_is_unmapped(
    sdk: object, root: type[Exception], translate: Callable[..., LanguageModelError]
) -> None:
    name = sdk.__name__  # type: ignore[attr-defined]
    for member in dir(sdk):  # the SDKs load lazily: touch all they export
        getattr(sdk, member)
    seen = 0
    for kind in set(subclasses(root)):
        for status in (400, 401, 429, 500):
            error = translate(raised(kind, status), "who model")
            known = isinstance(error, LanguageModelError)
            assert known and str(error).startswith("who model"), kind
            caught_all = error.kind == "client"
            assert caught_all == (kind.__name__ in SURELY_FATAL[name]), kind
        seen += 1
    assert seen > 10
    members = [getattr(sdk, name) for name in dir(sdk)]
    exported = [m for m in members if inspect.isclass(m) and issubclass(m, Exception)]
    outside = {kind.__name__ for kind in exported if not issubclass(kind, (root, Warning))}
    assert outside <= {"InvalidWebhookSignatureError"}, "not raised by a chat request"


def told(*tokens: tuple[str, float]) -> Scene:
    """An answer whose tokens' likelihoods are known."""
    pairs = tuple((token, math.log(chance)) for token, chance in tokens)
    return Scene(answer="".join(token for token, _ in tokens), logprobs=pairs)


def test_how_likely_the_labels_tokens_were_is_the_confidence(provider: Provider) -> None:
    provider.scenes.append(
        told(('{"', 1), ('label', 0.5), ('":"', 1), ("posi", 0.8), ('tive","', 0.9),
             ('reason":"a \\"label\\": \\"x\\" ü"}', 0.3))
    )  # fmt: skip
    model = compatible(provider)
    assert model.ask(ASKED).confidence == pytest.approx(0.72)
    assert provider.requests[0]["logprobs"] is True
    model.client.close()


@pytest.mark.parametrize("answered", [Scene(), told(("other", 1), ("words", 1))])
def test_without_likelihoods_there_is_no_confidence(provider: Provider, answered: Scene) -> None:
    one = replace(answered, answer=says("positive").answer)
    provider.scenes.append(one)
    model = compatible(provider)
    assert model.ask(ASKED).confidence is None
    model.client.close()


def test_every_answer_of_a_pack_has_its_own_confidence(provider: Provider) -> None:
    questions = [Question("mood", text, MOOD) for text in ("one", "two")]

    def decide(body: dict[str, Any]) -> Scene:
        ids = read(body).ids
        first, second = (f'{{"id":"{i}","reason":"r","label":"' for i in ids)
        return told(
            ('{"answers":[' + second, 1), ("negative", 0.6), ('"},' + first, 1), ("positive", 0.9),
            ('"}]}', 1),
        )  # fmt: skip

    provider.decide = decide
    model = compatible(provider)
    replies = to_replies(questions, model.complete(build_pack(questions)))
    assert [one and one.labels for one in replies] == [("positive",), ("negative",)]
    assert [one and one.confidence for one in replies] == [pytest.approx(0.9), pytest.approx(0.6)]
    model.client.close()


def test_no_likelihoods_are_asked_for_where_they_serve_nothing(provider: Provider) -> None:
    both = {"labels": ["art"], "unsure": False, "reason": "r"}
    provider.scenes.append(Scene(answer=json.dumps(both)))
    model = compatible(provider)
    assert model.ask(Question("topic", "x", TOPICS)).confidence is None
    assert "logprobs" not in provider.requests[0]
    model.client.close()


def test_a_server_that_tells_no_likelihoods_loses_nothing_else(provider: Provider) -> None:
    def decide(body: dict[str, Any]) -> Scene:
        refused = Scene(400, message="logprobs are not supported")
        return refused if "logprobs" in body else says("positive")

    provider.decide = decide
    model = compatible(provider)
    assert failure(model).kind == "option refused"
    assert model.ask(ASKED).labels == ("positive",)
    assert provider.requests[-1]["response_format"]["type"] == "json_schema"
    model.client.close()


def test_openais_prefix_ends_at_a_breakpoint_until_a_model_knows_none(provider: Provider) -> None:
    def decide(body: dict[str, Any]) -> Scene:
        known = "prompt_cache_options" not in body
        return says("positive") if known else Scene(400, message="prompt_cache_options: unknown")

    provider.decide = decide
    model = openai_model.OpenAIModel("gpt-4.1", KEY, "", TIMEOUT_S)
    own, model.client = model.client, model.client.with_options(base_url=f"{provider.url}/v1")
    assert failure(model).kind == "option refused"
    assert model.ask(ASKED).labels == ("positive",)
    first, second = provider.requests
    (block,) = first["messages"][0]["content"]
    assert block["prompt_cache_breakpoint"] == {"mode": "explicit"}
    assert "private" not in block["text"] and second["messages"][0]["content"] == block["text"]
    assert second["reasoning_effort"] == "low", "the other options stay"
    model.client.close()
    own.close()
