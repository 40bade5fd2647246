"""A review worker killed ten times: nothing is lost or asked twice, and all of it is paid for."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import re
import time
from collections import Counter
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from machine import CONFIG, Machine, eventually
from provider import KEY, Provider, Scene, says

from backend import worker
from backend.jobs import lease_name
from backend.label_config import parse
from backend.lease import Lease
from backend.pauses import paused_key
from backend.projects import HardSample
from backend.settings import Settings
from backend.wiring import Wiring
from meta_controller.language_model import Tokens
from meta_controller.ledger import Ledger
from meta_controller.prices import NANO, Price

PROJECT = 1
SAMPLES = 240
KILLS = 10
IN_FLIGHT = 4
PRICE = Price(1.0, 5.0, known=True)


class Failing:
    """Fails one call in five, but no text more than twice, so that each run goes on."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.failed: Counter[str] = Counter()
        self.answered: list[str] = []

    def __call__(self, body: dict[str, Any]) -> Scene:
        text = re.findall(r"Hard text number \d+", json.dumps(body))[-1]
        good = says("neutral", delay_s=0.05)
        if self.dice.random() >= 0.2 or self.failed[text] == 2:
            self.answered.append(text)
            return good
        self.failed[text] += 1
        return self.dice.choice(
            [
                Scene(429, headers={"retry-after": "0.1"}),
                Scene(500),
                Scene(answer=good.answer, delay_s=2.0),
                Scene(answer='{"label": "posit'),
                says("Positive"),
                Scene(answer=good.answer, cut=True),
            ]
        )


def start(provider: Provider, folder: Path) -> Machine:
    settings = {
        "LLM_PROVIDER": "openai",
        "LLM_MODEL": "local",
        "LLM_BASE_URL": f"{provider.url}/v1",
        "OPENAI_API_KEY": KEY,
        "LLM_CONCURRENCY": str(IN_FLIGHT),
        "LLM_TIMEOUT_S": "1",
        "LLM_SHARE": "1",
        "LLM_PRICE": "1,5",
        "LLM_PACK": "1",
        "DECISION_RULE": "paper",
    }
    return Machine(folder, **settings)


def run_worker(environ: dict[str, str]) -> None:
    """A review worker, as `python -m backend worker review` runs one."""
    os.environ.update(environ)
    worker.run(Wiring(Settings.from_env(environ)), "review")


def started(machine: Machine) -> BaseProcess:
    """A worker forked from a process that has imported all it needs: imports take seconds."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["backend.worker", "backend.jobs.review", "openai"])
    process = context.Process(target=run_worker, args=(machine.environ,))
    process.start()
    return process


def kill(machine: Machine, process: BaseProcess) -> int:
    """Kill the worker, let its leases run out at once; returns what was in flight."""
    process.kill()
    process.join()
    redis = machine.wiring.redis
    redis.delete(Lease.key(lease_name("review", PROJECT)), Lease.key("scheduler"))
    return int(redis.hlen(Ledger(redis, PROJECT).inflight_key))


def test_ten_kills_cost_no_more_than_what_was_in_flight(tmp_path: Path) -> None:
    dice, failing = random.Random(10), Failing(seed=10)
    with Provider() as provider, start(provider, tmp_path) as machine:
        provider.decide = failing
        wiring, redis = machine.wiring, machine.wiring.redis
        wiring.projects.update(PROJECT, label_config=CONFIG, tasks=SAMPLES)
        tag = wiring.committees.ensure(PROJECT, parse(CONFIG))
        desk, pool = wiring.projects.desk(PROJECT), wiring.pool(PROJECT)
        desk.add_hard(
            HardSample(n, "sentiment", f"Hard text number {n}.", ("positive",), 0.5, "", tag)
            for n in range(SAMPLES)
        )
        in_flight, stored = 0, set[str]()
        for _ in range(KILLS):
            process = started(machine)
            enough = provider.calls + dice.randint(1, 25)
            eventually(lambda calls=enough: provider.calls >= calls, 30, "some calls")
            time.sleep(dice.uniform(0, 0.2))
            in_flight += kill(machine, process)
            stored |= {verdict.text.rstrip(".") for verdict in pool.verdicts()}
        assert desk.waiting()["to_review"], "the kills came in the middle of the work"
        process = started(machine)

        def over() -> bool:
            redis.delete(paused_key(PROJECT))
            return not desk.waiting()["to_review"]

        eventually(over, 60, "all samples to end")
        kill(machine, process)
        verdicts = {verdict.text.rstrip(".") for verdict in pool.verdicts()}
        left = {one.text.rstrip("."): one.error for one in desk.hard()}
        assert len(verdicts) + len(left) == SAMPLES and not verdicts & set(left)
        assert all(left.values()), "what has no verdict says why"
        times = Counter(failing.answered)
        assert all(times[text] >= 1 for text in verdicts)
        assert sum(n - 1 for n in times.values()) <= in_flight, "only what flew is asked again"
        check_ledger(Ledger(redis, PROJECT), provider, in_flight)


def check_ledger(ledger: Ledger, provider: Provider, in_flight: int) -> None:
    """Never below what the provider counted, above it by what was in flight at most."""
    spend, entries = ledger.spend(), ledger.entries(10_000)
    lost = [entry for entry in entries if entry["outcome"] == "lost"]
    assert 0 < len(lost) <= in_flight <= KILLS * IN_FLIGHT
    assert 0 <= spend.calls - provider.calls <= len(lost)
    billed = sum(PRICE.nano_usd(scene.tokens) for scene in provider.billed)
    in_full = [e for e in entries if e["usd"] > PRICE.nano_usd(Tokens(100, 20)) / NANO]
    untold = [scene for scene in provider.billed if not scene.told]
    assert billed <= round(spend.usd * NANO)
    assert len(untold) <= len(in_full) <= len(untold) + len(lost)
