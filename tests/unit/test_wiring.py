"""The joined parts refuse settings that together cannot hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from backend import worker
from backend.committees import check_runtime
from backend.settings import Settings
from backend.wiring import NotConfigured, Wiring
from specialists.runtime import RuntimeUnavailable

MODEL = {"LLM_PROVIDER": "openai", "OPENAI_API_KEY": "sk-x", "LLM_MODEL": "nobody-knows-1"}


def wiring(tmp_path: Path, **more: str) -> Wiring:
    return Wiring(Settings.from_env({"DATA_DIR": str(tmp_path), **MODEL, **more}))


def test_nobody_is_asked_where_llm_mode_is_off(tmp_path: Path) -> None:
    parts = wiring(tmp_path, LLM_MODE="off")
    assert parts.language_model is None
    assert "no text leaves this machine" in worker.facts(parts.settings)["llm"]


def test_a_runtime_that_this_machine_lacks_is_told_with_those_it_has(tmp_path: Path) -> None:
    check_runtime(wiring(tmp_path, DEVICE="cpu", RUNTIME="torch-fp32").settings)
    with pytest.raises(RuntimeUnavailable, match="'torch-fp16' is not available: .*torch-fp32"):
        check_runtime(wiring(tmp_path, DEVICE="cpu", RUNTIME="torch-fp16").settings)


def test_label_studio_calls_without_its_settings_name_them(tmp_path: Path) -> None:
    with pytest.raises(NotConfigured, match="LABEL_STUDIO_API_KEY"):
        _ = wiring(tmp_path).label_studio
