"""Write-back and reconcile against a real Label Studio: what is patched, kept and left alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from label_studio_server import Server, label_studio_server
from machine import CONFIG
from provider import Provider, says
from redis import Redis
from world import settings

from backend.audit import is_llm_audit
from backend.evidence_store import Row, text_hash
from backend.jobs import reconcile, review
from backend.jobs.push import show_tag
from backend.jobs.queue_order import arrange
from backend.jobs.write_back import write_back
from backend.label_config import parse
from backend.label_studio import UNCERTAINTY
from backend.predictions import HEAD, Part, prediction
from backend.projects import HardSample, Project
from backend.wiring import Wiring
from specialists.evidence import Evidence
from specialists.rule_state import RuleState
from specialists.types import Decision, Verdict
from training.card import Card
from training.model_store import CommitteeManifest

(CONTROL,) = parse(CONFIG)
MANY = 60


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with label_studio_server(tmp_path_factory.mktemp("label-studio")) as running:
        yield running


class Site:
    """A project in Label Studio whose tasks all show "negative", and evidence for "positive"."""

    def __init__(self, wiring: Wiring) -> None:
        self.wiring, self.api = wiring, wiring.label_studio
        self.id = int(self.api.create_project("A project", CONFIG)["id"])
        datas = [{"text": f"Text number {number}."} for number in range(MANY)]
        self.tasks = self.api.import_tasks(self.id, datas)
        self.texts = {t: d["text"] for t, d in zip(self.tasks, datas, strict=True)}
        wiring.projects.put(Project(self.id, CONFIG, push=True, tasks=MANY))
        self.tag = wiring.committees.ensure(self.id, (CONTROL,))
        self.desk, self.pool = wiring.projects.desk(self.id), wiring.pool(self.id)
        self.predict(self.tasks)
        self.api.update_project(self.id, model_version=self.tag)
        votes = np.full((1, 3, 3), 0.05, np.float32)
        votes[0, :, 0] = 0.9
        seen = Evidence(votes).pack()[0]
        rows = [Row(t, text_hash(text), ("a", "b", "c"), seen) for t, text in self.texts.items()]
        wiring.evidence.put(self.id, CONTROL.name, self.tag, rows)

    def predict(self, tasks: list[int], label: str = "negative") -> None:
        part = Part(CONTROL, Decision((label,), 0.5, True, "as it was"))
        rows = [{"task": task, **prediction(self.tag, [part])} for task in tasks]
        self.api.import_predictions(self.id, rows)

    def queue(self, tag: str, seed: int) -> None:
        """Put the tasks into an order of the tag's own."""
        votes = np.random.default_rng(seed).dirichlet(np.ones(3), (MANY, 3)).astype(np.float32)
        rows = [
            Row(task, text_hash(text), ("a", "b", "c"), piece)
            for (task, text), piece in zip(self.texts.items(), Evidence(votes).pack(), strict=True)
        ]
        self.wiring.evidence.put(self.id, CONTROL.name, tag, rows)
        project = self.wiring.projects.get(self.id)
        assert project
        with self.wiring.lease(f"review:{self.id}") as lease:
            arrange(self.wiring, project, tag, [], 8, lease)

    @property
    def open(self) -> set[int]:
        return {int(task["id"]) for task in self.api.tasks(self.id) if not task["annotations"]}

    def annotate(self, task: int) -> int:
        region = {
            "from_name": CONTROL.name,
            "to_name": CONTROL.to_name,
            "type": "choices",
            "origin": "manual",
            "value": {"choices": ["neutral"]},
        }
        return int(self.api.create_annotation(task, [region], lead_time=2.0)["id"])

    def verdict(self, task: int, label: str) -> Verdict:
        text = self.texts[task]
        return Verdict(task, CONTROL.name, text, (label,), "llm", "a-model", 1.0, answer=(label,))

    def write_back(self) -> int:
        project = self.wiring.projects.get(self.id)
        assert project
        with self.wiring.lease(f"review:{self.id}") as lease:
            return write_back(self.wiring, project, lease)

    def shown(self) -> dict[int, dict[str, Any]]:
        return {int(row["task"]): row for row in self.api.predictions(self.id)}

    def labels(self) -> dict[int, str]:
        return {task: row["result"][0]["value"]["choices"][0] for task, row in self.shown().items()}


@pytest.fixture
def site(
    redis: Redis, redis_socket: str, tmp_path: Path, provider: Provider, server: Server
) -> Iterator[Site]:
    more = {"LABEL_STUDIO_URL": server.url, "LABEL_STUDIO_API_KEY": server.token, "LLM_SHARE": "1"}
    wiring = Wiring(settings(redis_socket, tmp_path, provider, **more))
    yield Site(wiring)
    wiring.label_studio.close()
    wiring.evidence.close()
    wiring.redis.close()
    wiring.raw_redis.close()


@pytest.mark.parametrize("count", [5, MANY], ids=["few", "many"])
def test_predictions_show_what_is_decided_now_and_annotated_tasks_stay(
    site: Site, count: int
) -> None:
    annotated, *others = site.tasks[:count]
    site.annotate(annotated)
    site.pool.add(site.verdict(others[0], "neutral"))
    site.desk.want_patches([*site.tasks[:count], 10**6])
    assert site.write_back() == count - 1
    labels = site.labels()
    assert labels[annotated] == "negative"
    assert labels[others[0]] == "neutral"
    assert {labels[task] for task in others[1:]} == {"positive"}
    assert {labels[task] for task in site.tasks[count:]} <= {"negative"}
    assert site.desk.wanted_patches() == []
    stored = site.wiring.evidence.read(site.id, CONTROL.name, site.tag, others)
    assert {row.shown.labels[0] for row in stored if row.shown} == {"positive", "neutral"}


def test_what_shows_already_is_not_written_again(site: Site) -> None:
    few = site.tasks[:3]
    site.desk.want_patches(few)
    site.write_back()
    before = {task: row["updated_at"] for task, row in site.shown().items()}
    site.desk.want_patches(few)
    site.write_back()
    assert {task: row["updated_at"] for task, row in site.shown().items()} == before


def test_evidence_of_another_text_is_not_used(site: Site) -> None:
    first = site.tasks[0]
    old = Row(first, text_hash("as it was before"), ("a", "b", "c"), b"unused")
    site.wiring.evidence.put(site.id, CONTROL.name, site.tag, [old])
    site.desk.want_patches([first])
    site.write_back()
    assert site.labels()[first] == "negative"


def test_a_question_without_its_text_is_asked_with_label_studio_s(
    site: Site, provider: Provider
) -> None:
    provider.decide = lambda body: says("neutral")
    state = replace(RuleState.first(3, 3), trust="both")
    with site.wiring.redis.pipeline() as pipe:
        site.wiring.rules.save(site.id, CONTROL.name, site.tag, state, pipe)
        pipe.execute()
    sample = HardSample(site.tasks[3], CONTROL.name, "", (), 0.4, "", site.tag, gain=0.3)
    site.desk.add_hard([sample, replace(sample, task_id=10**6)])
    with site.wiring.lease(f"review:{site.id}") as lease:
        review.work(site.wiring, site.id, lease)
    assert any("Text number 3." in str(body) for body in provider.requests)
    assert site.desk.hard() == [], "a task that is gone is not hard any more"


def test_what_the_llm_audits_is_asked_with_label_studio_s_text(
    site: Site, provider: Provider
) -> None:
    share = 0.2
    wiring = Wiring(replace(site.wiring.settings, audit_share=share))
    provider.decide = lambda body: says("neutral")
    with wiring.lease(f"review:{site.id}") as lease:
        review.work(wiring, site.id, lease)
    own = {task for task in site.tasks if is_llm_audit(site.id, task, share)}
    asked = {verdict.task_id for verdict in site.pool.verdicts()}
    assert asked and asked <= own
    assert site.pool.waiting() == 0
    wiring.label_studio.close()
    wiring.evidence.close()
    wiring.redis.close()


def reconciled(site: Site) -> None:
    site.wiring.redis.delete(reconcile.done_key(site.id))
    with site.wiring.lease(f"reconcile:{site.id}") as lease:
        reconcile.work(site.wiring, site.id, lease)


def test_of_two_predictions_the_one_with_the_verdict_stays_else_the_newest(site: Site) -> None:
    plain, reviewed = site.tasks[:2]
    site.pool.add(site.verdict(reviewed, "neutral"))
    site.desk.want_patches([reviewed])
    site.write_back()
    site.predict([plain, reviewed], label="neutral")  # newer; neither shows a verdict
    reconciled(site)
    rows = [row for row in site.api.predictions(site.id) if row["task"] in (plain, reviewed)]
    assert len(rows) == 2
    meta = {row["task"]: row["result"][0]["meta"]["source"] for row in rows}
    assert meta == {plain: "committee", reviewed: "llm"}
    assert site.labels()[plain] == "neutral"


def test_a_first_import_whose_worker_died_before_the_switch_is_switched(site: Site) -> None:
    site.wiring.projects.update(site.id, empty=True, shown="")
    reconciled(site)
    project = site.wiring.projects.get(site.id)
    assert project and (project.empty, project.shown) == (False, site.tag)
    assert site.api.project(site.id)["model_version"] == site.tag


def test_deleted_tasks_and_lost_tags_are_forgotten(site: Site) -> None:
    store, name = site.wiring.evidence, CONTROL.name
    gone = Row(10**6, text_hash("gone"), ("a", "b", "c"), b"unused")
    store.put(site.id, name, site.tag, [gone])
    store.put(site.id, name, "tag-of-old", [replace(gone, task_id=site.tasks[0])])
    reconciled(site)
    assert store.task_ids(site.id) == set(site.tasks)
    assert store.read(site.id, name, "tag-of-old") == []


def test_an_annotated_task_s_verdict_is_not_asked_for_again(site: Site) -> None:
    first, second = site.tasks[:2]
    site.annotate(first)
    for task in (first, second):
        site.pool.add(site.verdict(task, "neutral"))
    reconciled(site)
    assert site.desk.wanted_patches() == [second]


def mended(site: Site) -> dict[str, int]:
    """What was mended so far, without what was not."""
    counts = site.wiring.mended(site.id).read()["counts"]
    return {kind: count for kind, count in counts.items() if count}


def test_what_reconcile_mends_is_counted_and_its_first_comparison_is_not(site: Site) -> None:
    answered, reviewed, doubled, bare = site.tasks[:4]
    annotation = site.annotate(answered)  # no hook tells of it
    assert site.wiring.mended(site.id).read()["at"] is None
    reconciled(site)
    assert mended(site) == {} and site.pool.counts()["human"] == 1
    first = site.wiring.mended(site.id).read()["at"]
    site.api._call("DELETE", f"api/annotations/{annotation}/")
    site.pool.add(site.verdict(reviewed, "neutral"))
    site.predict([doubled])
    rows = site.api.predictions(site.id)
    site.api.delete_predictions([int(row["id"]) for row in rows if row["task"] == bare])
    reconciled(site)
    expected = {"answers_withdrawn": 1, "unshown": 1, "duplicates": 1, "unpredicted": 1}
    assert mended(site) == expected
    assert site.wiring.mended(site.id).read()["at"] > first
    reconciled(site)
    assert mended(site) == expected, "what is on a list is not counted again"


def test_a_model_version_and_the_rows_of_lost_tags_are_counted(site: Site) -> None:
    reconciled(site)
    new = next_tag(site)
    reconciled(site)
    assert shown_by_label_studio(site) == new
    by_hand = [{"task": site.tasks[0], "model_version": "by-hand", "score": 0.5, "result": []}]
    site.api.import_predictions(site.id, by_hand)
    site.api.update_project(site.id, model_version="by-hand")
    site.wiring.settings = replace(site.wiring.settings, keep_tags=1)
    reconciled(site)
    assert mended(site) == {"version": 2, "tags": 1}
    assert shown_by_label_studio(site) == new


def test_a_lost_answer_is_counted_once_its_hook_cannot_come_any_more(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    reconciled(site)
    site.annotate(site.tasks[0])
    reconciled(site)
    assert site.pool.counts()["human"] == 1 and mended(site) == {}
    site.annotate(site.tasks[1])
    monkeypatch.setattr(reconcile, "_HOOK_S", -60.0)  # as if it had been a minute ago
    reconciled(site)
    assert site.pool.counts()["human"] == 2 and mended(site) == {"answers_read": 1}


def next_tag(site: Site) -> str:
    """Serve a next committee, predicted in Label Studio as a promotion does it, but not shown."""
    data = site.wiring.committees.manifest(site.tag).to_json() | {"stage": 1, "parent": site.tag}
    manifest = CommitteeManifest.from_json(json.loads(json.dumps(data)))
    tag = site.wiring.store.save_committee(manifest)
    part = Part(CONTROL, Decision(("neutral",), 0.5, False, "as it is now"))
    site.api.import_predictions(
        site.id, [{"task": task, **prediction(tag, [part])} for task in site.tasks]
    )
    card = Card(tag, site.tag, 1, "promoted", "for the test", at=1.0)
    site.wiring.promotions(site.id).promote(tag, card, site.wiring.redis)
    return tag


def shown_by_label_studio(site: Site) -> str:
    return str(site.api.project(site.id)["model_version"])


def test_a_kept_tag_that_is_chosen_in_label_studio_is_served_again(site: Site) -> None:
    old, new = site.tag, next_tag(site)
    reconciled(site)
    assert shown_by_label_studio(site) == new, "it lagged behind, nobody chose"
    assert site.wiring.promotions(site.id).served() == new
    site.pool.add(site.verdict(site.tasks[0], "neutral"))
    site.api.update_project(site.id, model_version=old)  # in the project's settings
    reconciled(site)
    assert site.wiring.promotions(site.id).served() == old == shown_by_label_studio(site)
    assert site.wiring.promotions(site.id).history()[0].decision == "rollback"
    assert site.desk.wanted_patches() == [site.tasks[0]], "verdicts show under the old tag, too"
    assert any("was chosen in Label Studio" in e["message"] for e in site.wiring.journal.errors())
    reconciled(site)
    assert shown_by_label_studio(site) == old


def test_no_other_version_that_is_chosen_in_label_studio_stays(site: Site) -> None:
    new = next_tag(site)
    reconciled(site)
    other = [{"task": site.tasks[0], "model_version": "by-hand", "score": 0.5, "result": []}]
    site.api.import_predictions(site.id, other)
    site.api.update_project(site.id, model_version="by-hand")
    reconciled(site)
    assert site.wiring.promotions(site.id).served() == new == shown_by_label_studio(site)


def served_next(site: Site, tag: str) -> tuple[float, float]:
    """The score of the task that Label Studio serves next, and the lowest of a tag's open ones."""
    scores = {
        int(row["task"]): row["score"]
        for row in site.api.predictions(site.id)
        if row["model_version"] == tag
    }
    lowest = min(scores[task] for task in site.open)
    task = site.api.next_task(site.id)
    assert task
    site.annotate(int(task["id"]))
    return scores[task["id"]], lowest


def shown_and_served(site: Site, tag: str) -> list[tuple[float, float]]:
    """The same of two tasks, once Label Studio shows the tag and its scores."""
    show_tag(site.wiring, site.wiring.projects.update(site.id), tag)
    site.write_back()
    assert shown_by_label_studio(site) == tag
    return [served_next(site, tag) for _ in range(2)]


def test_the_queue_follows_the_scores_before_and_after_a_promotion_and_a_rollback(
    site: Site,
) -> None:
    old = site.tag
    site.api.update_project(site.id, sampling=UNCERTAINTY)
    site.queue(old, seed=0)
    seen = shown_and_served(site, old)
    new = next_tag(site)
    site.queue(new, seed=1)
    seen += shown_and_served(site, new)
    site.wiring.promotions(site.id).rollback(old, site.wiring.redis, 5)
    seen += shown_and_served(site, old)
    assert all(score == lowest < HEAD for score, lowest in seen), seen
    assert site.api.project(site.id)["sampling"] == UNCERTAINTY
