"""Backup and restore, rehearsed: a machine works, is backed up, dies, and another takes over."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from learners import ANSWERS, Learner
from machine import CONFIG, Machine, eventually
from redis import Redis
from s3_server import make_bucket, s3_server, use

from backend import redis_copy
from specialists.types import Verdict

QUICK = {"STAGE_SIZE": "12", "STAGE_EPOCHS": "1", "OMP_NUM_THREADS": "1"}
TASK = {"id": 9001, "data": {"text": "Wonderful, thank you so much! (a new one)"}}


def predicted(machine: Machine) -> dict[str, Any]:
    """What the web process says of a task."""
    body = {"tasks": [TASK], "project": "1.5", "label_config": CONFIG}
    answer = machine.post("/predict", body)
    assert answer.status_code == 200, answer.text
    (found,) = answer.json()["results"]
    return {key: found[key] for key in ("result", "score", "model_version")}


def counts(learner: Learner) -> dict[str, Any]:
    return {
        "verdicts": sorted(str(verdict) for verdict in learner.pool.verdicts()),
        "waiting": learner.waiting(),
        "served": learner.promotions.served(),
        "history": learner.promotions.history(),
    }


def rehearse(tmp_path: Path, to: str, **settings: str) -> None:
    (tmp_path / "old").mkdir()
    with Machine(tmp_path / "old", **QUICK, **settings) as machine:
        learner = Learner(machine)
        learner.learn(12)
        machine.start("review", "push", "train")
        eventually(lambda: learner.ended(1), 400, "a first stage")
        assert learner.promotions.served() != learner.first
        machine.kill("train")
        learner.learn(5)
        machine.start("web")
        before, said = counts(learner), predicted(machine)
        backed_up = machine.command("backup", "--to", to)  # while web, review and push run
        assert backed_up.returncode == 0, backed_up.stderr
        assert "1 projects and 17 verdicts" in backed_up.stdout
        source = backed_up.stdout.split()[-1]
        shutil.rmtree(machine.folder / "models", ignore_errors=True)
    (tmp_path / "new").mkdir()
    with Machine(tmp_path / "new", **QUICK, **settings) as machine:
        restored = machine.command("restore", "--from", source)
        assert restored.returncode == 0, restored.stderr
        assert "17 verdicts" in restored.stdout
        learner = Learner(machine)
        learner.verdicts = 17
        assert counts(learner) == before
        assert learner.problems() == []
        machine.start("web")
        eventually(lambda: predicted(machine) == said, 60, "the same prediction as before")
        again = machine.command("restore", "--from", source)
        assert again.returncode == 1 and "--replace" in again.stderr
        machine.start("review", "push", "train")
        eventually(lambda: any(machine.wiring.queues.workers().values()), 60, "a worker")
        busy = machine.command("restore", "--from", source, "--replace")
        assert busy.returncode == 1 and "stop the backend first" in busy.stderr
        learner.learn(7)
        eventually(lambda: learner.ended(2), 400, "the next stage goes on from what was restored")


def test_a_machine_that_died_is_restored_on_another(tmp_path: Path) -> None:
    rehearse(tmp_path, str(tmp_path / "backups"))


def test_models_and_backups_in_buckets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with s3_server(tmp_path) as port:
        use(monkeypatch, port)
        rehearse(tmp_path, make_bucket("backups"), MODEL_DIR=make_bucket("models"))


def verdict(number: int) -> Verdict:
    text, label = ANSWERS[number % 3]
    return Verdict(number, "sentiment", text, (label,), "human", "1", float(number), number)


def test_a_copy_keeps_every_type_of_key_and_only_ours(redis: Redis) -> None:
    redis.set("aa:text", "ü\n")
    redis.hset("aa:hash", mapping={str(n): f"värde {n}" for n in range(2500)})
    redis.sadd("aa:projects", 3, 1)
    redis.rpush("aa:list", *range(2500))
    redis.zadd("aa:zset", {"a": 0.1 + 0.2, "b": 1e300, "c": -1.5})
    for number in range(1, 4):
        redis.xadd("aa:stream", {"path": f"väg {number}", "rows": number}, id=f"{number}-0")
    redis.set("aa:project:1:tag", "stage-1-00000000")
    redis.set("aa:lease:train:1", "token", px=60_000)
    redis.set("aa:project:1:people", 1, ex=60)
    redis.set("rq:queue", "not ours")
    kept = [key for key in redis.keys("aa:*") if redis.ttl(key) == -1]
    rows = list(redis_copy.lines(redis))
    assert [json.loads(row)["key"] for row in rows][-1] == "aa:projects"
    redis_copy.clear(redis)
    assert redis.keys() == ["rq:queue"] and redis_copy.is_empty(redis)
    assert redis_copy.load(redis, rows) == len(kept) == 7
    assert list(redis_copy.lines(redis)) == rows
    assert {key: redis.type(key) for key in kept} == {
        "aa:text": "string",
        "aa:project:1:tag": "string",
        "aa:hash": "hash",
        "aa:projects": "set",
        "aa:list": "list",
        "aa:zset": "zset",
        "aa:stream": "stream",
    }


def test_a_damaged_or_unfinished_backup_changes_nothing(tmp_path: Path) -> None:
    with Machine(tmp_path, **QUICK) as machine:
        learner = Learner(machine)
        learner.learn(3)
        made = machine.command("backup", "--to", str(tmp_path / "backups"), "--evidence")
        assert made.returncode == 0, made.stderr
        source = Path(made.stdout.split()[-1])
        before = list(redis_copy.lines(machine.wiring.redis))
        for name in ("redis.jsonl.gz", f"committees/{learner.first}.json", "backup.json"):
            path = source / name
            whole = path.read_bytes()
            for damage in (whole[:-1], b""):
                path.write_bytes(damage)
                refused = machine.command("restore", "--from", str(source), "--replace")
                assert refused.returncode == 1 and str(source) in refused.stderr, refused.stderr
            path.unlink()
            refused = machine.command("restore", "--from", str(source), "--replace")
            assert refused.returncode == 1 and "missing" in refused.stderr, refused.stderr
            path.write_bytes(whole)
        assert list(redis_copy.lines(machine.wiring.redis)) == before
        learner.learn(3)
        restored = machine.command("restore", "--from", str(source), "--replace")
        assert restored.returncode == 0, restored.stderr
        assert learner.pool.size() == 3


def test_verdicts_that_come_during_a_backup_do_no_harm(redis: Redis) -> None:
    """Each project is as it was at one moment: what waits has its verdict, and the reverse."""
    from training.pool import Pool

    pool = Pool(redis, 1)
    for number in range(50):
        pool.add(verdict(number))
    rows = []
    for number, row in enumerate(redis_copy.lines(redis), 50):
        rows.append(row)
        pool.add(verdict(number))
    redis_copy.clear(redis)
    redis_copy.load(redis, rows)
    assert {v.task_id for v in pool.verdicts()} == set(range(50))
    assert {task for task, _ in pool.waiting_places(pool.sequence())} == set(range(50))
