"""The demo's account and its record: how other commands, and people, reach it.

Both files hold secrets and are readable by their owner only.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from backend.demo.errors import DemoError
from backend.settings import Settings

EMAIL = "demo@example.com"


@dataclass(frozen=True)
class Account:
    """The demo's Label Studio login."""

    email: str
    password: str = field(repr=False)
    token: str = field(default="", repr=False)


def account_of(data_dir: Path) -> Account:
    """The login of this data folder's Label Studio; made once."""
    path = data_dir / "demo-account.json"
    if not path.exists():
        write_private(path, {"email": EMAIL, "password": secrets.token_urlsafe(12)})
    return Account(**json.loads(path.read_text()))


def keep_account(data_dir: Path, account: Account) -> None:
    """Remember the account with its token."""
    write_private(data_dir / "demo-account.json", account.__dict__)


def read_record(settings: Settings) -> dict[str, Any]:
    """The record of the running demo.

    Raises:
        DemoError: No demo runs with this data folder.
    """
    path = settings.data_dir / "demo.json"
    try:
        record: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        raise DemoError(f"The demo does not run ({path} is not there): make demo") from None
    return record


def record_of(settings: Settings, account: Account, ids: Mapping[str, int]) -> dict[str, Any]:
    """Addresses and credentials of the running demo, as `demo.json` holds them."""
    return {
        "label_studio_url": settings.label_studio_url,
        "backend_url": settings.own_url,
        "email": account.email,
        "password": account.password,
        "token": account.token,
        "projects": dict(ids),
    }


def reach_demo(settings: Settings) -> Settings:
    """Settings that speak to the running demo's Label Studio, unless they name another."""
    if settings.label_studio_url or not (settings.data_dir / "demo.json").exists():
        return settings
    record = read_record(settings)
    return replace(
        settings,
        label_studio_url=record["label_studio_url"],
        label_studio_api_key=record["token"],
        backend_url=record["backend_url"],
    )


def write_private(path: Path, data: Mapping[str, Any]) -> None:
    """Write JSON that only its owner may read, in one go."""
    aside = path.with_suffix(".tmp")
    with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(data, file, indent=2)
    aside.replace(path)
