"""The compose file, the Dockerfile and .env.example agree with the code and with each other."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import Any
from urllib.parse import urlsplit

import pytest
from check_jsonschema.builtin_schemas import get_builtin_schema
from dotenv import dotenv_values
from jsonschema import Draft202012Validator

from backend import programs
from backend.settings import Settings
from tests import deployment
from tests.deployment import REQUIRED, ROOT, compose, instructions, services

SETTINGS = {one.name.upper(): one for one in fields(Settings)}
OURS = ("web", "review", "push", "train", "train-gpu")
# A scripted reviewer is for tests and the demo; the other is read by the compose file itself.
NOT_IN_CONTAINERS = {"LLM_SCRIPT", "LABEL_STUDIO_PORT"}
EXAMPLE = ROOT / ".env.example"


def problems(file: dict[str, Any]) -> list[str]:
    schema = get_builtin_schema("vendor.compose-spec")
    return [one.message for one in Draft202012Validator(schema).iter_errors(file)]


def program(name: str, **settings: Any) -> list[str]:
    """The command with which the supervisor starts it, as the image would write it."""
    given = Settings(host="0.0.0.0", redis_url="redis://redis:6379/0", **settings)
    (found,) = (one for one in programs.backend_programs(given, {}) if one.name == name)
    return ["python", *found.argv[1:]]


def check_of(service: dict[str, Any]) -> list[str]:
    kind, *argv = service["healthcheck"]["test"]
    assert kind == "CMD"
    return list(argv)


def test_it_is_a_valid_compose_file_without_the_obsolete_version_key() -> None:
    file = compose()
    assert problems(file) == []
    assert "version" not in file
    file["services"]["web"]["healtcheck"] = {}
    assert len(problems(file)) == 1


@pytest.mark.parametrize("missing", REQUIRED)
def test_a_missing_password_stops_it_with_the_name_and_the_next_step(missing: str) -> None:
    with pytest.raises(ValueError, match=f"{missing}: set it in .env"):
        compose({name: value for name, value in REQUIRED.items() if name != missing})


@pytest.mark.parametrize("name", OURS)
def test_our_services_get_every_setting_and_nothing_else(name: str) -> None:
    given = services()[name]["environment"]
    assert set(given) == set(SETTINGS) - NOT_IN_CONTAINERS
    settings = Settings.from_env(given)
    assert settings.redis_url == "redis://redis:6379/0"
    assert str(settings.models) == "/data/models"


def test_what_people_set_in_env_reaches_the_containers() -> None:
    fixed = {"REDIS_URL", "LABEL_STUDIO_URL", "BACKEND_URL", "HOST", "DATA_DIR", "MODEL_DIR"}
    adjustable = set(SETTINGS) - NOT_IN_CONTAINERS - fixed - {"PORT"}
    given = services({**REQUIRED, **{name: f"own {name}" for name in adjustable}})["review"]
    for name in adjustable:
        assert given["environment"][name] == f"own {name}"


def test_every_image_is_pinned_or_built_here() -> None:
    exact = re.compile(r"[\w./-]+:\d+\.\d+(\.\d+)?(-[\w-]+)?")
    (base,) = instructions("FROM")
    for image in (base, *(one["image"] for one in services().values() if "build" not in one)):
        assert exact.fullmatch(image), image
    for name in OURS:
        assert services()[name]["image"].startswith("autoannotator:")
        assert "build" in services()[name]


def test_every_service_has_a_health_check_and_waits_for_healthy_ones() -> None:
    every = services()
    for name, service in every.items():
        assert set(service["healthcheck"]) >= {"test", "interval", "timeout", "retries"}, name
        for needed, how in service.get("depends_on", {}).items():
            assert needed in every
            assert how == {"condition": "service_healthy"}
    assert set(every["label-studio"]["depends_on"]) == {"postgres"}
    assert all(set(every[name]["depends_on"]) == {"redis"} for name in OURS)


def test_the_web_command_is_the_supervisors() -> None:
    assert services()["web"]["command"] == program("web")
    assert deployment.image_command() == program("web")
    fewer = services({**REQUIRED, "WEB_THREADS": "4"})["web"]["command"]
    assert fewer == program("web", web_threads=4)


def test_the_worker_commands_are_the_supervisors() -> None:
    for kind in ("review", "push", "train"):
        assert services()[kind]["command"] == program(kind)
    assert services()["train-gpu"]["command"] == program("train")


def test_the_image_and_the_compose_file_ask_the_web_process_the_same() -> None:
    assert check_of(services()["web"]) == deployment.image_health_check()


def test_the_gpu_worker_comes_only_with_its_profile() -> None:
    profiles = {name: one["profiles"] for name, one in services().items() if "profiles" in one}
    assert profiles == {"train-gpu": ["gpu"]}
    gpu = services()["train-gpu"]
    (device,) = gpu["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}
    assert "/cu" in gpu["build"]["args"]["TORCH_INDEX"]
    assert gpu["image"] != services()["train"]["image"]
    assert gpu["environment"]["DEVICE"] == "cuda"


def test_label_studio_reaches_its_database_and_our_private_address() -> None:
    every = services()
    ours, database = every["label-studio"]["environment"], every["postgres"]["environment"]
    assert ours["DJANGO_DB"] == "default"  # PostgreSQL, in Label Studio's own words
    assert ours["POSTGRE_HOST"] in every
    for variable, other in (("NAME", "DB"), ("USER", "USER"), ("PASSWORD", "PASSWORD")):
        assert ours[f"POSTGRE_{variable}"] == database[f"POSTGRES_{other}"]
    assert ours["ML_BLOCK_LOCAL_IP"] == ours["SSRF_PROTECTION_ENABLED"] == "false"


def test_the_addresses_are_names_in_the_network_that_label_studio_accepts() -> None:
    every = services()
    given = every["web"]["environment"]
    backend = urlsplit(given["BACKEND_URL"]).hostname or ""
    assert "." in backend  # else Label Studio refuses the webhook: "Enter a valid URL."
    assert backend in every["web"]["networks"]["default"]["aliases"]
    for variable in ("LABEL_STUDIO_URL", "REDIS_URL"):
        assert urlsplit(given[variable]).hostname in every


def test_only_label_studio_is_published_beyond_this_machine() -> None:
    published = {name: one["ports"] for name, one in services().items() if "ports" in one}
    assert published == {"label-studio": ["8080:8080"], "web": ["127.0.0.1:9090:9090"]}


def test_every_volume_is_declared_and_ours_share_one_for_the_models() -> None:
    declared = set(compose()["volumes"])
    mounted = {v.split(":")[0] for one in services().values() for v in one.get("volumes", ())}
    assert mounted == declared
    assert all(services()[name]["volumes"] == ["data:/data"] for name in OURS)
    redis = services()["redis"]["command"]
    assert redis[redis.index("--appendonly") + 1] == "yes"


def test_the_image_has_the_torch_of_the_requirements_and_no_root() -> None:
    (torch,) = re.findall(r"torch==\S+", " ".join(instructions("RUN")))
    assert torch in (ROOT / "requirements.txt").read_text().splitlines()
    assert f"TORCH_VERSION := {torch.removeprefix('torch==')}" in (ROOT / "Makefile").read_text()
    (index,) = instructions("ARG")
    assert index == "TORCH_INDEX=https://download.pytorch.org/whl/cpu"
    (user,) = instructions("USER")
    assert int(user) > 0


def test_the_build_sees_what_the_dockerfile_copies_and_no_secret() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    let_in = {ROOT / rule[1:] for rule in rules if rule.startswith("!")}
    assert let_in == set(deployment.copied())
    assert all(path.exists() for path in let_in)


def test_the_image_sets_only_settings_and_known_extras() -> None:
    extras = {
        *("PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE", "TOKENIZERS_PARALLELISM"),
        "OMP_WAIT_POLICY",
        *("PIP_NO_CACHE_DIR", "PIP_DISABLE_PIP_VERSION_CHECK", "HF_HOME"),
    }
    assert set(deployment.image_environment()) - set(SETTINGS) == extras


def test_the_example_names_only_what_is_read() -> None:
    example = dotenv_values(EXAMPLE)
    assert set(example) <= set(SETTINGS) | deployment.variables()
    assert set(REQUIRED) <= set(example)
    assert not any(example[name] for name in REQUIRED)


def test_the_example_unchanged_changes_nothing() -> None:
    example = {name: value or "" for name, value in dotenv_values(EXAMPLE).items()}
    assert Settings.from_env(example) == Settings()
    with_example = {**example, **REQUIRED}
    assert Settings.from_env(services(with_example)["web"]["environment"]) == Settings.from_env(
        services()["web"]["environment"]
    )
    assert services(with_example)["label-studio"] == services()["label-studio"]


def test_the_example_explains_each_variable_in_one_line() -> None:
    lines = EXAMPLE.read_text().splitlines()
    for before, line in zip(lines, lines[1:], strict=False):
        if "=" in line and not line.startswith("#"):
            assert before.startswith("# ") and not before.startswith("# ---"), line
