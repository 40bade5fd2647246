"""No client of ours follows a redirect: keys and texts go where the settings say only."""

from __future__ import annotations

import httpx
import pytest
from provider import KEY, Provider, Scene

from backend.errors import Rejected
from backend.label_studio_session import Session
from meta_controller.anthropic_model import AnthropicModel
from meta_controller.errors import LanguageModelError
from meta_controller.language_model import Question
from meta_controller.openai_model import OpenAIModel
from specialists.types import Label, LabelSet

ASKED = Question("mood", "a private text", LabelSet((Label("good"), Label("bad"))), task_ids=(1,))


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("kind", ["anthropic", "openai"])
def test_neither_key_nor_text_follow_an_llms_redirect(
    provider: Provider, kind: str, status: int
) -> None:
    with Provider() as other:
        path = "/v1/messages" if kind == "anthropic" else "/v1/chat/completions"
        provider.scenes.append(Scene(status, headers={"location": other.url + path}))
        model = (
            AnthropicModel("claude-haiku-5-5", KEY, provider.url, 5.0)
            if kind == "anthropic"
            else OpenAIModel("qwen3", KEY, provider.url + "/v1", 5.0)
        )
        with model.client, pytest.raises(LanguageModelError):
            model.ask(ASKED)
        assert (provider.calls, other.calls) == (1, 0)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_the_token_of_label_studio_follows_no_redirect(status: int) -> None:
    asked: list[str] = []

    def redirect(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.host)
        return httpx.Response(status, headers={"location": "http://elsewhere.example/api"})

    http = httpx.Client(transport=httpx.MockTransport(redirect))
    key = "0123456789abcdef0123456789abcdef01234567"
    for method in ("GET", "POST"):
        with pytest.raises(Rejected, match="redirects"):
            Session("http://studio.example", key, 5.0, http).call(method, "api/projects", body={})
    assert set(asked) == {"studio.example"}
