"""What people answered, read from Label Studio's webhooks and from its task list.

Knows which annotations are a person's answer and which only look like one: a skip carries the
pre-annotation as its result, and annotations made from predictions in bulk carry a machine's
labels. Knows nothing of HTTP or of what happens to the answers. Bodies come from strangers: what
is malformed raises BadRequest with the name of the field.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from backend.errors import BadRequest
from backend.ids import MAX_ID, is_id, project_number
from backend.label_config import Control, parse
from backend.regions import labels_of
from training.label_names import LabelNames

_ANNOTATED = frozenset({"ANNOTATION_CREATED", "ANNOTATIONS_CREATED", "ANNOTATION_UPDATED"})
_UNKNOWN_PERSON = 0
_AS_THEY_ARE = LabelNames()

Row = Mapping[str, Any]


@dataclass(frozen=True)
class HumanAnswer:
    """One person's answer to one task.

    `completed_by` is the person's user id, 0 when Label Studio no longer knows it; `updated_at`
    is seconds since the epoch; `choices` maps a control's name to the labels chosen under it;
    `unfit` has what was chosen and cannot be now, as the label config has changed; `data` is the
    task's data, empty when the hook did not carry it.
    """

    annotation_id: int
    task_id: int
    completed_by: int
    updated_at: float
    ground_truth: bool
    choices: Mapping[str, tuple[str, ...]]
    data: Mapping[str, Any] = field(repr=False)
    unfit: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Reading:
    """Annotations sorted into answers and, by annotation id, the reason why others are none."""

    answers: tuple[HumanAnswer, ...] = ()
    retracted: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Hook:
    """One webhook, reduced to what changes our state.

    `retracted` maps annotation ids that are not, or no longer, a person's answer to the reason.
    """

    action: str
    project_id: int
    label_config: str = field(default="", repr=False)
    answers: tuple[HumanAnswer, ...] = ()
    retracted: Mapping[int, str] = field(default_factory=dict)
    created_tasks: tuple[int, ...] = ()
    deleted_tasks: tuple[int, ...] = ()


def read_hook(body: Row, names: LabelNames = _AS_THEY_ARE) -> Hook:
    """Read a webhook body; an action that does not concern us gives a Hook with nothing in it.

    `names` are those that labels and controls had before: annotations keep them.

    Raises BadRequest for a malformed body, LabelConfigError when annotations come from a project
    without a control that classifies text.
    """
    action = _text(body, "action")
    project = body.get("project")
    hook = Hook(action, _project_id(body), _label_config(project))
    if action in _ANNOTATED:
        reading = _read(_annotated_tasks(body), parse(hook.label_config), names)
        return _with(hook, answers=reading.answers, retracted=reading.retracted)
    if action == "ANNOTATIONS_DELETED":
        return _with(hook, retracted=dict.fromkeys(_ids(body, "annotations"), "deleted"))
    if action == "TASKS_CREATED":
        return _with(hook, created_tasks=_ids(body, "tasks"))
    if action == "TASKS_DELETED":
        return _with(hook, deleted_tasks=_ids(body, "tasks"))
    return hook


def answers_of(task: Row, controls: Sequence[Control], names: LabelNames = _AS_THEY_ARE) -> Reading:
    """Sort the annotations of one task row as the API lists it; same rules, same errors."""
    return _read([(task, row) for row in _rows(task, "annotations")], controls, names)


def _with(hook: Hook, **found: Any) -> Hook:
    """Return the hook with what was found in it."""
    return Hook(hook.action, hook.project_id, hook.label_config, **found)


def _annotated_tasks(body: Row) -> list[tuple[Row, Row]]:
    """Pair each annotation of a hook with its task; bulk hooks carry lists of both."""
    tasks = {_int(task, "id", "task.id"): task for task in _rows(body, "task")}
    pairs = []
    for annotation in _rows(body, "annotation"):
        task_id = _int(annotation, "task", "annotation.task")
        pairs.append((tasks.get(task_id, {"id": task_id}), annotation))
    return pairs


def _read(
    pairs: Iterable[tuple[Row, Row]], controls: Sequence[Control], names: LabelNames
) -> Reading:
    """Sort (task, annotation) pairs."""
    answers, retracted = [], {}
    for task, annotation in pairs:
        annotation_id = _int(annotation, "id", "annotation.id")
        choices = _choices(annotation, controls, names)
        reason = _not_an_answer(annotation, choices)
        if reason:
            retracted[annotation_id] = reason
        else:
            answers.append(_answer(annotation_id, task, annotation, choices, controls))
    return Reading(tuple(answers), retracted)


def _not_an_answer(annotation: Row, choices: Mapping[str, tuple[str, ...]]) -> str:
    """Say why an annotation is not a person's answer; empty when it is one."""
    if annotation.get("was_cancelled"):
        return "skipped"
    if _made_by_machine(annotation):
        return "made from a prediction in bulk"
    return "" if choices else "no label chosen"


def _made_by_machine(annotation: Row) -> bool:
    """Whether a prediction was copied without a person looking at it.

    Label Studio's "create annotations from predictions" sets the parent but no time spent, and
    its regions lack the origin that the editor writes. Setting ground truth is a person's word.
    """
    seen = annotation.get("lead_time") is not None or annotation.get("ground_truth")
    edited = any("origin" in region for region in _rows(annotation, "result"))
    return annotation.get("parent_prediction") is not None and not seen and not edited


def _choices(
    annotation: Row, controls: Sequence[Control], names: LabelNames
) -> dict[str, tuple[str, ...]]:
    """Read the labels chosen under each control, in the names of now.

    Other regions, the rationale's among them, are not answers.
    """
    chosen = {}
    for control in controls:
        said = names.now(control.name, _said(annotation, control, names), control.labels)
        if said:
            chosen[control.name] = said
    return chosen


def _said(annotation: Row, control: Control, names: LabelNames) -> tuple[str, ...]:
    """Collect the labels under one control, each once; what is no text reads as an unknown one."""
    found: dict[str, None] = {}
    for region in _rows(annotation, "result"):
        name = str(region.get("from_name"))
        if control.name in (name, names.control(name)):
            found.update(dict.fromkeys(labels_of(region)))
    return tuple(found)


def _answer(
    annotation_id: int,
    task: Row,
    annotation: Row,
    choices: Mapping[str, tuple[str, ...]],
    controls: Sequence[Control],
) -> HumanAnswer:
    """Build the answer of one annotation."""
    data = task.get("data")
    fit = {c.name for c in controls if c.name in choices and c.labels.allows(choices[c.name])}
    return HumanAnswer(
        annotation_id=annotation_id,
        task_id=_int(task, "id", "task.id"),
        completed_by=_person(annotation.get("completed_by")),
        updated_at=_epoch_s(annotation),
        ground_truth=bool(annotation.get("ground_truth")),
        choices={name: said for name, said in choices.items() if name in fit},
        data=data if isinstance(data, Mapping) else {},
        unfit={name: said for name, said in choices.items() if name not in fit},
    )


def _person(value: Any) -> int:
    """Return the user id behind `completed_by`: a number, a user object or nothing."""
    if isinstance(value, Mapping):
        value = value.get("id")
    return value if is_id(value) else _UNKNOWN_PERSON


def _epoch_s(annotation: Row) -> float:
    """Read when the annotation was last changed; Label Studio's times are in UTC."""
    try:
        at = datetime.fromisoformat(str(annotation.get("updated_at")))
    except ValueError as error:
        raise _malformed("annotation.updated_at", "an ISO 8601 time") from error
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def _project_id(body: Row) -> int:
    """Read the project's id: `{"id": 9}`, `9` and `"9.1795"` all name project 9."""
    project = body.get("project")
    value = project.get("id") if isinstance(project, Mapping) else project
    if value is None:
        value = next((row.get("project") for row in _rows(body, "tasks")), None)
    try:
        return project_number(value)
    except BadRequest as error:
        raise _malformed("project.id", "a project id") from error


def _label_config(project: Any) -> str:
    """Read the label config; hooks without annotations may come without one."""
    config = project.get("label_config") if isinstance(project, Mapping) else None
    return config if isinstance(config, str) else ""


def _ids(body: Row, name: str) -> tuple[int, ...]:
    """Read the ids of the rows under `name`."""
    return tuple(_int(row, "id", f"{name}.id") for row in _rows(body, name))


def _rows(body: Row, name: str) -> list[Row]:
    """Read one object or a list of them; absent is an empty list."""
    value = body.get(name)
    rows = [] if value is None else value if isinstance(value, list) else [value]
    if not all(isinstance(row, Mapping) for row in rows):
        raise _malformed(name, "an object or a list of objects")
    return rows


def _int(row: Row, key: str, name: str) -> int:
    """Read an id."""
    value = row.get(key)
    if not is_id(value):
        raise _malformed(name, f"a whole number from 0 to {MAX_ID}")
    return value


def _text(row: Row, name: str) -> str:
    """Read a text that must be there."""
    value = row.get(name) if isinstance(row, Mapping) else None
    if not isinstance(value, str) or not value:
        raise _malformed(name, "a text")
    return value


def _malformed(name: str, wanted: str) -> BadRequest:
    """Name the field that cannot be read, never its content."""
    return BadRequest(
        "Malformed webhook",
        f"The field '{name}' must be {wanted}.",
        "Send the body that Label Studio 1.23 sends.",
    )
