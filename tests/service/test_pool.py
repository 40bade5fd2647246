"""The pool on a real Redis: which verdicts count, and which wait for the next stage."""

from __future__ import annotations

import itertools
import threading
import time
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis import Redis

from specialists.types import Verdict
from training.pool import Place, Pool

TEXT = "what a day"
TASKS_RACED = 200
_projects = itertools.count(1000)


def llm(task: int, label: str, control: str = "sentiment") -> Verdict:
    return Verdict(task, control, TEXT, (label,), "llm", "a-model", at=1.0)


def human(
    task: int, label: str, *, author: str = "1", annotation: int = 1, at: float = 2.0
) -> Verdict:
    return Verdict(
        task, "sentiment", TEXT, (label,), "human", author, at=at, annotation_id=annotation
    )


@pytest.fixture
def pool(redis: Redis) -> Pool:
    return Pool(redis, 7)


def learn(pool: Pool, redis: Redis, up_to: int | None = None) -> int:
    """End a stage that took all up to a sequence number (default: the newest)."""
    number = pool.sequence() if up_to is None else up_to
    with redis.pipeline() as pipe:
        pool.done(number, pipe)
        pipe.execute()
    return number


def label_of(pool: Pool, task: int = 1) -> str:
    return pool.effective()[task, "sentiment"].labels[0]


# What waits


def test_a_verdict_waits_until_a_stage_learned_it(pool: Pool, redis: Redis) -> None:
    pool.add(llm(1, "Positive"))
    assert pool.waiting() == 1
    assert pool.waiting_places(pool.sequence()) == {(1, "sentiment")}
    learn(pool, redis)
    assert pool.waiting() == 0
    assert pool.verdicts() == [llm(1, "Positive")]


def test_many_verdicts_are_stored_at_once_and_the_new_ones_told(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.pool._AT_ONCE", 2)
    first = [llm(task, "Positive") for task in (1, 2, 3)]
    assert pool.add_all(first) == first
    changed = replace(first[1], labels=("Negative",))
    assert pool.add_all([first[0], changed, llm(4, "Positive"), first[2]]) == [
        changed,
        llm(4, "Positive"),
    ]
    assert (pool.size(), pool.waiting(), label_of(pool, 2)) == (4, 4, "Negative")
    assert pool.add_all([]) == []


def test_a_repeat_does_not_wait_again(pool: Pool, redis: Redis) -> None:
    pool.add(llm(1, "Positive"))
    pool.add(human(2, "Negative"))
    learn(pool, redis)
    pool.add(replace(llm(1, "Positive"), at=9.0))
    pool.add(replace(human(2, "Negative"), at=9.0))
    assert pool.waiting() == 0


def test_a_repeat_without_labels_does_not_wait_again(pool: Pool, redis: Redis) -> None:
    nothing = replace(human(1, ""), labels=())
    pool.add(nothing)
    learn(pool, redis)
    pool.add(nothing)
    assert pool.waiting() == 0
    pool.add(human(1, "Positive"))
    assert pool.waiting() == 1


@pytest.mark.parametrize(
    "change", [{"labels": ("Negative",)}, {"labels": ("Positive", "Joy")}, {"text": "edited"}]
)
def test_a_changed_verdict_waits_again(pool: Pool, redis: Redis, change: dict[str, object]) -> None:
    pool.add(llm(1, "Positive"))
    learn(pool, redis)
    pool.add(replace(llm(1, "Positive"), **change))
    assert pool.waiting() == 1
    assert pool.verdicts() == [replace(llm(1, "Positive"), **change)]


def test_a_stage_leaves_what_came_after_it_began(pool: Pool, redis: Redis) -> None:
    for task in (1, 2):
        pool.add(llm(task, "Positive"))
    up_to = pool.sequence()
    pool.add(llm(2, "Negative"))  # changed while the stage runs: not learned by it
    pool.add(llm(3, "Positive"))
    assert pool.waiting_places(up_to) == {(1, "sentiment")}
    assert pool.waiting(after=up_to) == 2
    learn(pool, redis, up_to)
    assert pool.waiting_places(pool.sequence()) == {(2, "sentiment"), (3, "sentiment")}


def test_a_verdict_can_be_one_write_of_many(pool: Pool, redis: Redis) -> None:
    with redis.pipeline() as pipe:
        pool.add(llm(1, "Positive"), pipe)
        assert pool.verdicts() == []
        pipe.execute()
    assert pool.waiting() == 1


# Which verdict counts


def test_people_come_before_the_llm_whoever_was_later(pool: Pool) -> None:
    pool.add(human(1, "Negative", at=1.0))
    pool.add(replace(llm(1, "Positive"), at=5.0))
    assert label_of(pool) == "Negative"
    assert pool.counts() == {"llm": 1, "human": 1}


def test_the_majority_of_people_counts(pool: Pool) -> None:
    for number, label in enumerate(("Negative", "Negative", "Positive")):
        pool.add(human(1, label, author=str(number), annotation=number + 1, at=2.0 + number))
    assert label_of(pool) == "Negative"


def test_on_a_tie_the_latest_counts(pool: Pool) -> None:
    pool.add(human(1, "Negative", author="1", annotation=1, at=5.0))
    pool.add(human(1, "Positive", author="2", annotation=2, at=3.0))
    assert label_of(pool) == "Negative"


def test_a_person_has_one_vote_the_latest(pool: Pool) -> None:
    pool.add(human(1, "Negative", author="1", annotation=1, at=2.0))
    pool.add(human(1, "Negative", author="1", annotation=2, at=3.0))
    pool.add(human(1, "Positive", author="1", annotation=3, at=4.0))
    pool.add(human(1, "Negative", author="2", annotation=4, at=1.0))
    assert label_of(pool) == "Positive"  # one against one, and the later


def test_controls_of_a_task_are_apart(pool: Pool) -> None:
    pool.add(llm(1, "Positive"))
    pool.add(llm(1, "Weather", control="topic: main"))
    assert {place: one.labels for place, one in pool.effective().items()} == {
        (1, "sentiment"): ("Positive",),
        (1, "topic: main"): ("Weather",),
    }
    assert pool.waiting_places(pool.sequence()) == {(1, "sentiment"), (1, "topic: main")}


def test_the_llm_s_verdicts_are_found_by_place(pool: Pool) -> None:
    pool.add(llm(1, "Positive"))
    pool.add(human(2, "Negative"))
    places = [(1, "sentiment"), (2, "sentiment"), (3, "sentiment")]
    assert pool.llm_verdicts(places) == {(1, "sentiment"): llm(1, "Positive")}
    assert pool.llm_verdicts([]) == {}


def test_places_are_told_apart_by_who_answered(pool: Pool) -> None:
    pool.add(llm(1, "Positive"))
    pool.add(human(1, "Negative"))
    pool.add(llm(2, "Weather", control="topic: main"))
    assert pool.places("llm") == {(1, "sentiment"), (2, "topic: main")}
    assert pool.places("human") == {(1, "sentiment")}
    assert pool.size() == 3


# What is revised


def revise(pool: Pool, redis: Redis, *verdicts: Verdict) -> None:
    with redis.pipeline() as pipe:
        pool.revise(verdicts, pipe)
        pipe.execute()


def test_a_revised_verdict_changes_and_does_not_wait_again(pool: Pool, redis: Redis) -> None:
    said = replace(llm(1, "Positive"), answer=("Positive",), chance=0.6)
    other = replace(llm(2, "Positive"), answer=("Positive",))
    pool.add(said)
    pool.add(other)
    learn(pool, redis)
    fused = replace(said, labels=("Negative",), chance=0.7)
    revise(pool, redis, fused)
    assert {v.task_id: v for v in pool.verdicts()} == {1: fused, 2: other}
    assert pool.waiting() == 0


def test_a_revision_keeps_a_verdict_waiting(pool: Pool, redis: Redis) -> None:
    said = replace(llm(1, "Positive"), answer=("Positive",))
    pool.add(said)
    revise(pool, redis, replace(said, labels=("Negative",)))
    assert pool.waiting() == 1


@pytest.mark.parametrize(
    "meanwhile",
    [
        {"answer": ("Neutral",), "labels": ("Neutral",)},
        {"text": "edited"},
        {"author": "another-model"},
        {"at": 9.0},
    ],
    ids=["answer", "text", "author", "time"],
)
def test_what_was_answered_anew_is_not_revised(
    pool: Pool, redis: Redis, meanwhile: dict[str, object]
) -> None:
    said = replace(llm(1, "Positive"), answer=("Positive",))
    anew = replace(said, **meanwhile)
    pool.add(anew)
    revise(pool, redis, replace(said, labels=("Negative",)))
    assert pool.verdicts() == [anew]


def test_what_is_gone_is_not_brought_back_by_a_revision(pool: Pool, redis: Redis) -> None:
    revise(pool, redis, replace(llm(1, "Positive"), answer=("Positive",)))
    revise(pool, redis)
    assert pool.verdicts() == []


def test_a_verdict_from_before_answers_were_kept_is_revised(pool: Pool, redis: Redis) -> None:
    pool.add(llm(1, "Positive"))
    fused = replace(llm(1, "Negative"), answer=("Positive",), chance=0.7)
    revise(pool, redis, fused)
    assert pool.verdicts() == [fused]


def test_a_verdict_that_teaches_nothing_new_does_not_wait(pool: Pool, redis: Redis) -> None:
    pool.add(human(1, "Positive"))
    learn(pool, redis)
    pool.add(llm(1, "Negative"), waits=False)
    assert pool.waiting() == 0
    assert pool.counts() == {"llm": 1, "human": 1}
    assert label_of(pool) == "Positive"


# What is withdrawn


def test_a_withdrawn_answer_is_gone(pool: Pool) -> None:
    pool.add(human(1, "Negative", annotation=12))
    pool.add(human(2, "Negative", annotation=120))
    assert pool.retract(12)
    assert pool.annotation_ids() == {120}
    assert set(pool.effective()) == {(2, "sentiment")}
    assert pool.waiting_places(pool.sequence()) == {(2, "sentiment")}
    assert not pool.retract(12)


def test_what_another_verdict_still_answers_waits_again(pool: Pool, redis: Redis) -> None:
    pool.add(llm(1, "Positive"))
    pool.add(human(1, "Negative", annotation=12))
    learn(pool, redis)
    pool.retract(12)
    assert label_of(pool) == "Positive"
    assert pool.waiting_places(pool.sequence()) == {(1, "sentiment")}


def test_an_annotation_with_several_controls_is_withdrawn_whole(pool: Pool) -> None:
    pool.add(human(1, "Negative", annotation=12))
    pool.add(replace(human(1, "Weather", annotation=12), control="topic: main"))
    assert pool.retract(12)
    assert pool.verdicts() == []
    assert pool.waiting() == 0
    assert pool.annotation_ids() == set()


# At once


def run_all(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_concurrent_verdicts_are_all_kept_and_wait(pool: Pool) -> None:
    gate = threading.Barrier(6)

    def annotate(author: int) -> None:
        gate.wait()
        for task in range(40):
            annotation = 1000 * author + task
            pool.add(human(task, "Positive", author=str(author), annotation=annotation))

    run_all([threading.Thread(target=annotate, args=(author,)) for author in range(1, 7)])
    assert pool.counts() == {"llm": 0, "human": 240}
    assert len(pool.annotation_ids()) == 240
    assert pool.sequence() == 240
    assert pool.waiting_places(240) == {(task, "sentiment") for task in range(40)}


def test_a_verdict_that_comes_while_another_is_withdrawn_waits(pool: Pool, redis: Redis) -> None:
    for task in range(TASKS_RACED):
        pool.add(human(task, "Negative", annotation=task + 1))
        gate = threading.Barrier(2)

        def withdraw(task: int = task, gate: threading.Barrier = gate) -> None:
            gate.wait()
            pool.retract(task + 1)

        def answer(task: int = task, gate: threading.Barrier = gate) -> None:
            gate.wait()
            time.sleep(task * 1e-5)  # meets every moment of the withdrawal
            pool.add(llm(task, "Positive"))

        run_all([threading.Thread(target=withdraw), threading.Thread(target=answer)])
    assert pool.waiting_places(pool.sequence()) == {
        (task, "sentiment") for task in range(TASKS_RACED)
    }


# Against a model in plain Python

LABELS = st.sampled_from(("Positive", "Negative", "Neutral"))
TASKS = st.integers(1, 3)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("llm"), TASKS, LABELS),
        st.tuples(st.just("human"), TASKS, st.integers(1, 3), LABELS),
        st.tuples(st.just("retract"), TASKS, st.integers(1, 3)),
        st.tuples(st.just("learn"), st.integers(0, 3)),
    ),
    max_size=15,
)


class Model:
    """What the pool should do: verdicts by who gave them, and places with their number."""

    def __init__(self) -> None:
        self.given: dict[tuple[int, int], Verdict] = {}  # (task, annotation or 0 for the LLM)
        self.waits: dict[int, int] = {}
        self.number = 0

    def wait(self, task: int) -> None:
        self.number += 1
        self.waits[task] = self.number

    def add(self, verdict: Verdict) -> None:
        who = (verdict.task_id, verdict.annotation_id or 0)
        old, self.given[who] = self.given.get(who), verdict
        if old is None or old.labels != verdict.labels:
            self.wait(verdict.task_id)

    def retract(self, task: int, annotation: int) -> None:
        if self.given.pop((task, annotation), None):
            if any(other == task for other, _ in self.given):
                self.wait(task)
            else:
                self.waits.pop(task, None)

    def learn(self, up_to: int) -> None:
        self.waits = {task: number for task, number in self.waits.items() if number > up_to}

    def allowed(self, task: int) -> set[tuple[str, ...]]:
        """What may count: an answer of people, where there is one (consensus.py chooses which)."""
        people = {one.labels for (t, author), one in self.given.items() if t == task and author}
        return people or {self.given[task, 0].labels}


def places(tasks: dict[int, int]) -> set[Place]:
    return {(task, "sentiment") for task in tasks}


@settings(max_examples=60, deadline=None)
@given(steps=STEPS)
def test_any_order_of_events_ends_as_in_the_model(
    redis_socket: str, steps: list[tuple[object, ...]]
) -> None:
    model = Model()
    with Redis(unix_socket_path=redis_socket, decode_responses=True) as client:
        pool = Pool(client, next(_projects))
        for at, step in enumerate(steps):
            match step:
                case ("llm", int(task), str(label)):
                    verdict = replace(llm(task, label), at=float(at))
                    pool.add(verdict)
                    model.add(verdict)
                case ("human", int(task), int(author), str(label)):
                    annotation = 10 * task + author
                    verdict = human(
                        task, label, author=str(author), annotation=annotation, at=float(at)
                    )
                    pool.add(verdict)
                    model.add(verdict)
                case ("retract", int(task), int(author)):
                    pool.retract(10 * task + author)
                    model.retract(task, 10 * task + author)
                case ("learn", int(ago)):
                    up_to = max(0, pool.sequence() - ago)
                    learn(pool, client, up_to)
                    model.learn(up_to)
        assert pool.sequence() == model.number
        assert pool.waiting_places(model.number) == places(model.waits)
        found = {v.task_id: v.labels for v in pool.effective().values()}
        assert found.keys() == {task for task, _ in model.given}
        assert all(labels in model.allowed(task) for task, labels in found.items())
        assert pool.annotation_ids() == {annotation for _, annotation in model.given if annotation}


# What is set aside while the label config does not allow it


def settle(pool: Pool, known: set[str], renamed: dict[str, str] | None = None) -> int:
    def current(verdict: Verdict) -> Verdict:
        said = tuple((renamed or {}).get(name, name) for name in verdict.labels)
        return replace(verdict, labels=said)

    return len(pool.settle(current, lambda verdict: set(verdict.labels) <= known))


def test_a_renamed_verdict_waits_as_it_did(pool: Pool, redis: Redis) -> None:
    pool.add(llm(1, "Positive"))
    learn(pool, redis)
    pool.add(llm(2, "Positive"))
    assert settle(pool, {"Good"}, {"Positive": "Good"}) == 0
    assert (label_of(pool, 1), label_of(pool, 2)) == ("Good", "Good")
    assert pool.waiting_places(pool.sequence()) == {(2, "sentiment")}
    assert settle(pool, {"Good"}, {"Positive": "Good"}) == 0  # again


def test_what_is_not_allowed_does_not_count_and_comes_back(pool: Pool) -> None:
    pool.add(llm(1, "Neutral"))
    pool.add(human(2, "Neutral"))
    pool.add(llm(2, "Positive"))
    assert settle(pool, {"Positive"}) == 2
    assert settle(pool, {"Positive"}) == 0, "told once"
    assert (pool.size(), len(pool.aside()), pool.counts()) == (1, 2, {"llm": 1, "human": 0})
    assert label_of(pool, 2) == "Positive", "another verdict answers"
    assert pool.waiting_places(pool.sequence()) == {(2, "sentiment")}
    assert pool.annotation_ids() == {1}
    settle(pool, {"Positive", "Neutral"})
    assert (pool.size(), pool.aside(), label_of(pool, 2)) == (3, [], "Neutral")
    assert pool.waiting_places(pool.sequence()) == {(1, "sentiment"), (2, "sentiment")}


def test_a_control_s_verdicts_move_with_it(pool: Pool) -> None:
    pool.add(human(1, "Positive", annotation=5))
    pool.settle(lambda one: replace(one, control="mood"), lambda one: True)
    assert pool.effective()[1, "mood"].labels == ("Positive",)
    assert pool.waiting_places(pool.sequence()) == {(1, "mood")}
    assert pool.retract(5) and pool.size() == 0 and pool.waiting() == 0


def test_an_answer_that_is_not_allowed_takes_the_place_of_the_one_before(pool: Pool) -> None:
    pool.add(human(1, "Positive", annotation=5))
    pool.set_aside(human(1, "Neutral", annotation=5))
    assert (pool.size(), pool.waiting(), len(pool.aside())) == (0, 0, 1)
    pool.add(human(1, "Positive", annotation=5))
    assert (pool.size(), pool.waiting(), pool.aside()) == (1, 1, [])
    pool.set_aside(human(1, "Neutral", annotation=5))
    pool.retract(5)
    assert pool.aside() == [] and pool.annotation_ids() == set()


def test_what_is_answered_anew_meanwhile_is_left_alone(pool: Pool) -> None:
    pool.add(llm(1, "Neutral"))

    def meanwhile(verdict: Verdict) -> Verdict:
        pool.add(llm(1, "Positive"))
        return verdict

    assert pool.settle(meanwhile, lambda verdict: verdict.labels == ("Positive",)) == []
    assert (label_of(pool), pool.aside(), pool.waiting()) == ("Positive", [], 1)
