"""The short form of `make faults`: a fault in each phase, and the checker put to the test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cases import Case, draw, every, only
from invariants import Findings, Watch, collect, compare
from machine import eventually
from phases import PHASES, Walk
from plant import Plant
from provider import KEY
from run import settle, walk_through

from meta_controller.language_model import Question
from meta_controller.openai_model import OpenAIModel
from meta_controller.prompt import build_prompt

SHORT = [
    Case("kill", "prelabel", "push", 1),
    Case("cut", "review", "to-llm", 1),
    Case("refuse", "storm", "to-web", 1),
    Case("kill", "stage", "train", 1),
    Case("kill", "promotion", "redis", 1),
    Case("terminate", "refresh", "review", 1),
]


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    folder: Path = tmp_path_factory.mktemp("plant")
    with Plant(folder, Path(folder, "data")) as running:
        yield running


@pytest.fixture(scope="module")
def walk(plant: Plant) -> Walk:
    """A project whose tasks are predicted and reviewed, some of them answered by people."""
    made = Walk(plant)
    made.import_tasks(8)
    made.annotate(2)
    return made


@pytest.fixture
def watch(walk: Walk) -> Iterator[Watch]:
    with Watch(walk) as watching:
        assert not settle(walk, watching, "storm")
        yield watching


def test_a_fault_in_each_phase_loses_and_doubles_nothing(plant: Plant) -> None:
    told: list[str] = []
    results = list(walk_through(plant, SHORT, told.append))
    assert [one.case for one in results] == SHORT
    assert not any(one.findings for one in results), "\n".join(told)


def test_an_answer_that_is_missing_from_the_pool_is_found_and_read_again(
    walk: Walk, watch: Watch
) -> None:
    pool = walk.plant.wiring.pool(walk.project)
    pool.retract(min(walk.acknowledged))
    found = compare(collect(walk, watch, "storm"))
    assert len(found.lost_annotations) == len(found.lost_verdicts) == 1
    assert not settle(walk, watch, "storm"), "reconcile reads it again"


def test_a_second_prediction_is_found_and_deleted(walk: Walk, watch: Watch) -> None:
    people = walk.plant.people
    row = next(r for r in people.predictions(walk.project) if r["model_version"] == walk.served)
    again = {key: row[key] for key in ("task", "result", "score", "model_version")}
    people.import_predictions(walk.project, [again])
    assert len(compare(collect(walk, watch, "storm")).duplicate_predictions) == 1
    assert not settle(walk, watch, "storm"), "reconcile deletes it"


def test_an_answer_that_is_paid_twice_is_found(walk: Walk, watch: Watch) -> None:
    name = next(iter(watch.stored))
    question = Question("sentiment", walk.texts[name], walk.labels)
    model = OpenAIModel("local", KEY, base_url=walk.plant.settings.llm_base_url)
    model.complete(build_prompt(question))

    def found() -> Findings:
        return compare(collect(walk, watch, "storm"))

    eventually(lambda: found().double_paid, 20, "the checker to see it")
    assert len(found().double_paid) == 1


def test_a_seed_draws_the_same_cases_and_moments() -> None:
    drawn = [case for walk in draw(5, 66) for case in walk]
    again = [case for walk in draw(5, 66) for case in walk]
    assert drawn == again and len(drawn) == 66 != len(set(draw(6, 66)[0]) & set(drawn))
    assert [one.dice.random() for one in drawn] == [one.dice.random() for one in again]
    pairs = {(one.fault, one.target) for one in every(5)}
    assert {(one.fault, one.target) for one in drawn} == pairs, "every fault on every part"
    assert all([one.phase for one in walk] == list(PHASES) for walk in draw(5, 66))


def test_a_case_can_run_alone() -> None:
    for case in every(5):
        assert only(5, case.name) == [[case]]
    assert {one.phase for walk in only(5, "kill//push") for one in walk} == set(PHASES)
    assert only(5, "kill/nowhere/push") == []
