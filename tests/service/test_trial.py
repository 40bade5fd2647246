"""The gate compares committees as they would be served, and a promotion serves what it judged."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
from machine import CONFIG
from redis import Redis

from backend.jobs import push, trial
from backend.label_config import parse
from backend.projects import Project
from backend.settings import Settings
from backend.wiring import Wiring
from specialists.types import Verdict
from training.card import Card
from training.gate import held_out
from training.model_store import CommitteeManifest

TOPICS = ("parcel", "invoice", "weather")
MOODS = ("positive", "neutral", "negative")
"""The verdicts go by topic, of which the shipped members know nothing."""
COUNT = 120


@pytest.fixture
def wiring(redis: Redis, redis_socket: str, tmp_path: Path) -> Iterator[Wiring]:
    environ = {"REDIS_URL": f"unix://{redis_socket}", "DATA_DIR": str(tmp_path)}
    rest = {"LLM_PROVIDER": "none", "AUDIT_SHARE": "0", "RUNTIME": "torch-fp32"}
    wiring = Wiring(Settings.from_env({**environ, **rest}))
    wiring.projects.put(Project(7, CONFIG))
    for task in range(1, COUNT + 1):
        text, mood = f"Notes about the {TOPICS[task % 3]}, number {task}.", (MOODS[task % 3],)
        wiring.pool(7).add(
            Verdict(task, "sentiment", text, mood, "human", "1", at=50.0, annotation_id=task)
        )
    yield wiring
    wiring.evidence.close()
    wiring.redis.close()
    wiring.raw_redis.close()


def staged(wiring: Wiring) -> CommitteeManifest:
    """The committee of the next stage; its members are the served ones."""
    served = wiring.committees.ensure(7, parse(CONFIG))
    data = json.loads(json.dumps(wiring.committees.manifest(served).to_json()))
    return CommitteeManifest.from_json({**data, "stage": 1, "parent": served})


def held(wiring: Wiring) -> dict[str, str]:
    """The held-out texts with what people said."""
    verdicts = wiring.pool(7).verdicts()
    return {v.text: v.labels[0] for v in verdicts if held_out(v.text)}


def right(wiring: Wiring, manifest: CommitteeManifest, since: float) -> float:
    wanted = held(wiring)
    found = trial.answers(wiring, 7, manifest, "sentiment", list(wanted), since)
    said = [decision.labels[0] for decision in found]
    return sum(one == gold for one, gold in zip(said, wanted.values(), strict=True)) / len(wanted)


def test_a_stage_is_judged_with_the_rule_that_its_committee_would_have(wiring: Wiring) -> None:
    manifest = staged(wiring)
    texts = list(held(wiring))
    bare = wiring.committees.evaluate(manifest, "sentiment", texts)
    alone = sum(
        one.labels == (gold,) for one, gold in zip(bare, held(wiring).values(), strict=True)
    )
    assert right(wiring, manifest, math.inf) > alone / len(texts) + 0.3
    assert wiring.rules.state(7, "sentiment", manifest.tag) is None, "a trial serves nothing"


def test_no_held_out_text_is_answered_by_its_own_verdict(wiring: Wiring) -> None:
    manifest, texts = staged(wiring), list(held(wiring))
    said = trial.answers(wiring, 7, manifest, "sentiment", texts, math.inf)
    # Of a doubtful one any other verdict may turn the answer.
    text, before = max(zip(texts, said, strict=True), key=lambda pair: pair[1].confidence)
    (verdict,) = (v for v in wiring.pool(7).verdicts() if v.text == text)
    other = next(mood for mood in MOODS if mood != verdict.labels[0])
    turned = Verdict(**{**verdict.__dict__, "labels": (other,), "at": 60.0})
    wiring.pool(7).add(turned)
    after = trial.answers(wiring, 7, manifest, "sentiment", [text], math.inf)
    assert before.labels == after[0].labels


def test_a_promotion_serves_what_was_judged(wiring: Wiring) -> None:
    manifest = staged(wiring)
    learned = trial._learned(wiring, 7, manifest, "sentiment", math.inf)
    tag = wiring.store.save_committee(manifest)
    card = Card(tag, manifest.parent, 1, "promoted", "for the test", at=100.0)
    with wiring.redis.pipeline() as pipe:
        wiring.projects.desk(7).propose({"tag": tag, "card": asdict(card), "up_to": 90}, pipe)
        pipe.execute()
    with wiring.lease("push-7") as lease:
        push.work(wiring, 7, lease)
    served = wiring.rules.state(7, "sentiment", tag)
    assert learned is not None and served is not None
    assert served.to_json() == learned.state.to_json()
    assert served.live is not None and served.live.verdicts == COUNT
