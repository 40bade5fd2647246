"""`python -m backend approve ID`: a person lets code that an LLM wrote serve."""

from __future__ import annotations

import getpass
import os
from collections.abc import Callable

from backend.settings import Settings
from specialists.generated_store import APPROVAL, GeneratedStore
from specialists.registry import GENERATED_PREFIX


def generated(settings: Settings) -> GeneratedStore:
    """Where generated code is kept."""
    return GeneratedStore(settings.models / "generated")


def approve(settings: Settings, name: str, by: str, say: Callable[[str], None]) -> None:
    """Let code serve; `by` is who says so, empty for the user of this process.

    Raises SpecialistUnavailable for an unknown id, or code that was changed after its test.
    """
    store, name = generated(settings), name.removeprefix(GENERATED_PREFIX)
    made = store.approve(name, by or _user())
    say(
        f"{name} may serve ({store.folder(name) / APPROVAL} says who approved it): code for "
        f"{made.model}, labels {', '.join(made.labels.names)}.\n"
        "Let a project measure it beside others: python -m backend select --project ID\n"
        f"Make it a member of new projects: SPECIALISTS=...,{GENERATED_PREFIX}{name}"
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return str(os.getuid())
