"""Settings of one project: checked, kept, before the environment, and for that project only."""

from __future__ import annotations

import time

import pytest
from machine import CONFIG
from world import PROJECT, MakeWorld, World

from backend import project_settings, status, triggers
from backend.environment import SettingsError
from backend.model import AutoAnnotator
from backend.projects import Project
from meta_controller.prices import Price

OTHER = 8


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    made = make_world(STAGE_SIZE="50", LLM_PRICE="1,1", PROMOTE_EVERY="0")
    made.wiring.projects.put(Project(OTHER, CONFIG, tasks=5))
    return made


def change(world: World, **given: str) -> None:
    project_settings.change(world.wiring.redis, PROJECT, given)


def test_what_a_project_sets_counts_for_it_alone(world: World) -> None:
    change(world, stage_size="12", budget="1.5", target_error="0.05")
    mine, other = (world.wiring.settings_of(one) for one in (PROJECT, OTHER))
    assert (mine.stage_size, mine.llm_budget_project_usd, mine.target_error) == (12, 1.5, 0.05)
    assert other == world.wiring.settings
    change(world, stage_size="", budget=" ")
    mine = world.wiring.settings_of(PROJECT)
    assert (mine.stage_size, mine.llm_budget_project_usd, mine.target_error) == (50, None, 0.05)


def test_a_stage_starts_at_the_project_s_size(world: World) -> None:
    for task in range(1, 13):
        world.human(task)
    world.wiring.redis.hset(world.pool._arrivals, mapping={"newest": time.time() - 60})
    assert triggers.trigger(world.wiring, PROJECT) == ""
    change(world, stage_size="12")
    assert triggers.trigger(world.wiring, PROJECT) == "size"
    (told, _) = status.collect(world.wiring)["projects"]
    assert told["pool"]["stage_size"] == 12


def test_the_budget_bounds_the_ledger(world: World) -> None:
    price = Price(1.0, 1.0, known=True)
    change(world, budget="0.5")
    (bound,) = world.wiring.ledger(PROJECT, price).budget.bounds()
    assert (bound.cap, bound.unit) == (0.5, "USD")
    assert world.wiring.ledger(OTHER, price).budget.bounds() == []
    mine, other = status.collect(world.wiring)["projects"]
    assert [one["cap"] for one in mine["budget"]] == [0.5]
    assert other["budget"] == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"stage_size": "1"}, "allowed is 2 to 100000"),
        ({"stage_size": "many"}, "expected a whole number"),
        ({"target_error": "2"}, "allowed is 0.001 to 0.5"),
        ({"stages": "3"}, "allowed is one of stage_size, budget, target_error, guidelines"),
        ({"guidelines": "x" * 9000}, "has 9000 characters"),
    ],
)
def test_bad_values_are_told_and_nothing_is_set(
    world: World, given: dict[str, str], said: str
) -> None:
    with pytest.raises(SettingsError, match=said):
        change(world, **{"budget": "3", **given})
    assert project_settings.read(world.wiring.redis, PROJECT) == {}


def test_a_guideline_of_its_own_comes_before_the_description(world: World) -> None:
    client = world.wiring.redis
    assert project_settings.guideline(client, PROJECT, "as described") == "as described"
    change(world, guidelines="Sarcasm is negative. 🙂")
    assert project_settings.guideline(client, PROJECT, "as described") == "Sarcasm is negative. 🙂"


def test_extra_parameters_of_label_studio_count_when_they_change(world: World) -> None:
    AutoAnnotator.use(world.wiring)

    def setup(**params: object) -> None:
        AutoAnnotator(PROJECT, CONFIG).enroll("http://ls", params)

    setup(stage_size=30, committee=["a", "b"])
    assert project_settings.read(world.wiring.redis, PROJECT) == {"stage_size": "30"}
    change(world, stage_size="40")
    setup(stage_size=30)
    assert world.wiring.settings_of(PROJECT).stage_size == 40, "nothing new was offered"
    setup(stage_size=0)
    assert world.wiring.settings_of(PROJECT).stage_size == 40
    (error,) = world.wiring.journal.errors()
    assert "extra parameters are not used: STAGE_SIZE is 0" in error["message"]
    setup(stage_size=20, budget="2")
    assert world.wiring.settings_of(PROJECT).llm_budget_project_usd == 2.0


def test_the_list_says_where_a_value_comes_from(world: World) -> None:
    change(world, budget="2")
    told = project_settings.lines(world.wiring.redis, PROJECT, world.wiring.settings)
    assert told == [
        "stage_size=50 (STAGE_SIZE of this machine)",
        "budget=2.0 (set for this project)",
        "target_error= (TARGET_ERROR of this machine)",
        "guidelines=(the description and instructions in Label Studio)",
    ]
