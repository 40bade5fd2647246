"""The train worker: one stage a device, fair to all projects, and rid of stages that are stuck."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path
from typing import Any

from learners import Learner
from machine import Machine, eventually

from backend.lease import Lease
from backend.supervisor import session_pids

QUICK = {"STAGE_SIZE": "12", "STAGE_EPOCHS": "2", "OMP_NUM_THREADS": "2"}
NO_GPU = {"DEVICE": "cuda", "CUDA_VISIBLE_DEVICES": ""}


def signal_session(leader: int, number: signal.Signals) -> None:
    for pid in session_pids(leader):
        os.kill(pid, number)


def horses(leader: int) -> list[int]:
    return [pid for pid in session_pids(leader) if pid != leader]


def state(machine: Machine, project: int) -> dict[str, Any]:
    """Every key of a project, with its value."""
    redis = machine.wiring.redis
    return {str(key): redis.dump(key) for key in redis.scan_iter(f"aa:project:{project}:*")}


def settled(machine: Machine, project: int) -> dict[str, Any]:
    """The same, once nothing was written for a while."""

    def unchanged() -> dict[str, Any]:
        before = state(machine, project)
        time.sleep(3)
        return before if state(machine, project) == before else {}

    found: dict[str, Any] = eventually(unchanged, 60, "all others to be done")
    return found


def journal(machine: Machine) -> str:
    return "\n".join(error["message"] for error in machine.wiring.journal.errors())


def test_a_paused_worker_loses_its_stage_and_writes_nothing_when_it_wakes(tmp_path: Path) -> None:
    with Machine(tmp_path, **QUICK) as machine:
        learner = Learner(machine)
        learner.learn(12)
        machine.start("review", "push")
        paused = machine.second("train")
        eventually(lambda: learner.stage.get("progress"), 240, "the stage to train")
        signal_session(machine.pid(paused), signal.SIGSTOP)  # as a machine that is suspended
        machine.start("train")
        eventually(lambda: learner.ended(1), 240, "another worker to end the stage")
        before = settled(machine, 1)
        signal_session(machine.pid(paused), signal.SIGCONT)
        eventually(lambda: "lease was lost" in machine.log("train"), 60, "the first one to wake")
        eventually(lambda: not horses(machine.pid(paused)), 30, "its job to end")
        assert state(machine, 1) == before
        assert len(learner.ends()) == 1 and learner.problems() == []


def test_a_horse_that_is_stuck_is_killed_and_the_stage_goes_on(tmp_path: Path) -> None:
    with Machine(tmp_path, **QUICK) as machine:
        learner = Learner(machine)
        learner.learn(12)
        machine.start("review", "push", "train")
        eventually(lambda: learner.stage.get("progress"), 240, "the stage to train")
        (horse,) = horses(machine.pid("train"))
        os.kill(horse, signal.SIGSTOP)
        eventually(lambda: "is silent; killed" in machine.log("train"), 90, "its worker to see it")
        eventually(lambda: learner.ended(1), 240, "the stage to end")
        assert len(learner.ends()) == 1


def test_one_stage_a_machine_at_a_time_however_many_workers(tmp_path: Path) -> None:
    with Machine(tmp_path, **QUICK) as machine:
        learners = [Learner(machine, project) for project in (1, 2)]
        for learner in learners:
            learner.learn(12)
        machine.start("review", "push", "train")
        machine.second("train")
        together = 0

        def over() -> bool:
            nonlocal together
            together += all(learner.stage.get("running") for learner in learners)
            return all(learner.ended(1) for learner in learners)

        eventually(over, 300, "both stages to end")
        assert together == 0
        assert [len(learner.ends()) for learner in learners] == [1, 1]
        assert "Another stage trains on this machine" in machine.log("train")


def test_a_stage_that_takes_too_long_is_called_off_and_not_begun_again(tmp_path: Path) -> None:
    """Without a GPU, on the CPU as TRAIN_FALLBACK says; told in the job's meta on the way."""
    settings = {"STAGE_SIZE": "100", "STAGE_EPOCHS": "50", "OMP_NUM_THREADS": "2"}
    with Machine(tmp_path, **settings) as machine:
        learner = Learner(machine)
        learner.learn(100)
        machine.start("review", "push")
        machine.second("train", STAGE_TIMEOUT="60", TRAIN_FALLBACK="cpu", **NO_GPU)
        queues = machine.wiring.queues
        running = queues.queue("train").started_job_registry

        def meta() -> dict[str, Any]:
            jobs = [queues.job(job_id) for job_id in running.get_job_ids()]
            return next(
                (job["meta"] for job in jobs if job and job["meta"].get("seconds_left")), {}
            )

        told = eventually(meta, 120, "the job to tell how far it is")
        assert 0 < told["percent"] < 100 and told["loss"] >= 0 and told["seconds_left"] > 0
        assert told["member"].startswith("sentiment/")
        eventually(lambda: "STAGE_TIMEOUT (60 s)" in journal(machine), 180, "the stage to end")
        assert "this stage trains on the CPU, as TRAIN_FALLBACK says" in journal(machine)
        time.sleep(3)  # it would start again now
        assert not learner.stage["running"] and not learner.stage["progress"]
        assert learner.ends() == [] and learner.waiting() == 100
        assert machine.command("train", "--project", "1").returncode == 0
        eventually(lambda: learner.stage["running"], 60, "a new stage, once somebody asks for it")


def test_a_stage_whose_memory_is_too_little_ends_and_says_what_to_do(tmp_path: Path) -> None:
    with Machine(tmp_path, **QUICK) as machine:
        learner = Learner(machine)
        learner.learn(12)
        machine.start("review")
        machine.second("train", TRAIN_MEMORY_MB="500")  # not enough to open a member
        eventually(lambda: "Raise TRAIN_MEMORY_MB" in journal(machine), 400, "the stage to end")
        assert "trains on with 1 texts at once" in machine.log("train")
        assert not learner.stage["running"] and learner.ends() == []
        assert learner.waiting() == 12


def test_a_gpu_that_is_not_there_is_an_error_with_its_next_step(tmp_path: Path) -> None:
    with Machine(tmp_path, **QUICK) as machine:
        learner = Learner(machine)
        learner.learn(12)
        machine.start("review")
        machine.second("train", **NO_GPU)
        eventually(
            lambda: "DEVICE is cuda, but torch sees no GPU here" in journal(machine),
            120,
            "an error",
        )
        assert "TRAIN_FALLBACK=cpu" in journal(machine)
        assert learner.waiting() == 12


def test_a_busy_project_does_not_starve_the_others(tmp_path: Path) -> None:
    """Stages of verdicts that fit no label: they end as soon as the committee is loaded."""
    with Machine(tmp_path, **{**QUICK, "STAGE_SIZE": "2"}) as machine:
        busy, *others = (Learner(machine, project) for project in (1, 2, 3))
        redis = machine.wiring.redis
        machine.start("review", "train")

        def stages() -> list[int]:
            return [
                int(n)
                for n in re.findall(r"project (\d+): train: No verdict", machine.log("train"))
            ]

        def more(check: Any) -> Any:
            """Whatever is waited for, the busy project is due again meanwhile."""
            busy.learn(2, "unheard of")
            busy.desk.set_stage(now=1)
            return check()

        eventually(lambda: more(lambda: len(stages()) == 1), 180, "a first stage")
        eventually(lambda: more(lambda: Lease.is_held(redis, "train:1")), 180, "the next one")
        for other in others:
            other.learn(2, "unheard of")
            other.desk.set_stage(now=1)
        eventually(lambda: more(lambda: {2, 3} < set(stages())), 300, "all to have their stage")
        first = max(stages().index(2), stages().index(3))
        assert stages()[:first].count(1) <= 3, "one that ran when they came, and one that waited"
        eventually(lambda: more(lambda: 1 in stages()[first:]), 180, "the busy one's turn")
