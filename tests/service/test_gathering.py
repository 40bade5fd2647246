"""Which candidates a control gets: at hand and from the Hub, with and without an LLM's help."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
from machine import CONFIG
from provider import Provider, Scene
from redis import Redis
from world import settings

from backend import candidates
from backend.candidates import Adviser
from backend.label_config import parse
from backend.wiring import Wiring
from benchmarks.local_hub import LocalHub, Repository
from benchmarks.tiny_classifier import publish, train
from meta_controller.candidates import Candidate
from meta_controller.hub import Hub
from meta_controller.ledger import Ledger
from meta_controller.ranking import Brief
from specialists.types import SpecialistRef

(CONTROL,) = parse(CONFIG)
BRIEF = Brief(CONTROL.labels, "Reviews.")


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalHub]:
    """Models whose labels the rules know, do not know, and that have no names."""
    folder = tmp_path_factory.mktemp("hub")
    own = ("negative", "neutral", "positive")
    made = train(["good", "bad", "so"] * 4, [2, 0, 1] * 4, own, epochs=1, width=8)
    publish(folder / "named", *made)

    def named(name: str, *labels: str) -> Path:
        copy = Path(shutil.copytree(folder / "named", folder / name))
        config = json.loads((copy / "config.json").read_text())
        config["id2label"] = dict(enumerate(labels))
        (copy / "config.json").write_text(json.dumps(config))
        return copy

    repositories = [
        Repository("org/sentiment-named", folder / "named", 50),
        Repository("org/sentiment-moods", named("moods", "gloom", "meh", "joy"), 900),
        Repository("org/sentiment-plain", named("plain", "LABEL_0", "LABEL_1", "LABEL_2"), 800),
        Repository("org/sentiment-spam", named("spam", "spam", "ham", "eggs"), 700),
    ]
    with LocalHub(repositories) as running:
        yield running


@pytest.fixture
def hub(local: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return Hub(local.url)


class Desk:
    """Somebody who gathers candidates; keeps what was said."""

    def __init__(self, wiring: Wiring, hub: Hub) -> None:
        self.wiring, self.hub = wiring, hub
        self.said: list[str] = []

    def gather(self, verdicts: bool = False) -> list[Candidate]:
        with self.wiring.lease("the command") as lease:
            self.adviser = Adviser(self.wiring, 7, lease, self.said.append)
            return candidates.from_hub(self.hub, BRIEF, CONTROL, self.adviser, 1e9, verdicts)

    def ids(self, verdicts: bool = False) -> list[str]:
        return [one.id.removeprefix("org/sentiment-") for one in self.gather(verdicts)]


@pytest.fixture
def desk(
    redis: Redis, redis_socket: str, tmp_path: Path, provider: Provider, hub: Hub
) -> Iterator[Desk]:
    made = Wiring(settings(redis_socket, tmp_path, provider))
    yield Desk(made, hub)
    made.redis.close()
    made.raw_redis.close()


def silent(desk: Desk) -> None:
    """No LLM."""
    desk.wiring.__dict__["language_model"] = None


def test_without_an_llm_the_rules_decide_and_nameless_models_need_verdicts(desk: Desk) -> None:
    silent(desk)
    assert desk.ids() == ["named"]
    assert desk.ids(verdicts=True) == ["named", "plain"]
    assert "4 text classifiers for sentiment; 1 may know the labels" in desk.said[0]


def answering(body: dict[str, Any]) -> Scene:
    """Explains two models' labels, one of them with labels that do not exist; ranks."""
    asked = json.dumps(body["response_format"])
    if '"terms"' in asked:
        return Scene(answer='{"terms": ["mood"]}')
    if '"maps"' in asked:
        meant = {"gloom": "negative", "meh": "neutral", "joy": "positive", "fun": "positive"}
        pairs = [{"own": own, "project": label} for own, label in meant.items()]
        spam = [{"own": "spam", "project": "bad"}, {"own": "ham", "project": "fine"}]
        maps = [
            {"id": "org/sentiment-moods", "pairs": pairs},
            {"id": "org/sentiment-spam", "pairs": spam},
        ]
        return Scene(answer=json.dumps({"maps": maps}))
    rows = [{"id": "org/sentiment-named", "reason": "says so"}]
    return Scene(answer=json.dumps({"ranking": rows}))


def test_the_llm_explains_labels_and_ranks_and_all_of_it_is_paid(
    desk: Desk, provider: Provider
) -> None:
    provider.decide = answering
    found = desk.gather(verdicts=True)
    assert [one.id.split("-")[1] for one in found] == ["named", "moods", "plain"]
    moods = found[1]
    assert moods.mapped_by == "LLM"
    assert moods.label_map == {"gloom": "negative", "meh": "neutral", "joy": "positive"}
    assert desk.adviser.reasons == {"org/sentiment-named": "says so"}
    entries = Ledger(desk.wiring.redis, 7).entries()
    assert [one["work"] for one in entries] == ["selection"] * 3
    assert "mood, sentiment" in desk.said[-1]


def test_an_llm_that_talks_nonsense_is_said_and_done_without(
    desk: Desk, provider: Provider
) -> None:
    provider.decide = lambda body: Scene(answer="I would rather not.")
    assert desk.ids() == ["named"]
    assert any("not listened to (no JSON object)" in line for line in desk.said)


def test_a_budget_that_is_used_up_asks_nobody(desk: Desk, provider: Provider) -> None:
    wiring = desk.wiring
    wiring.settings = replace(wiring.settings, llm_budget_usd=0.0, llm_price=(1.0, 1.0))
    assert desk.ids() == ["named"]
    assert provider.calls == 0 and any("LLM_BUDGET_USD" in line for line in desk.said)


def test_at_hand_are_the_embedded_ones_that_fit_and_the_served_members_with_what_they_learned(
    desk: Desk,
) -> None:
    mine = {"negative": "negative", "positive": "positive"}
    served = SpecialistRef("tweets", "embedded:sentiment-tweets", mine, "0123456789abcdef")
    gone = SpecialistRef("gone", "/nowhere/at/all", {})
    found = candidates.at_hand(desk.wiring, CONTROL, [served, gone], trained=True)
    assert {one.source: (one.origin, one.checkpoint) for one in found} == {
        "embedded:sentiment-tweets": ("served", "0123456789abcdef"),
        "embedded:sentiment-reviews": ("embedded", None),
        "embedded:sentiment-finance": ("embedded", None),
    }
    assert found[0].label_map == mine
    published = candidates.at_hand(desk.wiring, CONTROL, [served], trained=False)
    assert {one.checkpoint for one in published} == {None}
