"""What Dockerfile and docker-compose.yml say, for the tests of both; it runs nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
VARIABLE = re.compile(r"\$\{(?P<name>\w+):(?P<kind>[-+])(?P<text>[^}]*)\}")
SECRETS = "/run/secrets/"


def compose(environ: Mapping[str, str] = MappingProxyType({})) -> dict[str, Any]:
    """The compose file with its variables filled in."""
    text = (ROOT / "docker-compose.yml").read_text("utf-8")
    loaded: dict[str, Any] = _filled(yaml.safe_load(text), environ)
    return loaded


def services(environ: Mapping[str, str] = MappingProxyType({})) -> dict[str, Any]:
    """The services of the compose file by name."""
    found: dict[str, Any] = compose(environ)["services"]
    return found


def variables() -> set[str]:
    """The names that the compose file reads from .env."""
    return {one["name"] for one in VARIABLE.finditer((ROOT / "docker-compose.yml").read_text())}


def instructions(keyword: str) -> list[str]:
    """The arguments of each such instruction of the Dockerfile, continued lines joined."""
    text = (ROOT / "Dockerfile").read_text("utf-8").replace("\\\n", " ")
    return re.findall(rf"^{keyword}\s+(.+)$", text, re.MULTILINE)


def image_command() -> list[str]:
    """What the image runs when nothing else is said."""
    (command,) = instructions("CMD")
    argv: list[str] = json.loads(command)
    return argv


def image_health_check() -> list[str]:
    """The image's own health check."""
    (check,) = instructions("HEALTHCHECK")
    argv: list[str] = json.loads(check.partition("CMD")[2])
    return argv


def image_environment() -> dict[str, str]:
    """The variables that the image sets."""
    pairs = (pair for line in instructions("ENV") for pair in line.split())
    return dict(pair.split("=", 1) for pair in pairs)


def copied() -> list[Path]:
    """The files and folders of the repository that the image gets."""
    return [ROOT / source for line in instructions("COPY") for source in line.split()[:-1]]


def _filled(node: Any, environ: Mapping[str, str]) -> Any:
    if isinstance(node, dict):
        return {key: _filled(value, environ) for key, value in node.items()}
    if isinstance(node, list):
        return [_filled(value, environ) for value in node]
    if not isinstance(node, str):
        return node

    def value(variable: re.Match[str]) -> str:
        given = environ.get(variable["name"], "")
        if variable["kind"] == "+":
            return variable["text"] if given else ""
        return given or variable["text"]

    return VARIABLE.sub(value, node).replace("$$", "$")
