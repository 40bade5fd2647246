"""The joined parts refuse settings that together cannot hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from backend import worker
from backend.committees import check_runtime
from backend.settings import Settings
from backend.wiring import NotConfigured, Wiring
from meta_controller.budget import UNKNOWN_PRICE_TOKENS, Caps
from specialists.runtime import RuntimeUnavailable

MODEL = {"LLM_PROVIDER": "openai", "OPENAI_API_KEY": "sk-x", "LLM_MODEL": "nobody-knows-1"}


def wiring(tmp_path: Path, **more: str) -> Wiring:
    return Wiring(Settings.from_env({"DATA_DIR": str(tmp_path), **MODEL, **more}))


@pytest.mark.parametrize("cap", ["", "DAY_", "PROJECT_"])
def test_a_budget_over_a_model_without_a_price_is_refused(tmp_path: Path, cap: str) -> None:
    parts = wiring(tmp_path, **{f"LLM_BUDGET_{cap}USD": "5"})
    assert parts.language_model is not None
    with pytest.raises(NotConfigured, match="LLM_PRICE"):
        parts.reviewer(1, parts.language_model)


def test_a_model_without_a_price_is_bounded_in_tokens(tmp_path: Path) -> None:
    for given, cap in (({}, UNKNOWN_PRICE_TOKENS), ({"LLM_BUDGET_TOKENS": "70"}, 70)):
        parts = wiring(tmp_path, **given)
        assert parts.language_model is not None
        assert parts.reviewer(1, parts.language_model).ledger.budget.caps == Caps(tokens=cap)
        assert "price unknown, bounded in tokens" in worker.facts(parts.settings)["llm"]
    priced = wiring(tmp_path, LLM_MODEL="gpt-4o-mini")
    assert priced.language_model is not None
    assert priced.reviewer(1, priced.language_model).ledger.budget.caps == Caps()
    assert worker.facts(priced.settings)["llm"] == "openai gpt-4o-mini"


def test_nobody_is_asked_where_llm_mode_is_off(tmp_path: Path) -> None:
    parts = wiring(tmp_path, LLM_MODE="off")
    assert parts.language_model is None
    assert "no text leaves this machine" in worker.facts(parts.settings)["llm"]


def test_a_given_price_lets_the_budget_bind(tmp_path: Path) -> None:
    parts = wiring(tmp_path, LLM_BUDGET_USD="5", LLM_PRICE="0.15,0.60")
    assert parts.language_model is not None
    price = parts.reviewer(1, parts.language_model).price
    assert (price.usd_in, price.usd_out, price.known) == (0.15, 0.60, True)


def test_a_runtime_that_this_machine_lacks_is_told_with_those_it_has(tmp_path: Path) -> None:
    check_runtime(wiring(tmp_path, DEVICE="cpu", RUNTIME="torch-fp32").settings)
    with pytest.raises(RuntimeUnavailable, match="'torch-fp16' is not available: .*torch-fp32"):
        check_runtime(wiring(tmp_path, DEVICE="cpu", RUNTIME="torch-fp16").settings)


def test_label_studio_calls_without_its_settings_name_them(tmp_path: Path) -> None:
    with pytest.raises(NotConfigured, match="LABEL_STUDIO_API_KEY"):
        _ = wiring(tmp_path).label_studio
