"""The joined parts refuse settings that together cannot hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from backend.committees import check_runtime
from backend.settings import Settings
from backend.wiring import NotConfigured, Wiring
from specialists.runtime import RuntimeUnavailable

MODEL = {"LLM_PROVIDER": "openai", "OPENAI_API_KEY": "sk-x", "LLM_MODEL": "nobody-knows-1"}


def wiring(tmp_path: Path, **more: str) -> Wiring:
    return Wiring(Settings.from_env({"DATA_DIR": str(tmp_path), **MODEL, **more}))


def test_a_budget_over_a_model_without_a_price_is_refused(tmp_path: Path) -> None:
    parts = wiring(tmp_path, LLM_BUDGET_USD="5")
    assert parts.language_model is not None
    with pytest.raises(NotConfigured, match="LLM_PRICE"):
        parts.reviewer(1, parts.language_model)


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
