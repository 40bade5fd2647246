"""A budget and a price hold together, or are refused; settings of projects lie in a real Redis."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis import Redis

from backend import worker
from backend.settings import Settings
from backend.wiring import NotConfigured, Wiring
from meta_controller.budget import UNKNOWN_PRICE_TOKENS, Caps

MODEL = {"LLM_PROVIDER": "openai", "OPENAI_API_KEY": "sk-x", "LLM_MODEL": "nobody-knows-1"}
Make = Callable[..., Wiring]


@pytest.fixture
def make(redis: Redis, redis_socket: str, tmp_path: Path) -> Iterator[Make]:
    """Joins parts from settings, given by their variables' names."""
    made: list[Wiring] = []

    def build(**more: str) -> Wiring:
        known = {"REDIS_URL": f"unix://{redis_socket}", "DATA_DIR": str(tmp_path)}
        made.append(Wiring(Settings.from_env({**known, **MODEL, **more})))
        return made[-1]

    yield build
    for wiring in made:
        wiring.redis.close()


@pytest.mark.parametrize("cap", ["", "DAY_", "PROJECT_"])
def test_a_budget_over_a_model_without_a_price_is_refused(make: Make, cap: str) -> None:
    parts = make(**{f"LLM_BUDGET_{cap}USD": "5"})
    assert parts.language_model is not None
    with pytest.raises(NotConfigured, match="LLM_PRICE"):
        parts.reviewer(1, parts.language_model)


def test_a_model_without_a_price_is_bounded_in_tokens(make: Make) -> None:
    for given, cap in (({}, UNKNOWN_PRICE_TOKENS), ({"LLM_BUDGET_TOKENS": "70"}, 70)):
        parts = make(**given)
        assert parts.language_model is not None
        assert parts.reviewer(1, parts.language_model).ledger.budget.caps == Caps(tokens=cap)
        assert "price unknown, bounded in tokens" in worker.facts(parts.settings)["llm"]
    priced = make(LLM_MODEL="gpt-4o-mini")
    assert priced.language_model is not None
    assert priced.reviewer(1, priced.language_model).ledger.budget.caps == Caps()
    assert worker.facts(priced.settings)["llm"] == "openai gpt-4o-mini"


def test_a_given_price_lets_the_budget_bind(make: Make) -> None:
    parts = make(LLM_BUDGET_USD="5", LLM_PRICE="0.15,0.60")
    assert parts.language_model is not None
    price = parts.reviewer(1, parts.language_model).price
    assert (price.usd_in, price.usd_out, price.known) == (0.15, 0.60, True)
