"""What one project has set for itself; it comes before the environment, for that project only.

Set by `python -m backend project set`, or by the ML backend's extra parameters in Label Studio,
which come with every `/setup`: they count when they change, so that they do not undo what was set
since. Values are checked as those of the environment are; an empty one means the environment's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import redis

from backend.environment import SettingsError
from backend.settings import Settings

NAMES = {
    "stage_size": "stage_size",
    "budget": "llm_budget_project_usd",
    "target_error": "target_error",
}
"""The settings that a project may have of its own, by the names that people give them."""
GUIDELINES = "guidelines"
MAX_GUIDELINE_CHARS = 8000


def settings_key(project_id: int) -> str:
    """Hash: name -> value, as text."""
    return f"aa:project:{project_id}:settings"


def offered_key(project_id: int) -> str:
    """JSON of the extra parameters that Label Studio sent last."""
    return f"aa:project:{project_id}:extra_params"


def read(client: redis.Redis, project_id: int) -> dict[str, str]:
    """What the project has set."""
    rows = client.hgetall(settings_key(project_id))
    return {str(name): str(value) for name, value in rows.items()}


def applied(client: redis.Redis, project_id: int, settings: Settings) -> Settings:
    """The settings as they are for this project."""
    own = {name: text for name, text in read(client, project_id).items() if name in NAMES}
    return replace(settings, **_values(own)) if own else settings


def guideline(client: redis.Redis, project_id: int, described: str) -> str:
    """The project's own guideline, else the one that Label Studio has `described`."""
    own = client.hget(settings_key(project_id), GUIDELINES)
    return str(own) if own else described


def change(client: redis.Redis, project_id: int, given: Mapping[str, str]) -> None:
    """Set some; an empty value takes back what was set.

    Raises:
        SettingsError: A name or a value is none; then nothing is set.
    """
    for name in given:
        if name not in (*NAMES, GUIDELINES):
            allowed = ", ".join((*NAMES, GUIDELINES))
            raise SettingsError(f"{name!r} is none of a project's; allowed is one of {allowed}.")
    chars = len(given.get(GUIDELINES, ""))
    if chars > MAX_GUIDELINE_CHARS:
        raise SettingsError(f"guidelines has {chars} characters; allowed: {MAX_GUIDELINE_CHARS}.")
    kept: dict[Any, Any] = {name: text.strip() for name, text in given.items() if text.strip()}
    _values({name: text for name, text in kept.items() if name in NAMES})
    if not given:
        return
    with client.pipeline() as pipe:
        pipe.hdel(settings_key(project_id), *given)
        if kept:
            pipe.hset(settings_key(project_id), mapping=kept)
        pipe.execute()


def offer(client: redis.Redis, project_id: int, params: Any) -> str:
    """Take over Label Studio's extra parameters if they are new; why not, if they cannot be."""
    if not isinstance(params, Mapping) or not params:
        return ""
    mine = {str(k): str(v) for k, v in params.items() if k in (*NAMES, GUIDELINES)}
    told = json.dumps(mine, sort_keys=True)
    if client.getset(offered_key(project_id), told) == told:
        return ""
    try:
        change(client, project_id, mine)
    except SettingsError as error:
        return f"The backend's extra parameters are not used: {error}"
    return ""


def lines(client: redis.Redis, project_id: int, settings: Settings) -> list[str]:
    """What counts for the project and where it comes from, for people."""
    own, now = read(client, project_id), applied(client, project_id, settings)
    found = []
    for name, field in NAMES.items():
        value, own_one = getattr(now, field), name in own
        source = "set for this project" if own_one else f"{field.upper()} of this machine"
        found.append(f"{name}={'' if value is None else value} ({source})")
    told = own.get(GUIDELINES)
    return [*found, f"{GUIDELINES}={told or '(the description and instructions in Label Studio)'}"]


def _values(own: Mapping[str, str]) -> dict[str, Any]:
    """The values of settings by their fields' names; raises SettingsError."""
    named = {NAMES[name].upper(): text for name, text in own.items()}
    found = Settings.from_env(named)
    mine = {f.name for f in fields(Settings) if f.name.upper() in named}
    return {name: getattr(found, name) for name in mine}
