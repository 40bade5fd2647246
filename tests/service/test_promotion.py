"""A promotion: the candidate's rule has learned from the verdicts before anything is decided."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
from machine import CONFIG
from redis import Redis

from backend.jobs import push
from backend.jobs.learned import LEAST_TRAINED
from backend.label_config import parse
from backend.projects import Project
from backend.settings import Settings
from backend.wiring import Wiring
from specialists.types import Verdict
from training.card import Card
from training.gate import held_out
from training.model_store import CommitteeManifest

MOODS = ("positive", "neutral", "negative")
SAID = ("I love it so much", "It arrived on Tuesday", "I hate it so much")


@pytest.fixture
def wiring(redis: Redis, redis_socket: str, tmp_path: Path) -> Iterator[Wiring]:
    environ = {"REDIS_URL": f"unix://{redis_socket}", "DATA_DIR": str(tmp_path)}
    rest = {"LLM_PROVIDER": "none", "AUDIT_SHARE": "0", "RUNTIME": "torch-fp32"}
    wiring = Wiring(Settings.from_env({**environ, **rest}))
    wiring.projects.put(Project(7, CONFIG))
    yield wiring
    wiring.evidence.close()
    wiring.redis.close()
    wiring.raw_redis.close()


def propose(wiring: Wiring) -> str:
    """Put up a candidate of the next stage; its members are the served ones."""
    served = wiring.committees.ensure(7, parse(CONFIG))
    data = json.loads(json.dumps(wiring.committees.manifest(served).to_json()))
    manifest = CommitteeManifest.from_json({**data, "stage": 1, "parent": served})
    tag = wiring.store.save_committee(manifest)
    card = Card(tag, served, 1, "promoted", "for the test", at=100.0)
    with wiring.redis.pipeline() as pipe:
        wiring.projects.desk(7).propose({"tag": tag, "card": asdict(card), "up_to": 90}, pipe)
        pipe.execute()
    return tag


def answered(wiring: Wiring, count: int) -> set[int]:
    """Put an LLM's verdicts into the pool; returns the tasks that no stage trains on."""
    texts = {task: f"{SAID[task % 3]}, number {task}." for task in range(1, count + 1)}
    for task, text in texts.items():
        mood = (MOODS[task % 3],)
        wiring.pool(7).add(Verdict(task, "sentiment", text, mood, "llm", "model-x", at=50.0))
    return {task for task, text in texts.items() if held_out(text)}


def test_the_candidate_s_rule_learns_before_it_is_served(wiring: Wiring) -> None:
    tag, honest = propose(wiring), answered(wiring, 270)
    with wiring.lease("push-7") as lease:
        assert "promoted" in push.work(wiring, 7, lease)
    assert wiring.promotions(7).served() == tag
    stored = wiring.evidence.read(7, "sentiment", tag)
    assert {row.task_id for row in stored} == set(range(1, 271))
    state = wiring.rules.state(7, "sentiment", tag)
    assert state is not None and state.heads and state.live is not None
    assert state.live.checked == len(honest) >= LEAST_TRAINED
    assert state.live.verdicts == 270, "what the members have learned teaches it too"


def test_without_verdicts_there_is_nothing_to_learn(wiring: Wiring) -> None:
    tag = propose(wiring)
    with wiring.lease("push-7") as lease:
        push.work(wiring, 7, lease)
    assert wiring.promotions(7).served() == tag
    assert wiring.rules.state(7, "sentiment", tag) is None
