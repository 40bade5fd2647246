"""The compose file, the Dockerfile and .env.example agree with the code and with each other."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from check_jsonschema.builtin_schemas import get_builtin_schema
from dotenv import dotenv_values
from jsonschema import Draft202012Validator

from backend import programs
from backend.settings import Settings
from tests import deployment
from tests.deployment import ROOT, compose, instructions, services
from tests.deployment import SECRETS as SECRETS_DIR

SETTINGS = {one.name.upper(): one for one in fields(Settings)}
OURS = ("web", "review", "push", "train", "train-gpu")
# A scripted reviewer is for tests and the demo; the other is read by the compose file itself.
NOT_IN_CONTAINERS = {"LLM_SCRIPT", "LABEL_STUDIO_PORT"}
SECRETS = {name for name, one in SETTINGS.items() if one.metadata["secret"]} - {"REDIS_URL"}
FILES = {f"{name}_FILE" for name in SECRETS}
OPTIONAL = SECRETS - {"REDIS_PASSWORD"}
EXAMPLE = ROOT / ".env.example"


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    """What the containers see in /run/secrets when every secret is given."""
    for name in compose()["secrets"]:
        (tmp_path / name).write_text(f"own {name}\n")
    return tmp_path


def settings_in(given: dict[str, str], secrets: Path) -> Settings:
    """The settings of a process with this environment."""
    here = {name: text.replace(SECRETS_DIR, f"{secrets}/") for name, text in given.items()}
    return Settings.from_env(here)


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


@pytest.mark.parametrize("name", OURS)
def test_our_services_get_every_setting_and_nothing_else(name: str, secrets: Path) -> None:
    given = services()[name]["environment"]
    assert set(given) == (set(SETTINGS) - NOT_IN_CONTAINERS - {"REDIS_PASSWORD"}) | FILES
    settings = settings_in(given, secrets)
    assert settings.redis_url == "redis://redis:6379/0"
    assert settings.redis_password == "own redis_password"
    assert str(settings.models) == "/data/models"


def test_what_people_set_in_env_reaches_the_containers() -> None:
    fixed = {"REDIS_URL", "LABEL_STUDIO_URL", "BACKEND_URL", "HOST", "DATA_DIR", "MODEL_DIR"}
    adjustable = set(SETTINGS) - NOT_IN_CONTAINERS - fixed - {"PORT", "REDIS_PASSWORD"}
    given = services({name: f"own {name}" for name in adjustable})["review"]
    for name in adjustable:
        assert given["environment"][name] == f"own {name}"


@pytest.mark.parametrize("name", sorted(OPTIONAL))
def test_a_secret_that_env_names_a_file_for_reaches_our_services(name: str, secrets: Path) -> None:
    environ = {f"{name}_FILE": "./secrets/its-file", "BASIC_AUTH_USER": "", "BASIC_AUTH_PASS": ""}
    if name == "BASIC_AUTH_PASS":
        environ["BASIC_AUTH_USER"] = "somebody"
    assert compose(environ)["secrets"][name.lower()] == {"file": "./secrets/its-file"}
    for ours in OURS:
        service = services(environ)[ours]
        assert name.lower() in service["secrets"]
        settings = settings_in(service["environment"], secrets)
        assert getattr(settings, name.lower()) == f"own {name.lower()}"
        others = {other.lower() for other in OPTIONAL} - {name.lower()}
        assert not any(getattr(settings, other) for other in others)
    assert compose()["secrets"][name.lower()] == {"file": "/dev/null"}


def test_a_service_reads_the_secrets_that_it_is_given_and_they_are_declared() -> None:
    declared = compose()["secrets"]
    every_file = {f"{name}_FILE": "f" for name in OPTIONAL}
    for name, service in services(every_file).items():
        told = str({key: service.get(key) for key in ("environment", "command", "entrypoint")})
        read = set(re.findall(rf"{SECRETS_DIR}(\w+)", told))
        assert read == set(service["secrets"]), name
        assert read <= set(declared)


def test_make_secrets_makes_those_that_are_needed() -> None:
    made = re.search(r"for name in ([\w ]+); do", (ROOT / "Makefile").read_text())
    assert made is not None
    needed = {name for name, one in compose()["secrets"].items() if one["file"] != "/dev/null"}
    assert set(made[1].split()) == needed
    assert all(compose()["secrets"][name] == {"file": f"./secrets/{name}"} for name in needed)
    assert "secrets/" in (ROOT / ".gitignore").read_text().splitlines()


def test_no_service_has_a_secret_in_its_environment() -> None:
    for service in services().values():
        given = service.get("environment", {})
        named = {one for one in given if re.search("PASS|KEY|SECRET", one)}
        assert {one for one in named if given[one] and not one.endswith("_FILE")} == set()


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
    fewer = services({"WEB_THREADS": "4"})["web"]["command"]
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
    for variable, other in (("NAME", "DB"), ("USER", "USER")):
        assert ours[f"POSTGRE_{variable}"] == database[f"POSTGRES_{other}"]
    (*_, script) = every["label-studio"]["entrypoint"]
    assert f'POSTGRE_PASSWORD="$(cat {database["POSTGRES_PASSWORD_FILE"]})"' in script
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


def test_what_is_ours_can_write_to_its_volumes_and_tmp_alone() -> None:
    for name in (*OURS, "redis", "postgres"):
        service = services()[name]
        assert service["read_only"] is True, name
        assert "/tmp" in service["tmpfs"]
        assert service["cap_drop"] == ["ALL"]
        written = [volume.split(":")[1] for volume in service["volumes"]]
        assert len(written) == 1
    for name in OURS:
        given = services()[name]["environment"]
        (folder,) = (volume.split(":")[1] for volume in services()[name]["volumes"])
        home = deployment.image_environment()["HF_HOME"]
        for path in (given["DATA_DIR"], given["MODEL_DIR"], home):
            assert Path(path).is_relative_to(folder)


def test_no_service_gains_rights_or_takes_the_whole_machine() -> None:
    for name, service in services().items():
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["mem_limit"]
        assert service["pids_limit"] > 0
        assert service["stop_grace_period"]
        assert service["restart"] == "unless-stopped"
        assert set(service["logging"]["options"]) == {"max-size", "max-file"}
        assert "privileged" not in service
    for name in ("redis", "postgres"):
        assert int(services()[name]["user"].split(":")[0]) > 0


def test_replicas_and_limits_can_be_chosen() -> None:
    chosen = {"PUSH_REPLICAS": "3", "REVIEW_REPLICAS": "2", "WORKER_CPUS": "1.5"}
    chosen |= {"MODEL_MEMORY_LIMIT": "12g", "REDIS_MEMORY_LIMIT": "4g", "REDIS_MAXMEMORY": "2gb"}
    assert problems(compose(chosen)) == []
    every = services(chosen)
    assert every["push"]["deploy"]["replicas"] == "3"
    assert every["review"]["deploy"]["replicas"] == "2"
    assert every["push"]["cpus"] == every["train"]["cpus"] == "1.5"
    assert every["web"]["mem_limit"] == every["push"]["mem_limit"] == "12g"
    assert every["redis"]["mem_limit"] == "4g"
    assert "--maxmemory 2gb" in every["redis"]["command"][-1]
    assert set(chosen) <= set(dotenv_values(EXAMPLE))


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
    assert set(example) <= set(SETTINGS) | FILES | deployment.variables()
    assert {f"{name}_FILE" for name in OPTIONAL} <= set(example)
    assert not SECRETS & {name for name, value in example.items() if value}


def test_the_example_unchanged_changes_nothing(secrets: Path) -> None:
    example = {name: value or "" for name, value in dotenv_values(EXAMPLE).items()}
    assert Settings.from_env(example) == Settings()
    with_example, without = services(example), services()
    for name in OURS:
        given, plain = with_example[name]["environment"], without[name]["environment"]
        assert settings_in(given, secrets) == settings_in(plain, secrets)
    for name in set(without) - set(OURS):
        assert with_example[name] == without[name]


def test_the_example_explains_each_variable_in_one_line() -> None:
    lines = EXAMPLE.read_text().splitlines()
    for before, line in zip(lines, lines[1:], strict=False):
        if "=" in line and not line.startswith("#"):
            assert before.startswith("# ") and not before.startswith("# ---"), line
