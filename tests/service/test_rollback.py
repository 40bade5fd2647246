"""Rollback: to any kept tag that is whole; what was under way does not undo it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from machine import CONFIG, Machine

from backend.jobs import push
from backend.label_config import parse
from backend.lease import Lease
from specialists.types import Verdict
from training.card import Card
from training.model_store import GRACE_S, CommitteeManifest
from training.promotions import Promotions

PROJECT = 1
SHIPPED = Path(__file__).parents[2] / "specialists/adapters/sentiment-reviews"


class Site:
    """A project on a machine where only Redis runs; a checkpoint a stage."""

    def __init__(self, machine: Machine) -> None:
        self.machine, self.wiring = machine, machine.wiring
        self.wiring.projects.update(PROJECT, label_config=CONFIG)
        self.first = self.wiring.committees.ensure(PROJECT, parse(CONFIG))
        self.promotions = self.wiring.promotions(PROJECT)
        self.desk, self.pool = self.wiring.projects.desk(PROJECT), self.wiring.pool(PROJECT)
        self.models = self.wiring.settings.models

    def propose(self) -> str:
        """Put up the committee of a stage that went on from the served tag."""
        parent = self.promotions.served()
        assert parent
        stage = len(self.promotions.history())

        def fill(out: Path) -> None:
            for file in SHIPPED.glob("*.*"):
                (out / file.name).write_bytes(file.read_bytes())
            (out / "note.txt").write_text(f"stage {stage}")

        data = json.loads(json.dumps(self.wiring.store.committee(self.first).to_json()))
        data |= {"stage": stage, "parent": parent}
        data["controls"]["sentiment"]["members"][0]["checkpoint"] = self.wiring.store.write(fill)
        tag = self.wiring.store.save_committee(CommitteeManifest.from_json(data))
        card = Card(tag, parent, stage, "promoted", "Promoted: for the test.", at=float(stage))
        with self.wiring.redis.pipeline() as pipe:
            self.desk.propose({"tag": tag, "card": asdict(card), "up_to": 99}, pipe)
            pipe.execute()
        return tag

    def push(self, lease: type[Lease] = Lease) -> str:
        with lease(self.wiring.redis, f"push:{PROJECT}") as held:
            return push.work(self.wiring, PROJECT, held)

    def promote(self) -> str:
        tag = self.propose()
        assert "promoted" in self.push()
        assert self.promotions.served() == tag
        return tag

    def checkpoint(self, tag: str) -> Path:
        (name,) = self.wiring.store.committee(tag).checkpoints
        return self.models / "checkpoints" / name


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with Machine(tmp_path, KEEP_TAGS="3", RUNTIME="torch-fp32") as machine:
        yield Site(machine)
        machine.wiring.evidence.close()


def test_any_kept_tag_can_be_chosen_and_no_other(site: Site) -> None:
    tags = [site.first, *(site.promote() for _ in range(3))]
    done = site.machine.command("rollback", "--project", "1", "--to", tags[1])
    assert done.returncode == 0 and f"serves {tags[1]} again" in done.stdout
    assert site.promotions.served() == tags[1]
    refused = site.machine.command("rollback", "--project", "1", "--to", tags[0])
    assert refused.returncode == 1 and f"choose one of: {tags[3]}, {tags[2]}" in refused.stderr
    assert site.promotions.served() == tags[1]
    forward = site.machine.command("rollback", "--project", "1", "--to", tags[3])
    assert forward.returncode == 0 and site.promotions.served() == tags[3]


def test_a_damaged_tag_is_refused_with_the_next_step_and_nothing_changes(site: Site) -> None:
    old = site.promote()
    served = site.promote()
    file = site.checkpoint(old) / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    history = site.promotions.history()
    refused = site.machine.command("rollback", "--project", "1")
    assert refused.returncode == 1
    assert str(file) in refused.stderr and "roll back to another tag" in refused.stderr
    assert site.promotions.served() == served and site.promotions.history() == history
    other = site.machine.command("rollback", "--project", "1", "--to", site.first)
    assert other.returncode == 0 and site.promotions.served() == site.first


class OneMomentBefore(Lease):
    """Somebody rolls back right before a promotion is written."""

    def transaction(self, write: Callable[[Any], Any], *read: str) -> None:
        if read:
            roll_back(self._redis)
        super().transaction(write, *read)


class OneMomentLater(Lease):
    """Somebody rolls back when a promotion has looked at what is served."""

    def transaction(self, write: Callable[[Any], Any], *read: str) -> None:
        def late(pipe: Any) -> None:
            write(pipe)
            if read:
                roll_back(self._redis)

        super().transaction(late, *read)


def roll_back(client: Any) -> None:
    promotions = Promotions(client, PROJECT)
    if len(promotions.history()) == 2:
        promotions.rollback(None, client, keep_tags=3)


@pytest.mark.parametrize("lease", [None, OneMomentBefore, OneMomentLater])
def test_a_stage_that_went_on_from_another_tag_is_not_promoted_over_a_rollback(
    site: Site, lease: type[Lease] | None
) -> None:
    served = site.promote()
    candidate = site.propose()
    for task in range(3):
        site.pool.add(Verdict(task, "sentiment", f"text {task}", ("neutral",), "llm", "x", 1.0))
    if lease is None:
        done = site.machine.command("rollback", "--project", "1")
        assert "its verdicts wait for the next one" in done.stdout
    assert "dropped" in site.push(lease or Lease)
    assert site.promotions.served() == site.first
    assert site.desk.candidate() is None and site.pool.waiting() == 3
    card, rollback, *_ = site.promotions.history()
    assert (card.tag, card.decision) == (candidate, "refused")
    assert card.reason.startswith(f"Not promoted: {site.first} is served since")
    assert served in card.reason and rollback.decision == "rollback"
    told = (site.models / "cards" / f"{candidate}.md").read_text()
    assert "wait for the next stage" in told
    assert any(candidate in one["message"] for one in site.wiring.journal.errors())
    assert "candidate" not in site.push(), "it is not tried again"


def test_files_of_tags_that_are_not_kept_go_after_the_grace_time_and_cards_stay(
    site: Site,
) -> None:
    tags = [site.promote() for _ in range(3)]
    folders = [site.checkpoint(tag) for tag in tags]
    long_ago = time.time() - GRACE_S - 60
    for path in site.models.rglob("*"):
        os.utime(path, (long_ago, long_ago))
    tags.append(site.promote())
    assert site.promotions.kept(3) == tags[:0:-1]
    assert [folder.is_dir() for folder in folders] == [False, True, True]
    committees = {path.stem for path in (site.models / "committees").iterdir()}
    assert committees & {site.first, *tags} == set(tags[1:])
    cards = {path.stem for path in (site.models / "cards").glob("*.md")}
    assert cards >= set(tags)
    assert {card.tag for card in site.promotions.history()} == {site.first, *tags}
