"""Label configs that change under a project's verdicts, stages and candidates, on a real Redis."""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from machine import CONFIG, Machine, eventually
from world import PROJECT, MakeWorld, World

from backend import status
from backend.annotations import HumanAnswer
from backend.answers import record_answers
from backend.errors import LabelConfigError
from backend.jobs import labels, push
from backend.jobs.known import asked_key, trained_at
from backend.label_changes import LabelChanges, adopt
from backend.label_config import parse
from backend.model import AutoAnnotator
from backend.scheduler import Scheduler
from specialists.rule_state import RuleState
from specialists.types import Verdict
from training.card import Card
from training.model_store import CommitteeManifest

RENAMED = CONFIG.replace('value="neutral"', 'value="calm"')
FEWER = CONFIG.replace('<Choice value="neutral"/>', "")
MORE = CONFIG.replace("</Choices>", '<Choice value="spam"/></Choices>')
MULTIPLE = CONFIG.replace('toName="text">', 'toName="text" choice="multiple">')
OTHER_CONTROL = CONFIG.replace('name="sentiment"', 'name="mood"')


def change(world: World, config: str) -> str:
    """Let the label config change, and the labels job do its work."""
    assert adopt(world.wiring, PROJECT, config)
    assert "labels" in [job for job, _ in Scheduler(world.wiring).tick()]
    world.wiring.queues.started("labels", PROJECT)
    world.wiring.queues.queue("review").empty()
    work(world)
    tag = world.wiring.promotions(PROJECT).served()
    assert tag
    return tag


def work(world: World) -> None:
    with world.wiring.lease("labels:7") as lease:
        labels.work(world.wiring, PROJECT, lease)


def told(world: World) -> str:
    return "\n".join(one["message"] for one in world.wiring.journal.errors())


def waiting(world: World) -> set[int]:
    return {task for task, _ in world.pool.waiting_places(world.pool.sequence())}


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    """A project with two verdicts of the LLM and one of a person."""
    made = make_world()
    AutoAnnotator.use(made.wiring)
    made.llm(1, "neutral")
    made.llm(2, "positive")
    made.human(3, "neutral")
    return made


def test_a_renamed_label_takes_everything_along(world: World) -> None:
    state = replace(RuleState.first(3, 3), confusion=np.eye(3), trust="both")
    with world.wiring.redis.pipeline() as pipe:
        world.wiring.rules.save(PROJECT, "sentiment", world.tag, state, pipe)
        pipe.execute()
    before = world.wiring.committees.manifest(world.tag).controls["sentiment"]
    tag = change(world, RENAMED)
    now = world.wiring.committees.manifest(tag).controls["sentiment"]
    assert now.labels.names == ("positive", "calm", "negative")
    for old, new in zip(before.members, now.members, strict=True):
        assert {o: n.replace("neutral", "calm") for o, n in old.label_map.items()} == new.label_map
    said = {v.task_id: (v.labels, v.answer) for v in world.pool.verdicts()}
    assert said[1] == (("calm",), ("calm",)) and said[3] == (("calm",), ())
    assert waiting(world) == {1, 2, 3} and world.pool.aside() == []
    moved = world.state(tag)
    assert moved and moved.trust == "both" and moved.confusion.tolist() == np.eye(3).tolist()
    assert "'neutral' is called 'calm' now" in told(world)
    # Label Studio's annotations keep the old name: neither hooks nor reconcile undo anything.
    answer = HumanAnswer(1003, 3, 1, 2.0, False, {}, {"text": world.text(3)})
    names = world.wiring.committees.label_names(PROJECT)
    control = parse(RENAMED)[0]
    read = replace(
        answer, choices={"sentiment": names.now("sentiment", ("neutral",), control.labels)}
    )
    record_answers(world.wiring, PROJECT, [control], [read])
    assert world.verdicts("human")[3].labels == ("calm",)
    assert waiting(world) == {1, 2, 3}


def test_a_renaming_is_read_by_hooks(world: World) -> None:
    change(world, RENAMED)
    annotation = {
        "id": 1003,
        "task": 3,
        "completed_by": 1,
        "updated_at": "2026-01-01T00:00:00Z",
        "result": [
            {
                "from_name": "sentiment",
                "to_name": "text",
                "type": "choices",
                "value": {"choices": ["neutral"]},
            }
        ],
    }
    body = {
        "action": "ANNOTATION_CREATED",
        "project": {"id": PROJECT, "label_config": RENAMED},
        "task": {"id": 3, "data": {"text": world.text(3)}},
        "annotation": annotation,
    }
    assert AutoAnnotator(PROJECT).fit("ANNOTATION_CREATED", body)["recorded"] == 1
    assert world.verdicts("human")[3].labels == ("calm",)


def test_a_removed_label_s_verdicts_wait_aside_until_it_is_back(world: World) -> None:
    world.wiring.redis.hset(asked_key(PROJECT), "1:sentiment", "00")
    tag = change(world, FEWER)
    control = world.wiring.committees.manifest(tag).controls["sentiment"]
    assert control.labels.names == ("positive", "negative")
    tweets = next(ref for ref in control.members if ref.name == "tweets")
    assert tweets.label_map["neutral"] == "neutral", "for when it is back"
    assert {v.task_id for v in world.pool.verdicts()} == {2} == waiting(world)
    assert {v.task_id for v in world.pool.aside()} == {1, 3}
    assert not world.wiring.redis.hexists(asked_key(PROJECT), "1:sentiment")
    assert "2 verdicts that say 'neutral' are set aside" in told(world)
    assert "2 verdicts are set aside" in status.render(status.collect(world.wiring))
    work(world)
    errors = world.wiring.journal.errors()
    assert max(one["count"] for one in errors) == 1, "told once"
    change(world, CONFIG)
    assert {v.task_id for v in world.pool.verdicts()} == {1, 2, 3} == waiting(world)


def test_an_added_label_keeps_the_members_and_begins_the_rule_anew(world: World) -> None:
    with world.wiring.redis.pipeline() as pipe:
        world.wiring.rules.save(PROJECT, "sentiment", world.tag, RuleState.first(3, 3), pipe)
        pipe.execute()
    before = world.wiring.committees.manifest(world.tag).controls["sentiment"].members
    tag = change(world, MORE)
    assert world.wiring.committees.manifest(tag).controls["sentiment"].members == before
    assert world.state(tag) is None
    assert "new labels 'spam'" in told(world)
    (decision,) = AutoAnnotator("7", MORE)._labeled(tag, [{"data": {"text": "Great!"}}])
    assert decision.prediction["model_version"] == tag


@pytest.mark.parametrize("config", [MULTIPLE, OTHER_CONTROL])
def test_other_changes_keep_every_verdict(world: World, config: str) -> None:
    tag = change(world, config)
    (name,) = world.wiring.committees.manifest(tag).controls
    assert {(v.task_id, v.control) for v in world.pool.verdicts()} == {(n, name) for n in (1, 2, 3)}
    assert waiting(world) == {1, 2, 3}
    assert world.pool.annotation_ids() == {1003}


def test_from_multiple_to_single_two_labels_do_not_fit(world: World) -> None:
    change(world, MULTIPLE)
    both = Verdict(9, "sentiment", "t", ("positive", "neutral"), "human", "1", 1.0, annotation_id=9)
    world.pool.add(both)
    change(world, CONFIG)
    assert [v.task_id for v in world.pool.aside()] == [9]


def test_an_unusable_config_changes_nothing(world: World) -> None:
    for config in ("<View/>", "not xml", ""):
        with pytest.raises(LabelConfigError):
            parse(config)
        assert not adopt(world.wiring, PROJECT, config)
    assert world.wiring.promotions(PROJECT).served() == world.tag
    project = world.wiring.projects.get(PROJECT)
    assert project and project.label_config == CONFIG
    assert "the one before stays" in told(world)


def test_two_who_see_the_change_make_one(world: World) -> None:
    tags = {world.wiring.committees.ensure(PROJECT, parse(FEWER)) for _ in range(3)}
    assert len(tags) == 1
    assert len(LabelChanges(world.wiring.redis, PROJECT).waiting()) == 1


def test_a_removed_label_is_renamed_by_command(world: World, tmp_path: Path) -> None:
    from backend import labels as command

    change(world, MORE.replace('<Choice value="neutral"/>', ""))
    said: list[str] = []
    project = world.wiring.projects.get(PROJECT)
    assert project
    command.show(world.wiring, project, said.append)
    assert "sentiment: 2 verdicts that say neutral are set aside" in said
    for old, new in (("positive", "spam"), ("neutral", "unheard")):
        with pytest.raises(command.LabelsError, match="OLD must be no label"):
            command.rename(world.wiring, project, old, new, said.append)
    command.rename(world.wiring, project, "neutral", "spam", said.append)
    work(world)
    assert world.pool.aside() == [] and waiting(world) == {1, 2, 3}
    assert world.verdicts("llm")[1].labels == ("spam",)
    tag = world.wiring.promotions(PROJECT).served()
    assert tag and tag in said[-1]
    (committee,) = world.wiring.committees.manifest(tag).controls.values()
    tweets = next(ref for ref in committee.members if ref.name == "tweets")
    assert tweets.label_map["neutral"] == "spam"


def candidate_of(world: World, tag: str) -> CommitteeManifest:
    """A stage's candidate that goes on from a tag."""
    served = world.wiring.committees.manifest(tag)
    made = replace(served, stage=served.stage + 1, parent=tag)
    card = Card(world.wiring.store.save_committee(made), tag, made.stage, "promoted", "", at=5.0)
    with world.wiring.redis.pipeline() as pipe:
        proposed = {"tag": card.tag, "card": asdict(card), "up_to": world.pool.sequence()}
        world.desk.propose(proposed, pipe)
        pipe.execute()
    return made


@pytest.mark.parametrize("back", [False, True])
def test_a_candidate_that_waits_is_promoted_under_the_new_labels(world: World, back: bool) -> None:
    candidate_of(world, world.tag)
    change(world, RENAMED)
    if back:
        change(world, CONFIG)
    with world.wiring.lease("push:7") as lease:
        push.work(world.wiring, PROJECT, lease)
    tag = world.wiring.promotions(PROJECT).served()
    assert tag and world.desk.candidate() is None
    made = world.wiring.committees.manifest(tag)
    middle = "neutral" if back else "calm"
    assert (made.stage, made.controls["sentiment"].labels.names[1]) == (1, middle)
    newest = world.wiring.promotions(PROJECT).history()[0]
    assert (newest.decision, newest.tag) == ("promoted", tag)
    assert waiting(world) == set(), "what it learned is learned"


def test_a_rollback_to_other_labels_serves_its_members_under_those_of_now(world: World) -> None:
    change(world, FEWER)
    world.wiring.promotions(PROJECT).rollback(world.tag, world.wiring.redis, 3)
    tag = world.wiring.committees.ensure(PROJECT, parse(FEWER))
    assert world.wiring.committees.manifest(tag).parent == world.tag
    assert world.wiring.committees.manifest(tag).controls["sentiment"].labels.names == (
        "positive",
        "negative",
    )


def test_changed_labels_train_nobody(world: World) -> None:
    candidate_of(world, world.tag)
    with world.wiring.lease("push:7") as lease:
        push.work(world.wiring, PROJECT, lease)
    trained = world.wiring.promotions(PROJECT).served()
    assert trained and trained_at(world.wiring, PROJECT, trained) == 5.0
    assert trained_at(world.wiring, PROJECT, change(world, FEWER)) == 5.0


def test_evidence_of_other_labels_is_none(world: World) -> None:
    world.observe()
    for task in range(10, 60):
        world.llm(task, world.right(task))
    adopt(world.wiring, PROJECT, FEWER)
    assert world.refit() is False, "of the new tag nothing was observed"
    old = replace(world.wiring.projects.get(PROJECT) or pytest.fail(), label_config=CONFIG)
    world.wiring.projects.put(old)  # as a job that began before sees it
    world.observe(tag=str(world.wiring.promotions(PROJECT).served()))
    assert world.refit() is False


def test_a_stage_that_runs_while_labels_change_ends_under_the_new_ones(tmp_path: Path) -> None:
    """With real workers: verdicts wait, a stage trains, the label config changes twice."""
    with Machine(tmp_path, STAGE_SIZE="12", STAGE_EPOCHS="30", OMP_NUM_THREADS="2") as machine:
        machine.wiring.projects.update(1, label_config=CONFIG)
        first = machine.wiring.committees.ensure(1, parse(CONFIG))
        pool, desk = machine.wiring.pool(1), machine.wiring.projects.desk(1)
        texts = ["Wonderful, thank you so much!", "It is at three.", "What a waste, it broke."]
        said = ("positive", "neutral", "negative")
        for n in range(24):
            pool.add(
                Verdict(n, "sentiment", f"{texts[n % 3]} ({n})", (said[n % 3],), "llm", "m", 1.0)
            )
        desk.set_stage(now=1)
        machine.start("web", "review", "push", "train")
        eventually(lambda: desk.stage().get("progress"), 120, "the stage to train")
        hook = {"action": "PROJECT_UPDATED", "project": {"id": 1, "label_config": RENAMED}}
        started = time.monotonic()
        assert machine.post("/webhook", hook).status_code == 200
        assert time.monotonic() - started < 1.0, "Label Studio waits no longer"
        changed = machine.wiring.promotions(1).served()
        assert changed != first
        eventually(
            lambda: not machine.wiring.redis.exists("aa:project:1:label_changes"), 30, "settled"
        )
        assert {v.labels[0] for v in pool.verdicts()} == {"positive", "calm", "negative"}

        def ended() -> bool:
            cards = machine.wiring.promotions(1).history()
            done = any(card.decision in ("promoted", "refused") for card in cards)
            return done and not desk.candidate() and not desk.stage().get("running")

        eventually(ended, 240, "the stage to end")
        served = machine.wiring.promotions(1).served()
        assert served
        names = machine.wiring.committees.manifest(served).controls["sentiment"].labels.names
        assert names == ("positive", "calm", "negative")
        body = {
            "project": "1.1",
            "label_config": RENAMED,
            "tasks": [{"id": 5, "data": {"text": "Great!"}}],
        }
        (found,) = machine.post("/predict", body).json()["results"]
        assert found["model_version"] == served
        failed = [one for one in machine.wiring.journal.errors() if "see the log" in one["message"]]
        assert failed == []
