"""Labeling with the shipped committee and a real Redis: evidence, rules, audits and verdicts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from machine import CONFIG
from redis import Redis

from backend.audit import is_audit
from backend.evidence_store import Row, Shown, text_hash
from backend.label_config import parse
from backend.labeling import Labeled
from backend.predictions import HEAD
from backend.projects import Project
from backend.settings import Settings
from backend.wiring import Wiring
from specialists.evidence import Evidence
from specialists.rule_state import RuleState
from specialists.types import Verdict
from specialists.value_rule import MIN_GAIN

CLEAR = "I love this, wonderful, the best day ever!"
UNCLEAR = "Well, it is what it is, half good and half bad."
UNKNOWN = (
    CONFIG.replace("positive", "invoice").replace("neutral", "letter").replace("negative", "report")
)


@pytest.fixture
def wired(redis: Redis, redis_socket: str, tmp_path: Path) -> Iterator[Callable[..., Wiring]]:
    made = []

    def wire(**settings: str) -> Wiring:
        environ = {"REDIS_URL": f"unix://{redis_socket}", "DATA_DIR": str(tmp_path)}
        silent = {"LLM_PROVIDER": "none", "AUDIT_SHARE": "0"}
        made.append(Wiring(Settings.from_env({**environ, **silent, **settings})))
        return made[-1]

    yield wire
    for one in made:
        one.evidence.close()
        one.redis.close()


@pytest.fixture
def wiring(wired: Callable[..., Wiring]) -> Wiring:
    return wired()


def label(wiring: Wiring, *texts: str, config: str = CONFIG, **more: Any) -> list[Labeled]:
    """Label texts as the tasks 1, 2, ... of project 7."""
    tasks = [{"id": i, "data": {"text": text}, **more} for i, text in enumerate(texts, start=1)]
    controls = parse(config)
    return wiring.labeler.label(7, controls, tag_of(wiring, config), tasks)


def tag_of(wiring: Wiring, config: str = CONFIG) -> str:
    return wiring.committees.ensure(7, parse(config))


def rows(wiring: Wiring, config: str = CONFIG) -> list[Row]:
    return wiring.evidence.read(7, "sentiment", tag_of(wiring, config))


def answer(one: Labeled) -> str | None:
    regions = one.prediction["result"]
    return str(regions[0]["value"]["choices"][0]) if regions else None


def learn(wiring: Wiring, state: RuleState) -> None:
    with wiring.redis.pipeline() as pipe:
        wiring.rules.save(7, "sentiment", tag_of(wiring), state, pipe)
        pipe.execute()


def test_evidence_is_stored_with_what_is_shown(wiring: Wiring) -> None:
    clear, unclear = label(wiring, CLEAR, UNCLEAR)
    first, second = rows(wiring)
    assert (first.task_id, second.task_id) == (1, 2)
    assert first.text_hash == text_hash(CLEAR) and first.members == ("reviews", "tweets", "finance")
    seen = Evidence.unpack([first.evidence])
    assert seen.votes.shape == (1, 3, 3) and len(seen.features) == 6
    assert first.shown == Shown(("positive",), clear.prediction["score"], hard=False)
    assert second.shown and second.shown.hard and unclear.hard
    (sample,) = unclear.hard
    assert sample.gain >= MIN_GAIN and clear.settled == ("1:sentiment",)


def test_a_text_that_was_seen_is_not_computed_again_unless_it_was_edited(wiring: Wiring) -> None:
    before = label(wiring, CLEAR)
    (row,) = rows(wiring)
    seen = Evidence.unpack([row.evidence])
    flipped = replace(seen, votes=seen.votes[:, :, ::-1].copy())
    wiring.evidence.put(7, "sentiment", tag_of(wiring), [replace(row, evidence=flipped.pack()[0])])
    assert (answer(before[0]), answer(label(wiring, CLEAR)[0])) == ("positive", "negative")
    edited = f"{CLEAR} Really."
    assert answer(label(wiring, edited)[0]) == "positive"
    assert rows(wiring)[0].text_hash == text_hash(edited)


@pytest.mark.parametrize("raw", [b"", b"\x01", b"\xff" * 40])
def test_stored_evidence_that_cannot_be_read_is_computed_again(wiring: Wiring, raw: bytes) -> None:
    before = label(wiring, CLEAR)
    (row,) = rows(wiring)
    wiring.evidence.put(7, "sentiment", tag_of(wiring), [replace(row, evidence=raw)])
    assert label(wiring, CLEAR) == before
    assert rows(wiring)[0].evidence == row.evidence


def test_evidence_from_before_the_frozen_view_is_filled_in_at_the_next_prediction(
    wiring: Wiring,
) -> None:
    before = label(wiring, CLEAR)
    (row,) = rows(wiring)
    old = replace(Evidence.unpack([row.evidence]), frozen=None).pack()[0]
    wiring.evidence.put(7, "sentiment", tag_of(wiring), [replace(row, evidence=old)])
    assert label(wiring, CLEAR) == before
    assert rows(wiring)[0].evidence == row.evidence


def test_stored_and_fresh_evidence_decide_alike(wiring: Wiring) -> None:
    assert label(wiring, CLEAR, UNCLEAR) == label(wiring, CLEAR, UNCLEAR)


def test_equal_texts_of_two_tasks_and_two_texts_of_one_task(wiring: Wiring) -> None:
    first, second = label(wiring, UNCLEAR, UNCLEAR)
    assert first.prediction == second.prediction and len(rows(wiring)) == 2
    tasks = [{"id": 1, "data": {"text": text}} for text in (UNCLEAR, CLEAR)]
    one, other = wiring.labeler.label(7, parse(CONFIG), tag_of(wiring), tasks)
    assert one.prediction == first.prediction and answer(other) == "positive"


def test_a_task_without_id_or_text_is_labelled_and_not_stored(wiring: Wiring) -> None:
    tasks: list[dict[str, Any]] = [
        {"data": {"text": CLEAR}},
        {"id": 5, "data": {}},
        {"id": True, "data": {"text": CLEAR}},
    ]
    made = wiring.labeler.label(7, parse(CONFIG), tag_of(wiring), tasks)
    assert [answer(one) for one in made] == ["positive", None, "positive"]
    assert rows(wiring) == []


def test_what_was_learned_decides_from_then_on(wiring: Wiring) -> None:
    assert label(wiring, UNCLEAR)[0].hard
    one_member = RuleState(np.array([0.0, 0.0, 1.0]), np.eye(3), verdicts=20, trust="committee")
    learn(wiring, one_member)
    (one,) = label(wiring, UNCLEAR)
    votes = one.prediction["result"][0]["meta"]["votes"]
    (finance,) = (vote for vote in votes if vote["member"] == "finance")
    assert answer(one) == finance["labels"][0]
    assert not one.hard and one.settled == ("1:sentiment",), "nothing is gained by asking"


def test_a_project_that_chose_the_paper_s_rule_has_it(wiring: Wiring) -> None:
    wiring.projects.put(Project(7, rule="paper"))
    (one,) = label(wiring, UNCLEAR)
    (sample,) = one.hard
    assert sample.gain == 0.0 and "say" in sample.reason


def test_a_verdict_shows_unless_the_text_was_edited(wiring: Wiring) -> None:
    fused = Verdict(1, "sentiment", UNCLEAR, ("neutral",), "llm", "model-x", 0.0)
    wiring.pool(7).add(replace(fused, answer=("negative",), chance=0.7))
    (one,) = label(wiring, UNCLEAR)
    assert answer(one) == "neutral" and one.prediction["score"] == 0.7
    assert one.prediction["result"][0]["meta"]["answer"] == ["negative"]
    assert rows(wiring)[0].shown == Shown(("neutral",), 0.7, hard=False)
    assert one.hard == () and label(wiring, f"{UNCLEAR} Edited.")[0].hard


def test_a_task_at_the_head_of_the_queue_scores_its_place(wiring: Wiring) -> None:
    desk = wiring.projects.desk(7)
    with wiring.redis.pipeline() as pipe:
        desk.place(tag_of(wiring), {2: 0.0123}, pipe)
        desk.place("another-tag", {1: 0.0001}, pipe)
        pipe.execute()
    first, second = label(wiring, CLEAR, UNCLEAR)
    assert first.prediction["score"] == first.prediction["result"][0]["score"] > HEAD
    assert second.prediction["score"] == 0.0123
    assert second.prediction["result"][0]["score"] > HEAD, "what people read as confidence"
    assert rows(wiring)[1].shown == Shown(
        (answer(second) or "",), second.prediction["result"][0]["score"], hard=True
    )


def test_annotated_tasks_are_not_up_for_review(wiring: Wiring) -> None:
    (one,) = label(wiring, UNCLEAR, total_annotations=1)
    assert one.hard == () and one.settled == ("1:sentiment",)


def test_an_audit_shows_nothing_and_is_measured_all_the_same(wired: Callable[..., Wiring]) -> None:
    wiring = wired(AUDIT_SHARE="0.5")
    made = label(wiring, *[UNCLEAR] * 20)
    audited = {one.task_id for one in made if one.task_id and is_audit(7, one.task_id, 0.5)}
    assert 0 < len(audited) < 20
    for one, row in zip(made, rows(wiring), strict=True):
        if one.task_id in audited:
            assert one.prediction["result"] == [] and one.prediction["score"] == 0.0
            assert one.hard == () and one.settled
            assert row.shown == Shown((), 0.0, hard=False)
        else:
            assert answer(one) and one.hard
    assert {row.task_id for row in rows(wiring)} == set(range(1, 21))


def test_observing_stores_evidence_and_shows_nothing(wiring: Wiring) -> None:
    wiring.labeler.observe(7, "sentiment", tag_of(wiring), {4: CLEAR, 9: UNCLEAR})
    assert [(row.task_id, row.shown) for row in rows(wiring)] == [(4, None), (9, None)]


def test_labels_that_nobody_knows_are_seen_so_that_heads_can_learn(wiring: Wiring) -> None:
    (one,) = label(wiring, CLEAR, config=UNKNOWN)
    assert answer(one) is None and len(one.hard) == 1
    (row,) = rows(wiring, UNKNOWN)
    seen = Evidence.unpack([row.evidence])
    assert row.members == ("similarity",) and seen.votes.shape == (1, 1, 3)
    assert seen.frozen is not None and np.isfinite(seen.frozen).all()


def test_a_folder_that_cannot_be_written_costs_no_prediction(wiring: Wiring) -> None:
    expected = answer(label(wiring, CLEAR)[0])
    wiring.evidence.close()
    folder = wiring.settings.data_dir / "evidence"
    folder.rename(folder.with_name("away"))
    folder.write_text("a file where the folder should be")
    assert answer(label(wiring, CLEAR)[0]) == expected
