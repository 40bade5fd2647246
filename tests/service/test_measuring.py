"""Measuring candidates: each once, whatever happens to a worker or a model."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from machine import eventually
from provider import Provider
from redis import Redis
from world import settings

from backend.jobs import lease_name, select
from backend.lease import Lease, LeaseLost
from backend.measuring import measure
from backend.samples import Sample
from backend.selections import ATTEMPTS, Run, key_of
from backend.wiring import Wiring
from benchmarks.tiny_classifier import publish, train
from meta_controller.candidates import Candidate

PROJECT = 7
TEXTS = ("good soup", "bad soup", "soup")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    texts = ["good soup", "bad soup"] * 32
    made = train(texts, [1, 0] * 32, ("NEG", "POS"), epochs=150, width=32)
    return publish(tmp_path_factory.mktemp("model"), *made)


@pytest.fixture
def wiring(redis: Redis, redis_socket: str, tmp_path: Path, provider: Provider) -> Iterator[Wiring]:
    made = Wiring(settings(redis_socket, tmp_path, provider, RUNTIME="torch-fp32"))
    yield made
    made.redis.close()
    made.raw_redis.close()


@pytest.fixture
def good(model: Path) -> Candidate:
    return Candidate(str(model), "local", ("NEG", "POS"))


@pytest.fixture
def broken(model: Path, tmp_path: Path) -> Candidate:
    """A model whose weights are no weights."""
    folder = Path(shutil.copytree(model, tmp_path / "broken"))
    (folder / "model.safetensors").write_bytes(b"x" * 100)
    return Candidate(str(folder), "local", ("NEG", "POS"))


def begin(wiring: Wiring, *candidates: Candidate) -> Run:
    with wiring.redis.pipeline() as pipe:
        run = wiring.selections(PROJECT).begin(TEXTS, candidates, pipe)
        pipe.execute()
    return run


def work(wiring: Wiring, run: Run, candidate: Candidate) -> str:
    part = f"{run.id}-{key_of(candidate)}"
    with wiring.lease(lease_name("select", PROJECT, part)) as lease:
        return select.work(wiring, PROJECT, lease, part)


def test_a_candidate_answers_in_its_own_labels_and_only_once(
    wiring: Wiring, good: Candidate
) -> None:
    run = begin(wiring, good)
    assert "measured on 3 texts" in work(wiring, run, good)
    own = wiring.selections(PROJECT).votes(run)[key_of(good)]
    assert (own.labels, own.independent, own.votes.shape) == (("NEG", "POS"), False, (3, 2))
    assert own.votes[0, 1] > 0.9 and own.votes[1, 0] > 0.9
    np.testing.assert_allclose(own.votes.sum(axis=1), 1.0)
    assert work(wiring, run, good) == "That selection is over."


def test_the_same_texts_are_not_measured_again_other_ones_are(
    wiring: Wiring, good: Candidate
) -> None:
    work(wiring, begin(wiring, good), good)
    selections = wiring.selections(PROJECT)
    assert selections.open(begin(wiring, good)) == set()
    with wiring.redis.pipeline() as pipe:
        other = selections.begin(("another text",), [good], pipe)
        pipe.execute()
    assert selections.open(other) == {key_of(good)}


def test_a_model_that_cannot_be_opened_fails_alone(
    wiring: Wiring, good: Candidate, broken: Candidate
) -> None:
    run = begin(wiring, broken, good)
    for one in (broken, good):
        work(wiring, run, one)
    selections = wiring.selections(PROJECT)
    assert set(selections.votes(run)) == {key_of(good)}
    assert "cannot be opened" in selections.failures(run)[key_of(broken)]
    assert selections.open(run) == set()
    assert selections.open(begin(wiring, broken, good)) == {key_of(broken)}, "tried anew"


def test_a_trained_member_is_measured_with_what_it_learned(
    wiring: Wiring, good: Candidate, model: Path
) -> None:
    def fill(out: Path) -> None:
        shutil.copytree(model, out, dirs_exist_ok=True)

    trained = replace(
        good, source="embedded:sentiment-reviews", checkpoint=wiring.store.write(fill)
    )
    lost = replace(trained, checkpoint="0123456789abcdef")
    run = begin(wiring, good, trained, lost)
    for one in (good, trained, lost):
        work(wiring, run, one)
    selections = wiring.selections(PROJECT)
    votes = selections.votes(run)
    np.testing.assert_array_equal(votes[key_of(trained)].votes, votes[key_of(good)].votes)
    assert "the folder is missing" in selections.failures(run)[key_of(lost)]


def test_a_candidate_that_kills_its_workers_is_given_up(wiring: Wiring, good: Candidate) -> None:
    run = begin(wiring, good)
    for _ in range(ATTEMPTS):
        wiring.selections(PROJECT).attempt(run, key_of(good))
    work(wiring, run, good)
    assert wiring.selections(PROJECT).failures(run) == {
        key_of(good): f"its worker was killed {ATTEMPTS} times"
    }


def test_a_worker_that_lost_its_lease_writes_nothing(wiring: Wiring, good: Candidate) -> None:
    run = begin(wiring, good)
    part = f"{run.id}-{key_of(good)}"
    name = lease_name("select", PROJECT, part)
    with wiring.lease(name) as lease:
        wiring.redis.set(Lease.key(name), "somebody else")
        with pytest.raises(LeaseLost):
            select.work(wiring, PROJECT, lease, part)
    assert wiring.selections(PROJECT).open(run) == {key_of(good)}


def test_what_a_killed_worker_took_along_is_enqueued_again(
    wiring: Wiring, good: Candidate, broken: Candidate
) -> None:
    wiring.queues.report("push", "a worker")
    sample = Sample(TEXTS, None, "none", True, 0)
    named = [("good", good), ("broken", broken)]

    def waiting(count: int) -> set[str]:
        parts = wiring.queues.parts("select", PROJECT)
        return parts if len(parts) == count else set()

    with ThreadPoolExecutor(1) as pool, wiring.lease("the command") as lease:
        ended = pool.submit(measure, wiring, PROJECT, sample, named, lease, lambda line: None)
        eventually(lambda: waiting(2), 20, "both are enqueued")
        wiring.queues.withdraw("select", PROJECT)  # taken by a worker that is killed at once
        eventually(lambda: waiting(2), 20, "both are enqueued again")
        run = wiring.selections(PROJECT).run()
        assert run
        for one in (good, broken):
            work(wiring, run, one)
        votes, failures = ended.result(20)
    assert (set(votes), set(failures)) == ({"good"}, {"broken"})
