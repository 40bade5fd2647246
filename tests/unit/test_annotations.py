"""Annotations: which are a person's answer, on bodies recorded from Label Studio 1.23.2."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.annotations import answers_of, read_hook
from backend.errors import BadRequest
from backend.label_config import parse
from training.label_names import LabelNames

RECORDED: dict[str, dict[str, Any]] = json.loads(
    (Path(__file__).parent / "data" / "webhook_payloads.json").read_text()
)
CONFIG = RECORDED["ANNOTATION_CREATED"]["project"]["label_config"]


def body(name: str = "ANNOTATION_CREATED", **annotation: Any) -> dict[str, Any]:
    changed = copy.deepcopy(RECORDED[name])
    if annotation:
        changed["annotation"].update(annotation)
    return changed


def choice(*labels: Any, **region: Any) -> dict[str, Any]:
    value = {"choices": list(labels)}
    named = {"from_name": "sentiment", "to_name": "text", "type": "choices"}
    return {**named, "value": value, **region}


def test_a_submitted_annotation_is_an_answer() -> None:
    hook = read_hook(body())
    (answer,) = hook.answers
    assert (hook.action, hook.project_id, hook.label_config) == ("ANNOTATION_CREATED", 9, CONFIG)
    assert (answer.annotation_id, answer.task_id, answer.completed_by) == (2, 121, 1)
    assert answer.choices == {"sentiment": ("negative",)}
    assert answer.data == {"text": "text number 1 for hooks"}
    assert answer.updated_at == pytest.approx(1795325695.580316)
    assert not answer.ground_truth and not hook.retracted


@pytest.mark.parametrize(
    ("name", "label", "ground_truth"),
    [
        ("ANNOTATION_CREATED_from_pred", "positive", False),
        ("ANNOTATION_UPDATED", "neutral", False),
        ("GT", "neutral", True),
        ("UNSKIP", "neutral", False),
    ],
)
def test_accepted_changed_and_unskipped_annotations_are_answers(
    name: str, label: str, ground_truth: bool
) -> None:
    (answer,) = read_hook(body(name)).answers
    assert answer.choices == {"sentiment": (label,)} and answer.ground_truth is ground_truth


def test_a_skip_is_retracted_even_though_it_carries_the_pre_annotation() -> None:
    hook = read_hook(body("SKIP", result=[choice("positive", origin="prediction")]))
    assert not hook.answers and hook.retracted == {3: "skipped"}


def test_annotations_made_from_predictions_in_bulk_are_no_answers() -> None:
    hook = read_hook(body("ANNOTATIONS_CREATED"))
    assert not hook.answers and list(hook.retracted) == [6, 7, 8]


@pytest.mark.parametrize(
    "seen",
    [{"lead_time": 0.8}, {"ground_truth": True}, {"result": [choice("neutral", origin="x")]}],
)
def test_a_machine_label_that_a_person_touched_is_an_answer(seen: dict[str, Any]) -> None:
    machine = RECORDED["ANNOTATIONS_CREATED"]["annotation"][0]
    touched = {**body("ANNOTATION_UPDATED"), "annotation": {**machine, **seen}}
    touched["task"]["id"] = machine["task"]
    assert [answer.annotation_id for answer in read_hook(touched).answers] == [6]


def test_bulk_annotations_of_people_are_paired_with_their_own_tasks() -> None:
    bulk = body("ANNOTATIONS_CREATED")
    for annotation in bulk["annotation"]:
        annotation["parent_prediction"] = None
    bulk["task"].reverse()
    answers = read_hook(bulk).answers
    assert [(answer.task_id, answer.data["text"]) for answer in answers] == [
        (number, f"text number {number - 120} for hooks") for number in (126, 127, 128)
    ]


@pytest.mark.parametrize(
    "result",
    [
        [],
        [choice()],
        [choice("positive", from_name="other")],
        [choice("positive", type="labels")],
        [choice("positive", value=None)],
    ],
)
def test_an_annotation_without_a_label_is_retracted(result: list[Any]) -> None:
    hook = read_hook(body(result=result))
    assert not hook.answers and hook.retracted == {2: "no label chosen"}


@pytest.mark.parametrize(
    ("result", "said"),
    [
        ([choice("unheard of")], ("unheard of",)),
        ([choice("positive", "negative")], ("positive", "negative")),
        ([choice(["tone", "positive"])], ("tone > positive",)),
    ],
)
def test_what_the_label_config_does_not_allow_is_told_apart(
    result: list[Any], said: tuple[str, ...]
) -> None:
    (answer,) = read_hook(body(result=result)).answers
    assert (answer.choices, answer.unfit) == ({}, {"sentiment": said})


def test_old_names_are_read_as_the_new_ones() -> None:
    names = LabelNames({"mood": "sentiment"}, {"sentiment": {"good": "positive"}})
    for result in ([choice("good")], [choice("good", from_name="mood")], [choice("positive")]):
        (answer,) = read_hook(body(result=result), names).answers
        assert (answer.choices, answer.unfit) == ({"sentiment": ("positive",)}, {})


def test_the_rationale_and_other_controls_are_not_part_of_an_answer() -> None:
    why = {"from_name": "why", "to_name": "text", "type": "textarea", "value": {"text": ["..."]}}
    (answer,) = read_hook(body(result=[why, choice("neutral")])).answers
    assert answer.choices == {"sentiment": ("neutral",)}


def test_several_labels_are_kept_where_the_control_allows_them() -> None:
    multiple = body(result=[choice("positive", "neutral", "positive")])
    config = CONFIG.replace('choice="single"', 'choice="multiple"')
    multiple["project"]["label_config"] = config
    (answer,) = read_hook(multiple).answers
    assert answer.choices == {"sentiment": ("positive", "neutral")}


@pytest.mark.parametrize(("person", "expected"), [({"id": 5}, 5), (5, 5), (None, 0)])
def test_the_person_may_be_a_number_an_object_or_unknown(person: Any, expected: int) -> None:
    (answer,) = read_hook(body(completed_by=person)).answers
    assert answer.completed_by == expected


@pytest.mark.parametrize(("name", "ids"), [("ANNOTATIONS_DELETED", [2]), ("DM_DELETE", [6, 7])])
def test_deleted_annotations_are_retracted_by_id(name: str, ids: list[int]) -> None:
    assert read_hook(body(name)).retracted == dict.fromkeys(ids, "deleted")


def test_created_and_deleted_tasks_are_listed_by_id() -> None:
    assert read_hook(body("TASKS_CREATED")).created_tasks == tuple(
        task["id"] for task in RECORDED["TASKS_CREATED"]["tasks"]
    )
    assert read_hook(body("TASKS_DELETED")).deleted_tasks == (130, 131)


@pytest.mark.parametrize("name", ["START_TRAINING", "PROJECT_UPDATED"])
def test_other_actions_carry_nothing_but_the_project(name: str) -> None:
    hook = read_hook(body(name))
    assert hook.project_id == 9
    assert hook.label_config == RECORDED[name]["project"]["label_config"]
    assert not (hook.answers or hook.retracted or hook.created_tasks or hook.deleted_tasks)


def test_an_action_of_the_future_is_no_error() -> None:
    assert read_hook({"action": "COFFEE_MADE", "project": {"id": 1}}).project_id == 1


@pytest.mark.parametrize("project", [{"id": 9}, 9, "9", "9.1795324913", {"id": "9.17"}])
def test_the_project_may_be_named_in_several_ways(project: Any) -> None:
    assert read_hook({"action": "START_TRAINING", "project": project}).project_id == 9


def test_tasks_name_the_project_when_the_hook_does_not() -> None:
    assert read_hook({**body("TASKS_CREATED"), "project": {}}).project_id == 9


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"action": None}, "action"),
        ({"project": None}, "project.id"),
        ({"project": {"id": "x"}}, "project.id"),
        ({"annotation": "x"}, "annotation"),
        ({"annotation": [3]}, "annotation"),
        ({"annotation": {}}, "annotation.task"),
        ({"annotation": {"task": 121, "id": "2"}}, "annotation.id"),
        ({"annotation": {"task": 121, "id": 2, "result": "x"}}, "result"),
        ({"task": {"id": None}}, "task.id"),
    ],
)
def test_a_malformed_hook_is_refused_by_the_name_of_its_field(
    change: dict[str, Any], name: str
) -> None:
    with pytest.raises(BadRequest, match=f"'{name}'"):
        read_hook({**body(), **change})


def test_an_answer_without_its_time_is_refused() -> None:
    with pytest.raises(BadRequest, match="annotation.updated_at"):
        read_hook(body(updated_at="yesterday"))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
)
ANNOTATION_KEYS = st.sampled_from(sorted(RECORDED["ANNOTATION_CREATED"]["annotation"]))


@given(st.sampled_from(sorted(RECORDED)), ANNOTATION_KEYS, JSON)
def test_any_value_in_an_annotation_is_read_or_refused(name: str, key: str, value: Any) -> None:
    changed = body(name)
    rows = changed.get("annotation") or {}
    for row in rows if isinstance(rows, list) else [rows]:
        row[key] = value
    try:
        read_hook(changed)
    except BadRequest:
        pass


@given(st.sampled_from(["action", "annotation", "task", "tasks", "annotations", "project"]), JSON)
def test_any_value_in_a_hook_is_read_or_refused(key: str, value: Any) -> None:
    for name in RECORDED:
        try:
            read_hook({**body(name), key: value})
        except BadRequest:
            pass


def test_a_task_row_of_the_api_is_read_by_the_same_rules() -> None:
    rows = [
        RECORDED[name]["annotation"]
        for name in ("ANNOTATION_CREATED", "SKIP", "ANNOTATION_UPDATED")
    ]
    machine = {**RECORDED["ANNOTATIONS_CREATED"]["annotation"][0]}
    task = {"id": 121, "data": {"text": "t"}, "annotations": [*rows, machine]}
    reading = answers_of(task, parse(CONFIG))
    assert [(answer.annotation_id, answer.task_id) for answer in reading.answers] == [
        (2, 121),
        (1, 121),
    ]
    assert reading.retracted == {3: "skipped", 6: "made from a prediction in bulk"}


def test_a_task_row_without_annotations_has_no_answers() -> None:
    assert not answers_of({"id": 1, "data": {}}, parse(CONFIG)).answers
