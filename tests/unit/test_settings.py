"""Settings: what is read, what is refused and in which words, and what never shows."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from backend.environment import SettingsError, read_environment, replaced
from backend.settings import Settings, file_note, table

RANGES = {
    "PORT": (1, 65535),
    "LABEL_STUDIO_PORT": (1, 65535),
    "LLM_BUDGET_USD": (0, 1_000_000_000),
    "LLM_BUDGET_DAY_USD": (0, 1_000_000_000),
    "LLM_BUDGET_PROJECT_USD": (0, 1_000_000_000),
    "LLM_BUDGET_TOKENS": (0, 10**15),
    "LLM_SHARE": (0, 1),
    "LLM_CONCURRENCY": (1, 256),
    "LLM_PACK": (1, 32),
    "LLM_EXAMPLES": (0, 16),
    "LLM_SAMPLES": (1, 9),
    "LLM_TIMEOUT_S": (1, 600),
    "TARGET_ERROR": (0.001, 0.5),
    "AUDIT_SHARE": (0, 0.5),
    "STAGE_SIZE": (2, 100_000),
    "STAGE_EVERY": (0, 365 * 86400),
    "PROMOTE_EVERY": (0, 30 * 86400),
    "KEEP_TAGS": (2, 50),
    "STAGE_EPOCHS": (1, 50),
    "STAGE_TIMEOUT": (1, 86_400),
    "TRAIN_MEMORY_MB": (500, 1_000_000),
    "RECONCILE_EVERY": (5, 86400),
    "MEMORY_MB": (100, 1_000_000),
    "MAX_BODY_MB": (1, 2000),
    "WEB_THREADS": (1, 256),
}
SECRETS = (
    *("LABEL_STUDIO_API_KEY", "ANTHROPIC_API_KEY", "OPENAI_API_KEY"),
    *("BASIC_AUTH_PASS", "WEBHOOK_SECRET", "REDIS_PASSWORD"),
)


def refusal(**environ: str) -> str:
    """The message with which settings are refused, checked to be one sentence."""
    with pytest.raises(SettingsError) as caught:
        Settings.from_env(environ)
    message = str(caught.value)
    assert message.endswith(".")
    assert "\n" not in message
    assert ". " not in message
    return message


def test_nothing_set_gives_the_defaults() -> None:
    settings = Settings.from_env({})
    assert settings == Settings()
    assert settings.own_url == "http://127.0.0.1:9090"
    assert settings.models == Path(".data/models")
    assert not settings.has_llm


def test_values_are_read_in_their_types() -> None:
    settings = Settings.from_env(
        {
            "PORT": " 9191 ",
            "MODEL_DIR": "/models",
            "SPECIALISTS": "embedded:a, org/b,,",
            "LLM_BUDGET_USD": "0",
            "LLM_TIMEOUT_S": "2.5",
            "STAGE_SIZE": "",
        }
    )
    assert settings.own_url == "http://127.0.0.1:9191"
    assert settings.models == Path("/models")
    assert settings.specialists == ("embedded:a", "org/b")
    assert settings.llm_budget_usd == 0
    assert settings.llm_timeout_s == 2.5
    assert settings.stage_size == Settings().stage_size


@pytest.mark.parametrize("name", RANGES)
def test_a_number_outside_its_range_is_refused(name: str) -> None:
    low, high = RANGES[name]
    Settings.from_env({name: str(low)})
    Settings.from_env({name: str(high)})
    for value in (low - 1, high + 1):
        message = refusal(**{name: str(value)})
        assert message.startswith(f"{name} is {value}")
        assert re.search(rf"{low}\b.* to {high}\b", message)


@pytest.mark.parametrize("name", RANGES)
@pytest.mark.parametrize("text", ["many", "nan", "inf", "1e400"])
def test_what_is_no_usable_number_is_refused(name: str, text: str) -> None:
    assert refusal(**{name: text}).startswith(f"{name} is ")


def test_every_number_has_a_tested_range() -> None:
    numbers = {f.name.upper() for f in fields(Settings) if str(f.type).startswith(("int", "flo"))}
    assert numbers == set(RANGES)


def test_the_ranges_in_the_table_are_the_checked_ones() -> None:
    for name, _, doc in table():
        written = re.search(r"\((\d+(?:\.\d+)?)\.\.(\d+(?:\.\d+)?)\)", doc)
        if written:
            assert (float(written[1]), float(written[2])) == RANGES[name]


@pytest.mark.parametrize(
    "name",
    [
        "LLM_MODE",
        "LLM_BATCH",
        "LLM_PROVIDER",
        "DECISION_RULE",
        "FINE_TUNE",
        "TRAIN_FALLBACK",
        "LOG_LEVEL",
        "LOG_FORMAT",
        "DEVICE",
    ],
)
def test_an_unknown_choice_is_refused(name: str) -> None:
    assert refusal(**{name: "maybe"}).startswith(f"{name} is 'maybe'; ")


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "cuda:1"])
def test_a_device_is_accepted(device: str) -> None:
    assert Settings.from_env({"DEVICE": device}).device == device


@pytest.mark.parametrize("name", ["LABEL_STUDIO_URL", "BACKEND_URL", "LLM_BASE_URL"])
def test_an_address_without_a_scheme_is_refused(name: str) -> None:
    assert refusal(**{name: "host:8080"}).startswith(f"{name} is 'host:8080'; ")


def test_a_redis_address_without_a_scheme_is_refused_unseen() -> None:
    message = refusal(REDIS_URL="hunter2@host:6379")
    assert message.startswith("REDIS_URL ")
    assert "hunter2" not in message
    for url in ("redis://h", "rediss://:p@h:1/0", "unix:///run/redis.sock"):
        assert Settings.from_env({"REDIS_URL": url}).redis_url == url


@pytest.mark.parametrize("name", ["BASIC_AUTH_USER", "BASIC_AUTH_PASS"])
def test_half_of_basic_auth_is_refused(name: str) -> None:
    message = refusal(**{name: "hunter2"})
    assert "BASIC_AUTH_USER" in message
    assert "BASIC_AUTH_PASS" in message
    assert "hunter2" not in message


def test_a_redis_password_without_a_redis_is_refused_unseen() -> None:
    message = refusal(REDIS_PASSWORD="hunter2")
    assert "REDIS_PASSWORD" in message
    assert "REDIS_URL" in message
    assert "hunter2" not in message


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_may_lie_in_a_file(name: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hunter2\n")
    given = {"REDIS_URL": "redis://h", "BASIC_AUTH_USER": "u", "BASIC_AUTH_PASS": "p"}
    given |= {name: "", f"{name}_FILE": str(tmp_path / "secret")}
    settings = Settings.from_env(given)
    assert getattr(settings, name.lower()) == "hunter2"
    assert "hunter2" not in repr(settings)


def test_the_address_of_redis_may_lie_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("redis://:hunter2@h:1/0\n")
    settings = Settings.from_env({"REDIS_URL_FILE": str(tmp_path / "url")})
    assert settings.redis_url == "redis://:hunter2@h:1/0"


def test_an_empty_name_of_a_file_is_none() -> None:
    given = {"OPENAI_API_KEY": "k", "OPENAI_API_KEY_FILE": ""}
    assert Settings.from_env(given).openai_api_key == "k"


def test_only_secrets_are_read_from_files(tmp_path: Path) -> None:
    assert Settings.from_env({"PORT_FILE": str(tmp_path / "missing")}) == Settings()


def test_a_secret_that_is_given_twice_is_refused_unseen(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hunter2")
    message = refusal(OPENAI_API_KEY="hunter2", OPENAI_API_KEY_FILE=str(tmp_path / "secret"))
    assert message.startswith("OPENAI_API_KEY and OPENAI_API_KEY_FILE are both set")
    assert "hunter2" not in message


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "cannot be read (No such file or directory)"),
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"hunter2\nOTHER=x\n", "has several lines"),
        (b"hunter2\xff", "is no text"),
    ],
)
def test_a_file_without_a_secret_is_refused_unseen(
    tmp_path: Path, content: bytes | None, problem: str
) -> None:
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    message = refusal(WEBHOOK_SECRET_FILE=str(path))
    assert message.startswith(f"WEBHOOK_SECRET_FILE is '{path}', which {problem}; ")
    assert "hunter2" not in message


def test_a_folder_in_the_place_of_a_secret_is_refused(tmp_path: Path) -> None:
    message = refusal(WEBHOOK_SECRET_FILE=str(tmp_path))
    assert "cannot be read (Is a directory)" in message


def test_what_replaces_a_secret_replaces_its_file() -> None:
    given = {"REDIS_URL_FILE": "/run/secrets/url", "PORT": "1"}
    assert replaced(given, {"REDIS_URL": "redis://h"}) == {"REDIS_URL": "redis://h", "PORT": "1"}


def test_secrets_never_show_in_the_repr() -> None:
    environ = dict.fromkeys(SECRETS, "hunter2")
    settings = Settings.from_env(
        {**environ, "BASIC_AUTH_USER": "u", "REDIS_URL": "redis://:hunter2@host"}
    )
    assert settings.openai_api_key == "hunter2"
    assert "hunter2" not in repr(settings)
    assert "port=9090" in repr(settings)


@pytest.mark.parametrize(
    ("environ", "has"),
    [
        ({}, False),
        ({"ANTHROPIC_API_KEY": "k"}, True),
        ({"OPENAI_API_KEY": "k"}, True),
        ({"LLM_BASE_URL": "http://localhost:8000"}, True),
        ({"LLM_PROVIDER": "scripted"}, True),
        ({"LLM_PROVIDER": "none", "OPENAI_API_KEY": "k"}, False),
        ({"LLM_MODE": "off", "LLM_PROVIDER": "openai", "OPENAI_API_KEY": "k"}, False),
    ],
)
def test_an_llm_is_there_when_one_is_named_or_has_a_key(environ: dict[str, str], has: bool) -> None:
    assert Settings.from_env(environ).has_llm is has


def test_dotenv_fills_in_and_never_overrides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("PORT=1111\nSTAGE_SIZE=7\nKEEP_TAGS=4\nFLAG\n")
    monkeypatch.setenv("PORT", "2222")
    monkeypatch.setenv("KEEP_TAGS", "")
    monkeypatch.delenv("STAGE_SIZE", raising=False)
    settings = Settings.from_env(read_environment(tmp_path))
    assert settings.port == 2222
    assert settings.stage_size == 7
    assert settings.keep_tags == Settings().keep_tags  # set empty means the default, not .env's


def test_dotenv_may_be_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "2222")
    assert read_environment(tmp_path)["PORT"] == "2222"


def test_the_table_covers_every_setting_with_a_meaning() -> None:
    rows = table()
    assert [name for name, _, _ in rows] == [f.name.upper() for f in fields(Settings)]
    assert all(doc.endswith(".") for _, _, doc in rows)
    assert ("PORT", "9090", "Port of the backend (1..65535).") in rows


def test_the_note_names_every_secret() -> None:
    assert set(re.findall(r"\b[A-Z]+_[A-Z_]+\b", file_note())) == {
        *(SECRETS + ("REDIS_URL", "NAME_FILE"))
    }


def test_the_defaults_in_the_table_can_be_set() -> None:
    defaults = {name: default for name, default, _ in table()}
    assert Settings.from_env(defaults) == Settings()
