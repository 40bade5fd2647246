"""Workers killed in the middle of their work: the next one finishes it, exactly once."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from machine import CONFIG, Machine, eventually
from provider import KEY, Provider, Scene, says

from backend.label_config import parse
from backend.pauses import paused_key
from backend.projects import HardSample
from specialists.types import Verdict

PROJECT = 1
ANSWERS = [
    ("Wonderful, thank you so much!", "positive"),
    ("The meeting is at three.", "neutral"),
    ("This broke after a day, what a waste.", "negative"),
]


def enroll(machine: Machine) -> str:
    machine.wiring.projects.update(PROJECT, label_config=CONFIG)
    return machine.wiring.committees.ensure(PROJECT, parse(CONFIG))


def verdict(number: int) -> Verdict:
    text, label = ANSWERS[number % 3]
    return Verdict(
        task_id=number,
        control="sentiment",
        text=f"{text} ({number})",
        labels=(label,),
        source="human",
        author="1",
        at=float(number),
        annotation_id=number,
    )


def stage_done(machine: Machine) -> list[Any]:
    return [c for c in machine.wiring.promotions(PROJECT).history() if c.decision != "initial"]


def test_a_stage_whose_worker_was_killed_ends_exactly_once(tmp_path: Path) -> None:
    with Machine(tmp_path, STAGE_SIZE="12", OMP_NUM_THREADS="2") as machine:
        first = enroll(machine)
        pool = machine.wiring.pool(PROJECT)
        for number in range(1, 19):
            pool.add(verdict(number))
        machine.start("train", "push", "review")
        desk = machine.wiring.projects.desk(PROJECT)
        eventually(lambda: desk.stage().get("progress"), 90, "the stage to train")
        state = json.loads(desk.stage()["running"])
        machine.kill("train")
        pool.add(verdict(30))  # arrives while nobody trains
        machine.start("train")
        eventually(lambda: stage_done(machine) and not desk.candidate(), 240, "the stage to end")
        time.sleep(3)  # a second end would come now
        (card,) = stage_done(machine)
        served = machine.wiring.promotions(PROJECT).served()
        assert card.parent == first
        assert served == (card.tag if card.decision == "promoted" else first)
        for control in machine.wiring.committees.manifest(served).controls:
            assert machine.wiring.committees.committee(served, control).problems == []
        assert len(pool.verdicts()) == 19, "no verdict is lost"
        if card.decision == "promoted":
            left = pool.waiting_places(pool.sequence())
            assert left == {(30, "sentiment")}, "what came later waits for the next stage"
        assert state["up_to"] == 18


def test_a_stage_that_is_called_off_ends_and_its_verdicts_wait(tmp_path: Path) -> None:
    with Machine(tmp_path, STAGE_SIZE="12", STAGE_EPOCHS="50", OMP_NUM_THREADS="2") as machine:
        first = enroll(machine)
        pool = machine.wiring.pool(PROJECT)
        for number in range(1, 13):
            pool.add(verdict(number))
        machine.start("train", "push", "review")
        desk = machine.wiring.projects.desk(PROJECT)
        eventually(lambda: " left" in desk.stage().get("progress", ""), 120, "the stage to train")
        done = machine.command("train", "--project", str(PROJECT), "--cancel")
        assert "nothing is lost" in done.stdout, done.stderr
        eventually(lambda: not desk.stage().get("running"), 60, "the stage to end")
        time.sleep(3)  # it would start again now
        assert not desk.stage().get("running") and not desk.stage().get("progress")
        assert stage_done(machine) == []
        assert machine.wiring.promotions(PROJECT).served() == first
        assert len(pool.waiting_places(pool.sequence())) == 12
        again = machine.command("train", "--project", str(PROJECT), "--cancel")
        assert (again.returncode, "No stage of project 1 runs." in again.stderr) == (1, True)


def sample(number: int, tag: str) -> HardSample:
    return HardSample(
        number, "sentiment", f"Hard text number {number}.", ("positive",), 0.5, "", tag, gain=0.2
    )


def test_what_was_answered_before_a_kill_is_not_asked_again(
    tmp_path: Path, provider: Provider
) -> None:
    answered: list[str] = []

    def decide(body: dict[str, Any]) -> Scene:
        scene = says("neutral")
        answered.append(re.findall(r"Hard text number \d+", json.dumps(body))[-1])
        return Scene(answer=scene.answer, delay_s=0.4)

    provider.decide = decide
    settings = {
        "LLM_PROVIDER": "openai",
        "LLM_MODEL": "local",
        "LLM_BASE_URL": f"{provider.url}/v1",
        "OPENAI_API_KEY": KEY,
        "LLM_CONCURRENCY": "4",
        "LLM_SHARE": "1",
        "LLM_PACK": "1",
        # Nobody listens there: verdicts must wait for Label Studio, not get lost.
        "LABEL_STUDIO_URL": "http://127.0.0.1:9",
        "LABEL_STUDIO_API_KEY": "x" * 40,
    }
    with Machine(tmp_path, **settings) as machine:
        tag = enroll(machine)
        desk, pool = machine.wiring.projects.desk(PROJECT), machine.wiring.pool(PROJECT)
        desk.add_hard(sample(number, tag) for number in range(1, 31))
        machine.start("review")
        eventually(lambda: len(pool.verdicts()) >= 8, 60, "some verdicts")
        machine.kill("review")
        stored = {v.text.rstrip(".") for v in pool.verdicts()}
        before = list(answered)
        machine.start("review")
        eventually(lambda: len(pool.verdicts()) == 30, 90, "all verdicts")
        again = answered[len(before) :]
        assert not stored & set(again), "what is in the pool is not asked again"
        assert len(answered) <= 30 + 4, "at most the calls in flight are paid twice"
        assert desk.waiting()["hard"] == 0
        assert desk.waiting()["to_patch"] == 30, "write-back waits for Label Studio"
        eventually(
            lambda: any("Label Studio" in e["message"] for e in machine.wiring.journal.errors()),
            30,
            "the journal to say so",
        )
        from meta_controller.ledger import Ledger

        spend = Ledger(machine.wiring.redis, PROJECT).spend()
        # A call is reserved before it is sent. Of those in flight at the kill nobody knows whether
        # they were: they stay charged, one of each thread at most, and no call is ever missing.
        assert 0 <= spend.calls - len(answered) <= 4, "the ledger has every call, lost ones too"


@pytest.mark.parametrize(
    ("scene", "left_hard", "told"),
    [
        (Scene(401, message="no"), 3, "OPENAI_API_KEY"),
        (Scene(429, code="insufficient_quota"), 3, "quota"),
        (says("fantastic"), 3, "label"),
        (says("unsure", "could be both"), 3, "The LLM is unsure"),
    ],
    ids=["wrong key", "quota used up", "no label of ours", "unsure"],
)
def test_without_a_verdict_the_sample_stays_hard_and_status_says_why(
    tmp_path: Path, provider: Provider, scene: Scene, left_hard: int, told: str
) -> None:
    provider.decide = lambda body: scene
    settings = {
        "LLM_PROVIDER": "openai",
        "LLM_MODEL": "local",
        "LLM_BASE_URL": f"{provider.url}/v1",
        "OPENAI_API_KEY": KEY,
        "LLM_SHARE": "1",
        "LLM_PACK": "1",
    }
    with Machine(tmp_path, **settings) as machine:
        tag = enroll(machine)
        desk = machine.wiring.projects.desk(PROJECT)
        desk.add_hard(sample(number, tag) for number in range(3))
        machine.start("review")

        def reported() -> bool:
            from backend import status

            return told in status.render(status.collect(machine.wiring))

        def over() -> bool:
            paused = machine.wiring.redis.exists(paused_key(PROJECT))
            return bool(paused) or not desk.waiting()["to_review"]

        eventually(reported, 60, f"status to say {told!r}")
        eventually(over, 30, "the questions to end")  # they are asked in rounds
        assert desk.waiting()["hard"] == left_hard
        assert machine.wiring.pool(PROJECT).verdicts() == []
        asked = provider.calls
        time.sleep(4)
        assert provider.calls == asked, "it is not asked again and again"
