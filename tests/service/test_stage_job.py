"""The train job over small real models: what it holds out, keeps, and leaves to the next stage."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from machine import CONFIG
from redis import Redis

from backend.examples import Examples
from backend.jobs import push, train
from backend.jobs.known import people_said
from backend.jobs.settle import settle
from backend.label_changes import adopt
from backend.label_config import parse
from backend.projects import Project
from backend.settings import Settings
from backend.wiring import Wiring
from benchmarks import tiny_classifier
from specialists.types import Verdict, VerdictSource
from training.gate import held_out
from training.pool import Pool
from training.slice import member

PROJECT = 7
WORDS = {"sun": "positive", "fog": "neutral", "rain": "negative"}
OTHER = {"positive": "negative", "neutral": "neutral", "negative": "positive"}


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two models that know the three words."""
    texts = [f"{word} {n}" for word in WORDS for n in range(30)]
    wanted = [index for index in range(3) for _ in range(30)]
    own = tuple(WORDS.values())
    return [
        tiny_classifier.publish(
            tmp_path_factory.mktemp("members") / f"m{seed}",
            *tiny_classifier.train(texts, wanted, own, seed=seed, epochs=150, width=32),
        )
        for seed in range(2)
    ]


@pytest.fixture
def wiring(
    redis: Redis, redis_socket: str, tmp_path: Path, members: list[Path]
) -> Iterator[Wiring]:
    environ = {"REDIS_URL": f"unix://{redis_socket}", "DATA_DIR": str(tmp_path)}
    rest = {"LLM_PROVIDER": "none", "AUDIT_SHARE": "0", "RUNTIME": "torch-fp32"}
    training = {"STAGE_SIZE": "10", "STAGE_EPOCHS": "50", "PROMOTE_EVERY": "0"}
    chosen = {"SPECIALISTS": ",".join(map(str, members))}
    wiring = Wiring(Settings.from_env({**environ, **rest, **training, **chosen}))
    wiring.projects.put(Project(PROJECT, CONFIG))
    wiring.committees.ensure(PROJECT, parse(CONFIG))
    yield wiring
    wiring.evidence.close()
    wiring.redis.close()
    wiring.raw_redis.close()


class Answers:
    """Gives verdicts on texts of one word, each text once."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._task = 0
        self._numbers = iter(range(100_000))

    def give(
        self,
        word: str,
        count: int,
        *,
        held: bool,
        source: VerdictSource = "human",
        wrong: bool = False,
    ) -> list[Verdict]:
        """On texts that the hash holds out, or on others."""
        label = OTHER[WORDS[word]] if wrong else WORDS[word]
        found = []
        while len(found) < count:
            text = f"{word} {next(self._numbers)}"
            if held_out(text) != held:
                continue
            self._task += 1
            number = self._task if source == "human" else None
            found.append(
                Verdict(
                    self._task,
                    "sentiment",
                    text,
                    (label,),
                    source,
                    "someone",
                    at=float(self._task),
                    annotation_id=number,
                    answer=() if number else (label,),
                )
            )
        for verdict in found:
            self._pool.add(verdict)
        return found


def by_person(verdict: Verdict) -> Verdict:
    """What a person says to the text of an LLM's verdict: the truth."""
    word, number = verdict.text.split()[0], 1000 + verdict.task_id
    right = (WORDS[word],)
    return replace(
        verdict, labels=right, source="human", at=float(number), annotation_id=number, answer=()
    )


@pytest.fixture
def answers(wiring: Wiring) -> Answers:
    return Answers(wiring.pool(PROJECT))


def stage(wiring: Wiring, asked: int = 1) -> str:
    """Run one, asked for as verdicts that come in a burst would start it later."""
    wiring.projects.desk(PROJECT).set_stage(now=asked)
    with wiring.lease(f"train:{PROJECT}") as lease:
        return train.work(wiring, PROJECT, lease)


def promoted(wiring: Wiring) -> str | None:
    with wiring.lease(f"push:{PROJECT}") as lease:
        push.work(wiring, PROJECT, lease)
    return wiring.promotions(PROJECT).served()


# The slice


def test_a_rare_label_is_held_out_before_anything_trains_and_never_trains(
    wiring: Wiring, answers: Answers
) -> None:
    rare = answers.give("fog", 10, held=False)
    common = answers.give("sun", 20, held=False)
    said = stage(wiring)
    assert "of 6 held-out human verdicts" in said, said
    held = wiring.slice(PROJECT).held_out()
    kept = [v for v in [*rare, *common] if held.holds(v.control, v.text)]
    assert [kept.count(v) for v in rare].count(1) == 2 and len(kept) == 6
    candidate = wiring.projects.desk(PROJECT).candidate()
    assert candidate and candidate["card"]["samples"]["human"] == 24
    asked = {v.text: v for v in kept}
    shown = Examples(
        PROJECT,
        wiring.committees.manifest(candidate["tag"]).controls["sentiment"].labels,
        people_said([*rare, *common], "sentiment").values(),
        0.0,
        held,
    ).near("sun fog", 30)
    assert len(shown) == 24 and not asked.keys() & {one.text for one in shown}


def test_a_stage_that_is_begun_again_measures_by_the_same_texts(
    wiring: Wiring, answers: Answers
) -> None:
    answers.give("fog", 10, held=False)
    tag = wiring.committees.usable(PROJECT)
    with wiring.lease("one") as lease:
        state = train._begin(wiring, PROJECT, tag, lease)
    first = wiring.slice(PROJECT).held_out()
    assert len(first.more) == 2
    answers.give("fog", 10, held=False)
    with wiring.lease("two") as lease:  # the worker of the first was killed
        assert train._begin(wiring, PROJECT, tag, lease) == state
        given = train._given(wiring, PROJECT, tag, state, lease, ["cpu"])
    assert given.held_out == first == wiring.slice(PROJECT).held_out()


def test_what_a_stage_was_given_is_not_held_out_when_a_person_answers_it_later(
    wiring: Wiring, answers: Answers
) -> None:
    learned = answers.give("fog", 10, held=False, source="llm")
    stage(wiring)
    assert promoted(wiring)
    for verdict in learned:
        wiring.pool(PROJECT).add(by_person(verdict))
    more = answers.give("fog", 10, held=False)
    stage(wiring)
    held = wiring.slice(PROJECT).held_out()
    assert not any(held.holds(v.control, v.text) for v in learned)
    assert sum(held.holds(v.control, v.text) for v in more) == 4, "a fifth of all twenty"


def test_verdicts_of_earlier_stages_that_marked_nothing_are_not_held_out(
    wiring: Wiring, answers: Answers
) -> None:
    """As after an update from a version without the slice."""
    old = answers.give("fog", 10, held=False)
    pool = wiring.pool(PROJECT)
    with wiring.redis.pipeline() as pipe:
        pool.done(pool.sequence(), pipe)
        pipe.execute()
    answers.give("sun", 10, held=False)
    stage(wiring)
    held = wiring.slice(PROJECT).held_out()
    assert len(held.more) == 2
    assert not any(held.holds(v.control, v.text) for v in old)


def test_a_renamed_control_keeps_what_measures_it_and_what_it_was_given(
    wiring: Wiring, answers: Answers
) -> None:
    rare = answers.give("fog", 10, held=False)
    with wiring.lease("begin") as lease:
        state = train._begin(wiring, PROJECT, wiring.committees.usable(PROJECT), lease)
        train._given(wiring, PROJECT, state["tag"], state, lease, ["cpu"])
    before = wiring.slice(PROJECT).held_out()
    adopt(wiring, PROJECT, CONFIG.replace('name="sentiment"', 'name="mood"'))
    settle(wiring, PROJECT)
    now = wiring.slice(PROJECT).held_out()
    measures = [v for v in rare if before.holds("sentiment", v.text)]
    assert len(measures) == 2
    assert [v for v in rare if now.holds("mood", v.text)] == measures
    fresh = list(wiring.pool(PROJECT).effective().values())
    assert {v.control for v in fresh} == {"mood"}
    unheard = (text for n in range(100) if not held_out(text := f"fog more {n}"))
    more = [replace(v, text=next(unheard)) for v in fresh]
    found = wiring.slice(PROJECT).lacks([*fresh, *more], [])
    assert found and not found & {member("mood", v.text) for v in rare}


# What is refused


def test_a_refused_stage_leaves_its_verdicts_to_the_next_which_learns_them(
    wiring: Wiring, answers: Answers
) -> None:
    served, pool = wiring.promotions(PROJECT).served(), wiring.pool(PROJECT)
    answers.give("sun", 15, held=True)
    wrong = answers.give("sun", 120, held=False, source="llm", wrong=True)
    right = answers.give("fog", 3, held=False)
    waited = pool.waiting()
    said = stage(wiring)
    assert said.startswith("Refused: ") and "'positive' is lost" in said, said
    desk = wiring.projects.desk(PROJECT)
    assert desk.candidate() is None and wiring.promotions(PROJECT).served() == served
    assert pool.waiting() == waited == 138
    assert stage(wiring, asked=0) == "No stage is due.", "not the same again"
    for verdict in wrong:  # people look at them
        pool.add(by_person(verdict))
    said = stage(wiring)
    assert said.startswith("Promoted: "), said
    candidate = desk.candidate()
    assert candidate and candidate["card"]["samples"]["human"] >= 120 - 27 + len(right)
    assert candidate["card"]["parent"] == served
    assert promoted(wiring) == candidate["tag"]
    assert pool.waiting() == 0
