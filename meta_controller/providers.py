"""Which language model the settings mean, and the making of it.

Imports an SDK only when its provider is chosen: the web process never pays for one.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from meta_controller.errors import SettingsError
from meta_controller.language_model import TIMEOUT_S, LanguageModel

if TYPE_CHECKING:
    from meta_controller.batches import BatchApi

PROVIDERS = ("anthropic", "openai", "scripted", "none")
DEFAULT_MODELS = {"anthropic": "claude-haiku-5-5", "openai": "gpt-6-luna"}


def build(
    provider: str = "",
    model: str = "",
    base_url: str = "",
    anthropic_api_key: str = "",
    openai_api_key: str = "",
    script: str = "",
    timeout_s: float = TIMEOUT_S,
) -> LanguageModel | None:
    """Make the language model that the settings mean; None when there is none.

    `provider` "" is inferred, see `choose_provider`; `model` "" is the provider's default;
    `base_url` names a compatible server; `script` is the scripted reviewer's JSONL file.

    Raises:
        SettingsError: see `choose_provider`; a base URL without a model; an unreadable script.
    """
    chosen = choose_provider(provider, base_url, anthropic_api_key, openai_api_key, script)
    if chosen == "none":
        return None
    if chosen == "scripted":
        from meta_controller.scripted import ScriptedModel

        return ScriptedModel(Path(script))
    model = model or ("" if base_url else DEFAULT_MODELS[chosen])
    if not model:
        raise SettingsError("LLM_BASE_URL needs a model's name: set LLM_MODEL.")
    if chosen == "anthropic":
        from meta_controller.anthropic_model import AnthropicModel

        return AnthropicModel(model, anthropic_api_key, base_url, timeout_s)
    from meta_controller.openai_model import OpenAIModel

    # Local servers ask for no key, but the SDK refuses an empty one.
    return OpenAIModel(model, openai_api_key or "none", base_url, timeout_s)


def choose_provider(
    provider: str = "",
    base_url: str = "",
    anthropic_api_key: str = "",
    openai_api_key: str = "",
    script: str = "",
) -> str:
    """Tell which provider is meant: the named one, else the one whose key is set, else "none".

    Raises:
        SettingsError: an unknown provider, one without its key, or keys of two providers.
    """
    by_openai = openai_api_key or base_url
    if not provider:
        if anthropic_api_key and by_openai:
            # Texts go only where the user said: a guess could send them to the wrong company.
            raise SettingsError(
                "Both ANTHROPIC_API_KEY and OPENAI_API_KEY (or LLM_BASE_URL) are set: "
                "say which one with LLM_PROVIDER=anthropic or LLM_PROVIDER=openai."
            )
        return "anthropic" if anthropic_api_key else "openai" if by_openai else "none"
    if provider not in PROVIDERS:
        raise SettingsError(f"LLM_PROVIDER={provider!r} is none of {', '.join(PROVIDERS)}.")
    needs = {
        "anthropic": (anthropic_api_key, "ANTHROPIC_API_KEY"),
        "openai": (by_openai, "OPENAI_API_KEY, or LLM_BASE_URL for a server without keys"),
        "scripted": (script, "LLM_SCRIPT, a JSONL file"),
    }
    given, needed = needs.get(provider, ("nothing", ""))
    if not given:
        raise SettingsError(f"LLM_PROVIDER={provider} needs {needed}.")
    return provider


def batch_api(model: LanguageModel) -> BatchApi | None:
    """The batch API of a model's provider; None where there is none to be tried."""
    if model.provider == "anthropic":
        from meta_controller.anthropic_batches import AnthropicBatches
        from meta_controller.anthropic_model import AnthropicModel

        return AnthropicBatches(model) if isinstance(model, AnthropicModel) else None
    if model.provider == "openai":
        from meta_controller.openai_batches import OpenAIBatches
        from meta_controller.openai_model import OpenAIModel

        return OpenAIBatches(model) if isinstance(model, OpenAIModel) else None
    return None
