"""The scripted reviewer, the choice of a provider, prices and statuses: all without a network."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from email.utils import formatdate
from pathlib import Path

import pytest

from meta_controller.errors import Fatal, NoVerdict, Retryable, SettingsError, from_status
from meta_controller.language_model import NO_TOKENS, Prompt, Question, Tokens
from meta_controller.prices import Price, price_of
from meta_controller.providers import build, choose_provider
from meta_controller.scripted import PREFIX, ScriptedModel
from specialists.types import Label, LabelSet

MOOD = LabelSet((Label("positive"), Label("negative")))
TOPICS = LabelSet((Label("sport"), Label("art")), multiple=True)


@pytest.fixture
def script(tmp_path: Path) -> Callable[..., Path]:
    def write(*rows: dict[str, object]) -> Path:
        path = tmp_path / "script.jsonl"
        path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n")
        return path

    return write


def test_it_answers_equal_texts_and_says_what_it_is(script: Callable[..., Path]) -> None:
    model = ScriptedModel(
        script(
            {"text": "so  good\u2028!", "label": "positive", "reason": "praise"},
            {"text": "match and museum", "labels": ["sport", "art"]},
        )
    )
    reply = model.ask(Question("mood", " so good\n!", MOOD))
    assert (reply.labels, reply.reason) == (("positive",), PREFIX + "praise")
    assert (reply.model, reply.tokens) == ("scripted", NO_TOKENS)
    assert model.ask(Question("t", "match and museum", TOPICS)).labels == ("sport", "art")


def test_a_text_it_does_not_know_is_unsure(script: Callable[..., Path]) -> None:
    model = ScriptedModel(script({"text": "a", "label": "unsure"}))
    for text in ("a", "b"):
        reply = model.ask(Question("mood", text, MOOD))
        assert reply.labels == ()
        assert reply.reason.startswith("Scripted reviewer (no LLM): ")


def test_a_scripted_label_outside_the_set_is_no_verdict(script: Callable[..., Path]) -> None:
    model = ScriptedModel(script({"text": "a", "label": "Positive"}))
    with pytest.raises(NoVerdict) as caught:
        model.ask(Question("mood", "a", MOOD))
    assert caught.value.kind == "invalid answer"


def test_a_bad_script_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "script.jsonl"
    path.write_text('{"text": "a", "label": "b"}\n\n{"text": "a"}\n')
    with pytest.raises(SettingsError, match="line 3"):
        ScriptedModel(path)
    with pytest.raises(SettingsError, match="LLM_SCRIPT"):
        ScriptedModel(tmp_path / "none.jsonl")


def test_the_provider_is_the_one_whose_key_is_set() -> None:
    assert choose_provider() == "none"
    assert choose_provider(anthropic_api_key="a") == "anthropic"
    assert choose_provider(openai_api_key="o") == "openai"
    assert choose_provider(base_url="http://vllm:8000/v1") == "openai"
    assert choose_provider("openai", anthropic_api_key="a", openai_api_key="o") == "openai"
    assert choose_provider("none", anthropic_api_key="a") == "none"
    assert build() is None


@pytest.mark.parametrize(
    ("settings", "hint"),
    [
        ({"provider": "anthropic"}, "ANTHROPIC_API_KEY"),
        ({"provider": "openai", "anthropic_api_key": "a"}, "OPENAI_API_KEY"),
        ({"provider": "scripted"}, "LLM_SCRIPT"),
        ({"provider": "gemini"}, "anthropic, openai, scripted, none"),
        ({"anthropic_api_key": "a", "openai_api_key": "o"}, "LLM_PROVIDER"),
        ({"base_url": "http://vllm:8000/v1"}, "LLM_MODEL"),
    ],
)
def test_settings_that_name_no_model_say_what_to_set(settings: dict[str, str], hint: str) -> None:
    with pytest.raises(SettingsError, match=hint):
        build(**settings)


def test_no_sdk_is_imported_until_its_provider_is_chosen(script: Callable[..., Path]) -> None:
    path = script({"text": "a", "label": "b"})
    code = (
        "import sys\n"
        "import meta_controller.providers as p, meta_controller.reviewer, meta_controller.ledger\n"
        f"p.build(provider='scripted', script={str(path)!r}); p.build()\n"
        "print(sorted({'anthropic', 'openai', 'httpx2', 'torch', 'backend', 'training'}"
        " & set(sys.modules)))"
    )
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_prices_are_whole_nano_dollars_rounded_up() -> None:
    assert Price(0.1, 0.5).nano_usd(Tokens(1_000_000)) == 100_000_000
    assert Price(1, 5).nano_usd(Tokens(100, 20)) == 200_000
    assert Price(0.0001, 0).nano_usd(Tokens(1)) == 1


def test_cached_and_stored_tokens_have_their_own_prices() -> None:
    price = price_of("anthropic", "claude-haiku-4-5")
    assert price.nano_usd(Tokens(1000, 0, cached=1000)) == 100_000
    assert price.nano_usd(Tokens(1000, 0, stored=1000)) == 1_250_000
    assert price.nano_usd(Tokens(1000, 20, cached=600, stored=300)) == 635_000
    assert Price(1, 5).nano_usd(Tokens(1000, 0, cached=600, stored=300)) == 1_000_000


def test_a_batch_costs_half_of_everything() -> None:
    price, tokens = price_of("anthropic", "claude-haiku-4-5"), Tokens(1000, 20, 600, 300)
    assert 2 * price.in_batches().nano_usd(tokens) == price.nano_usd(tokens)
    assert price.in_batches().in_batches() == price.in_batches()
    assert Price(1, 5, True).in_batches() == Price(1, 5, True)


def test_the_most_that_a_prompt_can_take_costs_the_most_it_can_cost() -> None:
    price = price_of("anthropic", "claude-haiku-4-5")
    most = Prompt("s" * 500, "t" * 300, {}).most_tokens
    for cached, stored in ((0, 0), (most.sent, 0), (0, most.sent), (900, 900)):
        spent = Tokens(most.sent, most.written, cached, stored)
        assert price.nano_usd(spent) <= price.nano_usd(most)


@pytest.mark.parametrize(
    ("model", "price"),
    [
        ("claude-opus-4-8", Price(5, 25, True, 0.1, 1.25, 0.5)),
        ("claude-opus-4-1-20250805", Price(15, 75, True, 0.1, 1.25, 0.5)),
        ("claude-opus-5-5", Price(4, 20, True, 0.05, 1.25, 0.5)),
        ("claude-haiku-4-5-20251001", Price(1, 5, True, 0.1, 1.25, 0.5)),
        ("gpt-4o-mini-2024-07-18", Price(0.15, 0.6, True, 0.5, 1.0, 0.5)),
        ("gpt-6-luna", Price(0.1, 0.5, True, 0.1, 1.25, 0.5)),
        ("gpt-5-pro", Price()),
        ("my-own-model", Price()),
    ],
)
def test_the_longest_prefix_of_a_model_prices_it(model: str, price: Price) -> None:
    assert price_of("any", model) == price


def test_own_prices_win_and_local_servers_are_free() -> None:
    assert price_of("openai", "gpt-4o", override=(1, 2)) == Price(1, 2, True, 0.5, 1.0, 0.5)
    assert price_of("openai", "qwen3", override=(1, 2)) == Price(1, 2, True)
    assert price_of("scripted", "scripted") == Price(known=True)
    for url in ("http://localhost:11434/v1", "http://10.0.0.7:8000/v1", "http://vllm:8000/v1"):
        assert price_of("openai", "qwen3", url) == Price(known=True)
    assert price_of("openai", "deepseek-chat", "https://api.deepseek.com") == Price(known=False)


@pytest.mark.parametrize(
    ("status", "body", "expected", "kind"),
    [
        (400, "", NoVerdict, "rejected"),
        (400, "Your credit balance is too low to access", Fatal, "quota"),
        (400, "organization_on_hold", Fatal, "key"),
        (401, "", Fatal, "key"),
        (402, "", Fatal, "quota"),
        (403, "", Fatal, "key"),
        (404, "", Fatal, "not found"),
        (408, "", Retryable, "server error"),
        (413, "", NoVerdict, "too large"),
        (422, "", NoVerdict, "rejected"),
        (429, "", Retryable, "rate limit"),
        (429, "insufficient_quota", Fatal, "quota"),
        (429, "enforced_spend_limit_reached", Fatal, "quota"),
        (429, "ramp_limit_exceeded", Retryable, "rate limit"),
        (500, "insufficient_quota", Retryable, "server error"),
        (503, "", Retryable, "overloaded"),
        (529, "", Retryable, "overloaded"),
    ],
)
def test_each_status_is_classed_by_what_to_do(
    status: int, body: str, expected: type[Exception], kind: str
) -> None:
    error = from_status("openai gpt", status, key_name="OPENAI_API_KEY", body=body, headers={})
    assert (type(error), error.kind) == (expected, kind)
    assert f"openai gpt: HTTP {status}" in str(error)


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Foo, 99 GMT"}, None),
    ],
)
def test_retry_after_is_read(headers: dict[str, str], wait_s: float | None) -> None:
    error = from_status("a b", 429, key_name="K", headers=headers)
    assert error.retry_after_s == wait_s


def test_retry_after_may_be_a_date() -> None:
    headers = {"retry-after": formatdate(time.time() + 30, usegmt=True)}
    error = from_status("a b", 503, key_name="K", headers=headers)
    assert error.retry_after_s == pytest.approx(30, abs=2)


@pytest.mark.parametrize("skew_s", [-86_400, 0, 86_400], ids=["behind", "right", "ahead"])
def test_the_provider_s_clock_measures_its_own_dates(skew_s: float) -> None:
    theirs_s = time.time() + skew_s
    headers = {
        "date": formatdate(theirs_s, usegmt=True),
        "retry-after": formatdate(theirs_s + 30, usegmt=True),
    }
    error = from_status("a b", 429, key_name="K", headers=headers)
    assert error.retry_after_s == 30
    over = {**headers, "retry-after": formatdate(theirs_s - 5, usegmt=True)}
    assert from_status("a b", 429, key_name="K", headers=over).retry_after_s is None
