"""Promotions on a real Redis: the served tag and its history never disagree."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
from redis import Redis, WatchError

from training.card import Card, CardDecision
from training.errors import TagNotKept
from training.promotions import Promotions


def card(tag: str, decision: CardDecision = "promoted") -> Card:
    return Card(
        tag=tag,
        parent=None,
        stage=1,
        decision=decision,
        reason="Promoted: 4 of 5 held-out human verdicts right (80.0%), 3 (60.0%) before.",
        before=0.6,
        after=0.8,
        held_out=5,
        held_out_source="human",
        samples={"human": 3, "llm": 20, "replay": 69},
        dropped=1,
        duration_s=12.5,
        method="lora",
        at=1000.0,
    )


@pytest.fixture
def promotions(redis: Redis) -> Promotions:
    return Promotions(redis, project_id=7, clock=lambda: 2000.0)


def promote(promotions: Promotions, redis: Redis, *tags: str) -> None:
    for tag in tags:
        promotions.promote(tag, card(tag), redis)


def test_nothing_is_served_at_first(promotions: Promotions) -> None:
    assert promotions.served() is None
    assert promotions.history() == []
    assert promotions.kept(3) == []


def test_a_promotion_serves_the_tag_and_keeps_its_card(
    promotions: Promotions, redis: Redis
) -> None:
    promote(promotions, redis, "a", "b")
    assert promotions.served() == "b"
    assert promotions.history() == [card("b"), card("a")]
    assert redis.get("aa:project:7:tag") == "b"
    assert redis.llen("aa:project:7:promotions") == 2


def test_promoting_the_served_tag_again_changes_nothing(
    promotions: Promotions, redis: Redis
) -> None:
    promote(promotions, redis, "a", "a")
    assert promotions.history() == [card("a")]


def test_a_refused_stage_leaves_a_card_and_the_served_tag(
    promotions: Promotions, redis: Redis
) -> None:
    promote(promotions, redis, "a")
    refused = card("b", "refused")
    promotions.refuse(refused, redis)
    promotions.refuse(refused, redis)
    assert promotions.served() == "a"
    assert promotions.history() == [refused, card("a")]
    assert promotions.kept(5) == ["a"]


def test_projects_do_not_see_each_other(promotions: Promotions, redis: Redis) -> None:
    promote(promotions, redis, "a")
    assert Promotions(redis, project_id=8).served() is None
    assert Promotions(redis, project_id=8).history() == []


def test_kept_tags_are_distinct_and_start_with_the_served_one(
    promotions: Promotions, redis: Redis
) -> None:
    promote(promotions, redis, "a", "b", "c")
    promotions.rollback("a", redis, keep_tags=3)
    assert promotions.kept(3) == ["a", "c", "b"]
    assert promotions.kept(2) == ["a", "c"]


def test_each_rollback_goes_one_step_further_back(promotions: Promotions, redis: Redis) -> None:
    promote(promotions, redis, "a", "b", "c")
    assert promotions.rollback(None, redis, keep_tags=3) == "b"
    assert promotions.rollback(None, redis, keep_tags=3) == "a"
    with pytest.raises(TagNotKept, match=r"nothing to roll back to \(served: a\).*b, c"):
        promotions.rollback(None, redis, keep_tags=3)
    promote(promotions, redis, "d")
    assert promotions.rollback(None, redis, keep_tags=4) == "a"


def test_a_rollback_is_recorded_with_the_card_of_its_tag(
    promotions: Promotions, redis: Redis
) -> None:
    promote(promotions, redis, "a", "b")
    promotions.refuse(card("a", "refused"), redis)
    promotions.rollback("a", redis, keep_tags=2)
    expected = replace(card("a"), decision="rollback", reason="Rolled back from b to a.", at=2000.0)
    assert promotions.history()[0] == expected
    assert promotions.served() == "a"


@pytest.mark.parametrize("to", ["a", "d", "unknown"])
def test_a_rollback_to_a_tag_that_cannot_be_chosen_says_which_can(
    promotions: Promotions, redis: Redis, to: str
) -> None:
    promote(promotions, redis, "a", "b", "c", "d")
    with pytest.raises(TagNotKept, match=f"'{to}' .*served: d.*choose one of: c, b"):
        promotions.rollback(to, redis, keep_tags=3)
    assert promotions.served() == "d"
    assert len(promotions.history()) == 4


def test_a_rollback_before_any_promotion_says_so(promotions: Promotions, redis: Redis) -> None:
    with pytest.raises(TagNotKept, match="no older tag is kept"):
        promotions.rollback(None, redis, keep_tags=3)


def test_in_the_callers_pipeline_nothing_is_written_when_its_fence_broke(
    promotions: Promotions, redis: Redis
) -> None:
    promote(promotions, redis, "a", "b")
    for write in (
        lambda pipe: promotions.promote("c", card("c"), pipe),
        lambda pipe: promotions.refuse(card("c", "refused"), pipe),
        lambda pipe: promotions.rollback("a", pipe, keep_tags=2),
    ):
        with redis.pipeline() as pipe:
            pipe.watch("lease")
            pipe.multi()
            write(pipe)
            redis.incr("lease")
            with pytest.raises(WatchError):
                pipe.execute()
        assert promotions.served() == "b"
        assert len(promotions.history()) == 2


def test_in_the_callers_pipeline_it_is_written_with_the_callers_own(
    promotions: Promotions, redis: Redis
) -> None:
    with redis.pipeline() as pipe:
        pipe.set("consumed", 1)
        promotions.promote("a", card("a"), pipe)
        assert promotions.served() is None
        pipe.execute()
    assert redis.get("consumed") == "1"
    assert promotions.served() == "a"


def test_promotions_at_once_keep_the_tag_and_the_newest_card_equal(
    promotions: Promotions, redis: Redis
) -> None:
    tags = [f"tag-{n}" for n in range(20)]
    threads = [threading.Thread(target=promote, args=(promotions, redis, tag)) for tag in tags]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    history = promotions.history()
    assert sorted(old.tag for old in history) == sorted(tags)
    assert history[0].tag == promotions.served()
