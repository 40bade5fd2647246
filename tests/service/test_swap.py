"""A promotion while requests run: the new committee is loaded beside the old one, then switched."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from machine import CONFIG, Machine, eventually
from safetensors.numpy import load_file, save_file

from training.card import Card
from training.model_store import CommitteeManifest

SHIPPED = Path(__file__).parents[2] / "specialists/adapters/sentiment-reviews"


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    with Machine(tmp_path) as one:
        one.start("web")
        yield one


def setup_tag(machine: Machine) -> str:
    answer = machine.post("/setup", {"project": "1.1", "schema": CONFIG})
    return str(answer.json()["model_version"])


def predicted_tag(machine: Machine, number: int) -> str:
    task = {"data": {"text": f"The soup number {number} was wonderful."}}
    body = {"project": "1.1", "label_config": CONFIG, "tasks": [task]}
    answer = machine.post("/predict", body)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["results"][0]["model_version"])


def loaded_bytes(machine: Machine) -> float:
    lines = machine.http("GET", "/metrics").text.splitlines()
    (line,) = (line for line in lines if line.startswith("autoannotator_web_models_bytes "))
    return float(line.split()[1])


def promote(machine: Machine, tag: str, *, damaged: bool = False) -> str:
    """Serve a next tag, whose first member has a checkpoint of its own."""
    wiring = machine.wiring

    def fill(out: Path) -> None:
        for file in SHIPPED.glob("*.*"):
            (out / file.name).write_bytes(file.read_bytes())
        weights = load_file(out / "adapter_model.safetensors")
        # Else it is the shipped one, which is in memory already.
        weights["base_model.model.classifier.bias"] += 0.01
        save_file(weights, out / "adapter_model.safetensors")

    checkpoint = wiring.store.write(fill)
    data = json.loads(json.dumps(wiring.store.committee(tag).to_json()))
    data["stage"], data["parent"] = data["stage"] + 1, tag
    data["controls"]["sentiment"]["members"][0]["checkpoint"] = checkpoint
    new = wiring.store.save_committee(CommitteeManifest.from_json(data))
    if damaged:
        file = wiring.settings.models / "checkpoints" / checkpoint / "adapter_model.safetensors"
        file.write_bytes(file.read_bytes()[:-1])
    card = Card(new, tag, data["stage"], "promoted", "for the test")
    wiring.promotions(1).promote(new, card, wiring.redis)
    return new


def test_no_request_fails_or_waits_while_a_promoted_committee_is_loaded(machine: Machine) -> None:
    first = setup_tag(machine)
    assert predicted_tag(machine, 0) == first
    alone = loaded_bytes(machine)
    seen: list[str] = []
    stop = threading.Event()

    def ask(worker: int) -> None:
        number = worker * 1_000_000
        while not stop.is_set():
            number += 1
            seen.append(predicted_tag(machine, number))

    with ThreadPoolExecutor(3) as pool:
        askers = [pool.submit(ask, worker) for worker in range(1, 4)]
        try:
            eventually(lambda: len(seen) > 20, 60, "answers under the first tag")
            second = promote(machine, first)
            sizes = [alone]

            def switched() -> bool:
                sizes.append(loaded_bytes(machine))
                return second in seen[-3:]

            eventually(switched, 60, "answers under the second tag")
        finally:
            stop.set()
        for asker in askers:
            asker.result(60)
    assert set(seen) == {first, second}
    assert seen.count(first) > 20
    assert setup_tag(machine) == second
    turn = seen.index(second)
    assert seen[turn + 3 :].count(first) <= 3, "one request of each asker may have been under way"
    assert max(sizes) > alone, "both were in memory"
    eventually(
        lambda: setup_tag(machine) == second and loaded_bytes(machine) <= alone,
        30,
        "the first committee leaves memory",
    )


def test_a_promoted_committee_that_cannot_be_loaded_is_left_for_the_one_before(
    machine: Machine,
) -> None:
    first = setup_tag(machine)
    assert predicted_tag(machine, 0) == first
    damaged = promote(machine, first, damaged=True)
    numbers = iter(range(1, 10_000))
    eventually(
        lambda: (
            predicted_tag(machine, next(numbers)) and machine.wiring.promotions(1).served() == first
        ),
        60,
        "the rollback",
    )
    assert predicted_tag(machine, 10_000) == first
    assert damaged in machine.wiring.promotions(1).tags()
    assert any("damaged" in one["message"] for one in machine.wiring.journal.errors())
