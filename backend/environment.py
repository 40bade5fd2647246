"""Where settings come from: the environment, a `.env` file, and files that hold secrets.

A secret `NAME` may lie in a file that `NAME_FILE` names, as Docker and Kubernetes mount them: it is
then in no process list, `docker inspect` or `.env`. It does not know what the settings are.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from backend.errors import BackendError


class SettingsError(BackendError):
    """A setting has a value that cannot be used; the message names the variable."""


def read_environment(folder: Path | None = None) -> dict[str, str]:
    """The process environment, completed by `.env` in `folder` (default: working folder)."""
    from dotenv import dotenv_values

    path = (folder or Path.cwd()) / ".env"
    values = {key: value for key, value in dotenv_values(path).items() if value is not None}
    return {**values, **os.environ}


def text_of(environ: Mapping[str, str], name: str, *, secret: bool = False) -> str:
    """The value of a variable, of a secret also from its file; empty where it is not set.

    Raises:
        SettingsError: Variable and file are both given, or the file holds no single line of text.
    """
    text = environ.get(name, "").strip()
    file = environ.get(f"{name}_FILE", "").strip() if secret else ""
    if not file:
        return text
    if text:
        raise SettingsError(f"{name} and {name}_FILE are both set; remove one of them.")
    return _line_of(Path(file), f"{name}_FILE")


def replaced(environ: Mapping[str, str], values: Mapping[str, str]) -> dict[str, str]:
    """The environment with these values instead of what it says, files of secrets included."""
    files = {f"{name}_FILE" for name in values}
    return {**{name: text for name, text in environ.items() if name not in files}, **values}


def _line_of(path: Path, variable: str) -> str:
    try:
        text = path.read_text("utf-8").strip()
    except OSError as error:
        problem = f"cannot be read ({error.strerror})"
    except UnicodeDecodeError:
        problem = "is no text"
    else:
        if text and "\n" not in text:
            return text
        problem = "has several lines" if text else "is empty"
    raise SettingsError(
        f"{variable} is {str(path)!r}, which {problem}; it must be a file with the secret alone."
    )
