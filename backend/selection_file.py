"""The file of a selection: what `select` writes, people edit, and `select --from` reads and checks.

JSON: by control the `members`, and what was `left_out` in the same form, so that a person can move
one over. Of a member only `name`, `source`, `checkpoint` and `label_map` decide anything, and all
of them are checked; the rest says what was measured.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

from backend.candidates import origin_of
from backend.errors import BackendError
from backend.selection_table import Table
from meta_controller.candidates import LEAST_LABELS, Candidate
from specialists.errors import SpecialistUnavailable
from specialists.types import LabelSet


class SelectionFileError(BackendError):
    """The file cannot be read as a selection; the message says where and what is allowed."""


def write(file: Path, project_id: int, tables: Sequence[Table]) -> None:
    """Write the tables to edit; the file is replaced at once."""
    file.parent.mkdir(parents=True, exist_ok=True)
    controls = {one.control: one.to_json() for one in tables}
    aside = file.with_suffix(".part")
    text = json.dumps({"project": project_id, "controls": controls}, indent=2, ensure_ascii=False)
    aside.write_text(text + "\n", encoding="utf-8")
    aside.replace(file)


def read(
    file: Path,
    project_id: int,
    labels: Mapping[str, LabelSet],
    own_labels: Callable[[str], tuple[str, ...]],
) -> dict[str, list[tuple[str, Candidate]]]:
    """The members of a file by control, each with its name; `labels` are the controls'.

    `own_labels` tells a source's labels and raises SpecialistUnavailable. Raises
    SelectionFileError, which says where.
    """
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        controls = {str(name): list(one["members"]) for name, one in data["controls"].items()}
        of_project = int(data["project"])
    except (OSError, UnicodeDecodeError) as error:
        raise SelectionFileError(f"{file} cannot be read ({type(error).__name__}).") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SelectionFileError(
            f"{file} is no selection ({type(error).__name__}: {error}); begin with the file that "
            "python -m backend select wrote."
        ) from None
    if of_project != project_id:
        raise SelectionFileError(f"{file} is of project {of_project}, not {project_id}.")
    if not controls:
        raise SelectionFileError(f"{file} has no control; they are {', '.join(labels)}.")
    strangers = sorted(set(controls) - set(labels))
    if strangers:
        raise SelectionFileError(
            f"{file}: control {strangers[0]} is none of {', '.join(labels)} (one choice each)."
        )
    found = {}
    for name, rows in controls.items():
        found[name] = [
            _member(f"{file}, control {name}, member {number}", one, labels[name], own_labels)
            for number, one in enumerate(rows, start=1)
        ]
        _check_names(f"{file}, control {name}", [member for member, _ in found[name]])
    return found


def _member(
    where: str, one: Any, labels: LabelSet, own_labels: Callable[[str], tuple[str, ...]]
) -> tuple[str, Candidate]:
    """Check one member of a file."""
    if not isinstance(one, dict) or not isinstance(one.get("label_map"), dict):
        raise SelectionFileError(f"{where}: expected name, source and label_map.")
    name, source, checkpoint = (one.get(key) for key in ("name", "source", "checkpoint"))
    label_map = one["label_map"]
    if not (_is_text(name) and _is_text(source) and (checkpoint is None or _is_text(checkpoint))):
        raise SelectionFileError(f"{where}: name, source and checkpoint must be texts.")
    try:
        own = own_labels(source)
    except SpecialistUnavailable as error:
        raise SelectionFileError(f"{where}: {error}") from None
    for label, meant in label_map.items():
        if label not in own:
            raise SelectionFileError(f"{where}: it has no label {label!r}, but {', '.join(own)}.")
        if meant not in labels.names:
            raise SelectionFileError(
                f"{where}: {meant!r} is no label of the project; they are "
                f"{', '.join(labels.names)}."
            )
    if origin_of(source) == "generated" and any(a != b for a, b in label_map.items()):
        raise SelectionFileError(
            f"{where}: generated code answers in the project's labels; map each to itself."
        )
    if len(set(label_map.values())) < LEAST_LABELS:
        raise SelectionFileError(
            f"{where}: its map reaches {len(set(label_map.values()))} label of the project; "
            f"{LEAST_LABELS} at least are a choice."
        )
    return name, Candidate(
        source=source,
        origin=origin_of(source),
        labels=own,
        label_map=label_map,
        mapped_by="person",
        checkpoint=checkpoint,
        parameters=one.get("parameters"),
        downloads=one.get("downloads"),
        licence=str(one.get("licence") or ""),
    )


def _check_names(where: str, names: Sequence[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SelectionFileError(f"{where}: two members are called {twice[0]}; rename one.")
    if not names:
        raise SelectionFileError(f"{where}: it has no member; leave the control out to keep its.")


def _is_text(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and bool(value)
