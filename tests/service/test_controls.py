"""Projects with several controls: each has its committee, a task one prediction and one call."""

from __future__ import annotations

import json
from typing import Any

import pytest
from machine import CONFIG as SENTIMENT
from provider import Provider, Scene
from world import PROJECT, TASKS, MakeWorld, World

from backend.jobs.known import asked_key
from backend.jobs.refit import refit_project
from backend.jobs.settle import settle
from backend.label_changes import adopt
from backend.label_config import parse, text_of
from backend.labeling import note
from backend.model import AutoAnnotator
from backend.projects import HardSample
from benchmarks.asked import read
from meta_controller.answers import Answers
from meta_controller.ledger import Ledger

CONFIG = """<View><Text name="text" value="$text"/>
<Choices name="sentiment" toName="text"><Choice value="positive"/><Choice value="neutral"/>
<Choice value="negative"/></Choices>
<Taxonomy name="topic" toName="text"><Choice value="goods"><Choice value="food, drink"/>
<Choice value="books"/></Choice><Choice value="service"/></Taxonomy>
<Rating name="stars" toName="text" maxRating="3"/></View>"""
CONTROLS = parse(CONFIG)
SAID = {"sentiment": ("positive",), "topic": ("goods > food, drink", "service"), "stars": ("2",)}


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    """A project with three controls over one text."""
    made = make_world(LLM_SHARE="1", LLM_PACK="6")
    made.wiring.projects.update(PROJECT, label_config=CONFIG)
    made.tag = made.wiring.committees.ensure(PROJECT, CONTROLS)
    made.observe()
    made.believe_the_llm()
    AutoAnnotator.use(made.wiring)
    return made


class Told:
    """A provider's script that answers every question of a call; `requests` are (texts, names)."""

    def __init__(self, provider: Provider) -> None:
        self.requests: list[tuple[tuple[str, ...], tuple[str, ...]]] = []
        self.leave_out = ""
        provider.decide = self

    def __call__(self, body: dict[str, Any]) -> Scene:
        asked = read(body)
        system = asked.system
        names = tuple(name for name in SAID if json.dumps(name) in system)
        if not asked.ids:  # one question alone: its labels tell which
            (name,) = (n for n, said in SAID.items() if json.dumps(said[0]) in system)
            self.requests.append((asked.texts, (name,)))
            return Scene(answer=json.dumps(said_to(name)))
        self.requests.append((asked.texts, names))
        order = sorted(names)  # as they are asked
        one = {f"q{n}": said_to(name) for n, name in enumerate(order, 1) if name != self.leave_out}
        answers = [{"id": name, **one} for name in asked.ids]
        return Scene(answer=json.dumps({"answers": answers}))


def said_to(name: str) -> dict[str, Any]:
    labels = SAID[name]
    if name == "topic":
        return {"labels": labels, "unsure": False, "reason": "because"}
    return {"label": labels[0], "reason": "because"}


def hard(world: World, task: int, *controls: str, gain: float = 0.3) -> None:
    world.desk.add_hard(
        HardSample(task, name, world.text(task), (), 0.4, "", world.tag, gain=gain)
        for name in controls or SAID
    )


def test_one_call_asks_all_that_is_hard_about_a_task(world: World, provider: Provider) -> None:
    told = Told(provider)
    for task in (1, 2, 3):
        hard(world, task)
    world.review()
    assert [len(texts) for texts, _ in told.requests] == [2, 1], "six questions a call"
    assert {names for _, names in told.requests} == {tuple(SAID)}
    sent = [text for texts, _ in told.requests for text in texts]
    assert sorted(sent) == [world.text(task) for task in (1, 2, 3)], "each text once"
    said = {(v.task_id, v.control): v.answer for v in world.pool.verdicts()}
    assert said == {(task, name): SAID[name] for task in (1, 2, 3) for name in SAID}
    ledger = Ledger(world.wiring.redis, PROJECT)
    spend = ledger.spend()
    assert (spend.calls, spend.verdicts, spend.failures) == (2, 9, {})
    assert {entry["control"] for entry in ledger.entries()} == {"sentiment, stars, topic"}
    assert sorted(t for entry in ledger.entries() for t in entry["task_ids"]) == [1, 2, 3]
    assert world.wiring.redis.hlen(Answers(world.wiring.redis, PROJECT).key) == 9


def test_stored_answers_serve_each_question_by_itself(world: World, provider: Provider) -> None:
    told = Told(provider)
    hard(world, 1, "sentiment")
    world.review()
    assert told.requests == [((world.text(1),), ("sentiment",))]
    world.wiring.redis.delete(asked_key(PROJECT))
    hard(world, 1)
    world.review()
    assert told.requests[1:] == [((world.text(1),), ("topic", "stars"))]
    assert Ledger(world.wiring.redis, PROJECT).spend().cached == 1


def test_a_question_that_was_left_out_is_asked_alone(world: World, provider: Provider) -> None:
    told = Told(provider)
    told.leave_out = "stars"
    hard(world, 1)
    world.review()
    assert [names for _, names in told.requests] == [tuple(SAID), ("stars",)]
    assert {v.control: v.answer for v in world.pool.verdicts()} == SAID
    assert Ledger(world.wiring.redis, PROJECT).spend().verdicts == 3


def test_the_share_of_questions_holds_for_all_controls_together(
    make_world: MakeWorld, provider: Provider
) -> None:
    world = make_world(LLM_SHARE="0.05", LLM_PACK="6")  # 12 questions of 240 tasks
    world.wiring.projects.update(PROJECT, label_config=CONFIG)
    world.tag = world.wiring.committees.ensure(PROJECT, CONTROLS)
    world.observe()
    world.believe_the_llm()
    told = Told(provider)
    for task in range(1, 11):
        hard(world, task)
    world.review()
    assert sum(len(texts) * len(names) for texts, names in told.requests) == 12
    assert len(world.pool.verdicts()) == 12 == 0.05 * TASKS


def test_a_task_has_one_prediction_with_a_region_for_each_control(
    world: World, provider: Provider
) -> None:
    Told(provider)
    tasks = [{"id": 1, "data": {"text": world.text(1)}}, {"id": 2, "data": {"text": ""}}]
    labeled = world.wiring.labeler.label(PROJECT, CONTROLS, world.tag, tasks)
    note(world.desk, labeled)
    assert labeled[1].prediction["result"] == []
    hard(world, 1)
    world.review()
    shown = AutoAnnotator(PROJECT).predict(tasks)[0]
    values = {one["from_name"]: one["value"] for one in shown["result"]}
    said = world.pool.llm_verdicts([(1, "sentiment")])[1, "sentiment"]
    assert values == {
        "sentiment": {"choices": list(said.labels)},
        "topic": {"taxonomy": [["goods", "food, drink"], ["service"]]},
        "stars": {"rating": 2},
    }
    scores = {one["from_name"]: one["score"] for one in shown["result"]}
    assert shown["score"] == min(scores.values()) and len(scores) == 3
    assert shown["model_version"] == world.tag


def annotation(
    number: int, task: int, *regions: tuple[str, str, Any], **more: Any
) -> dict[str, Any]:
    return {
        "id": number,
        "task": task,
        "completed_by": 1,
        "updated_at": f"2026-01-01T00:00:{number:02d}Z",
        "result": [
            {"from_name": name, "to_name": "text", "type": kind, "value": {kind: said}}
            for name, kind, said in regions
        ],
        **more,
    }


def fit(world: World, made: dict[str, Any], config: str = CONFIG) -> dict[str, Any]:
    body = {
        "action": "ANNOTATION_CREATED",
        "project": {"id": PROJECT, "label_config": config},
        "task": {"id": made["task"], "data": {"text": world.text(made["task"])}},
        "annotation": made,
    }
    return AutoAnnotator(PROJECT).fit("ANNOTATION_CREATED", body)


def test_one_annotation_answers_all_controls(world: World) -> None:
    hard(world, 1)
    made = annotation(
        1,
        1,
        ("sentiment", "choices", ["neutral"]),
        ("topic", "taxonomy", [["goods"], ["goods", "books"]]),
        ("stars", "rating", 3),
    )
    assert fit(world, made) == {"recorded": 1, "retracted": 0}
    said = {v.control: v.labels for v in world.pool.verdicts()}
    assert said == {"sentiment": ("neutral",), "topic": ("goods > books",), "stars": ("3",)}
    assert world.desk.to_review() == []


def test_each_control_learns_from_its_own_verdicts(world: World) -> None:
    for control in ("sentiment", "stars"):
        world.control = next(one for one in CONTROLS if one.name == control)
        world.labels = world.control.labels.names
        world.observe()
        for task in range(1, 61):
            world.human(task)
    project = world.wiring.projects.get(PROJECT)
    assert project
    with world.wiring.lease(f"review:{PROJECT}") as lease:
        assert refit_project(world.wiring, project, lease)
    for control in ("sentiment", "stars"):
        state = world.wiring.rules.state(PROJECT, control, world.tag)
        assert state and state.heads, control


def test_two_answers_of_one_person_count_once_the_later_one(world: World) -> None:
    fit(world, annotation(2, 1, ("stars", "rating", 3)))
    fit(world, annotation(1, 1, ("stars", "rating", 1)))  # the hook of the earlier one came late
    assert {v.labels for v in world.pool.verdicts()} == {("1",), ("3",)}
    (effective,) = world.pool.effective().values()
    assert effective.labels == ("3",)


def test_what_waits_for_a_deleted_task_goes_and_what_was_learned_stays(world: World) -> None:
    hard(world, 1)
    fit(world, annotation(1, 2, ("stars", "rating", 3)))
    world.desk.want_predictions([1, 2])
    gone = {"action": "TASKS_DELETED", "project": {"id": PROJECT}, "tasks": [{"id": 1}, {"id": 2}]}
    AutoAnnotator(PROJECT).fit("TASKS_DELETED", gone)
    assert world.desk.to_review() == [] == world.desk.wanted_predictions()
    assert [v.labels for v in world.pool.verdicts()] == [("3",)]


def test_an_answer_to_an_inner_node_waits_aside(world: World) -> None:
    fit(world, annotation(1, 1, ("topic", "taxonomy", [["goods"]])))
    assert world.pool.verdicts() == []
    assert [v.labels for v in world.pool.aside()] == [("goods",)]


def test_texts_of_the_controls_may_lie_in_different_fields(world: World) -> None:
    config = CONFIG.replace(
        '<Rating name="stars" toName="text"',
        '<Paragraphs name="talk" value="$a.talk"/><Rating name="stars" toName="talk"',
    )
    data = {"text": "Fine.", "a": {"talk": [{"author": "Ann", "text": "Great."}]}}
    assert [text_of(one, data) for one in parse(config)] == ["Fine.", "Fine.", "Ann: Great."]


KINDS = {
    "rating": '<Rating name="sentiment" toName="text" maxRating="3"/>',
    "taxonomy": '<Taxonomy name="sentiment" toName="text"><Choice value="tone">'
    '<Choice value="positive"/><Choice value="negative"/></Choice></Taxonomy>',
    "nested choices": '<Choices name="sentiment" toName="text" allowNested="true">'
    '<Choice value="tone"><Choice value="positive"/></Choice><Choice value="neutral"/></Choices>',
}


@pytest.mark.parametrize(
    ("kind", "kept"),
    [
        ("rating", set()),
        ("taxonomy", {"tone > positive", "tone > negative"}),
        ("nested choices", {"tone > positive"}),
    ],
)
def test_verdicts_follow_their_label_into_another_kind_or_wait_aside(
    make_world: MakeWorld, kind: str, kept: set[str]
) -> None:
    world = make_world()
    AutoAnnotator.use(world.wiring)
    world.llm(1, "positive")
    world.human(2, "negative")
    view = f'<View><Text name="text" value="$text"/>{KINDS[kind]}</View>'
    assert [one.kind for one in parse(view)] == [kind]
    assert adopt(world.wiring, PROJECT, view)
    settle(world.wiring, PROJECT)
    assert {v.labels[0] for v in world.pool.verdicts()} == kept
    assert len(world.pool.aside()) == 2 - len(kept)
    fit(world, annotation(9, 3, ("sentiment", "choices", ["positive"])), view)  # as it was made
    assert len(world.pool.verdicts()) + len(world.pool.aside()) == 3
    assert adopt(world.wiring, PROJECT, SENTIMENT)
    settle(world.wiring, PROJECT)
    said = {v.task_id: v.labels[0] for v in world.pool.verdicts()}
    assert said == {1: "positive", 2: "negative", 3: "positive"}
    assert world.pool.aside() == []
