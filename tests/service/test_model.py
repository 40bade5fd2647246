"""The backend class by itself, as the official 2.x server uses it, and its damaged checkpoints."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from machine import CONFIG
from redis import Redis

from backend.committees import NoCommittee
from backend.model import AutoAnnotator
from backend.predictions import HEAD
from backend.settings import Settings
from backend.wiring import Wiring
from training.card import Card
from training.model_store import CommitteeManifest

HOOKS = json.loads((Path(__file__).parents[1] / "unit/data/webhook_payloads.json").read_text())
TASKS = [{"id": 1, "data": {"text": "I love this, wonderful!"}}]


@pytest.fixture
def wiring(redis: Redis, redis_socket: str, tmp_path: Path) -> Iterator[Wiring]:
    environ = {"REDIS_URL": f"unix://{redis_socket}", "DATA_DIR": str(tmp_path)}
    wiring = Wiring(Settings.from_env({**environ, "LLM_PROVIDER": "none"}))
    AutoAnnotator.use(wiring)
    yield wiring
    AutoAnnotator._shared = None
    wiring.redis.close()
    wiring.raw_redis.close()


def test_the_contract_of_the_official_server(wiring: Wiring) -> None:
    """label_studio_ml.api of 2.x: one object a request, get("model_version") in /setup,
    predict(tasks, context=..., **params), fit(event, data without its action)."""
    model = AutoAnnotator(project_id="9", label_config=CONFIG)
    tag = model.get("model_version")
    assert tag == model.model_version
    params: dict[str, Any] = {"login": None, "password": None}
    (one,) = AutoAnnotator(project_id="9", label_config=CONFIG).predict(
        TASKS, context=None, **params
    )
    assert one["model_version"] == tag
    model.set("extra_params", "{}")
    assert model.has("extra_params") and not model.has("nothing")
    model.set("model_version", "mine")
    assert model.get("model_version") == tag, "only promotions change it"
    data = {k: v for k, v in HOOKS["ANNOTATION_CREATED"].items() if k != "action"}
    model = AutoAnnotator("9", data["project"]["label_config"])
    assert model.fit("ANNOTATION_CREATED", data) == {"recorded": 1, "retracted": 0}
    assert wiring.pool(9).waiting() == 1


def promoted_copy(wiring: Wiring, tag: str) -> tuple[str, Path]:
    """A next tag whose first member has a checkpoint of its own, served; and its weights file."""
    served = wiring.committees.manifest(tag)
    source = Path(__file__).parents[2] / "specialists/adapters/sentiment-reviews"

    def fill(out: Path) -> None:
        for file in source.glob("*.*"):
            (out / file.name).write_bytes(file.read_bytes())

    checkpoint = wiring.store.write(fill)
    data = json.loads(json.dumps(served.to_json()))
    data["stage"], data["parent"] = 1, tag
    data["controls"]["sentiment"]["members"][0]["checkpoint"] = checkpoint
    new = wiring.store.save_committee(CommitteeManifest.from_json(data))
    wiring.promotions(1).promote(new, Card(new, tag, 1, "promoted", "for the test"), wiring.redis)
    return new, wiring.settings.models / "checkpoints" / checkpoint / "adapter_model.safetensors"


def test_a_damaged_checkpoint_is_refused_and_the_last_good_tag_served(wiring: Wiring) -> None:
    model = AutoAnnotator("1", CONFIG)
    first = model.model_version
    second, weights = promoted_copy(wiring, first)
    assert model.model_version == second
    raw = bytearray(weights.read_bytes())
    raw[len(raw) // 2] ^= 1
    weights.chmod(0o600)
    weights.write_bytes(raw)
    (one,) = model.predict(TASKS)
    assert one["model_version"] == first
    assert one["result"], "the good committee answers"
    assert wiring.promotions(1).served() == first
    messages = [error["message"] for error in wiring.journal.errors()]
    assert any("is not as it was written" in message for message in messages), messages


def test_when_no_tag_can_be_loaded_the_error_says_what_to_do(wiring: Wiring) -> None:
    model = AutoAnnotator("1", CONFIG)
    tag = model.model_version
    (wiring.settings.models / "committees" / f"{tag}.json").write_text("{half")
    with pytest.raises(NoCommittee, match="MODEL_DIR"):
        wiring.committees.usable(1)


def test_a_changed_label_config_gets_a_committee_for_its_labels(wiring: Wiring) -> None:
    before = AutoAnnotator("1", CONFIG).model_version
    other = CONFIG.replace('<Choice value="neutral"/>', "")
    after = AutoAnnotator("1", other).model_version
    assert after != before
    (control,) = wiring.committees.manifest(after).controls.values()
    assert control.labels.names == ("positive", "negative")
    assert AutoAnnotator("1", other).model_version == after


def test_labels_that_nobody_knows_make_the_control_abstain(wiring: Wiring) -> None:
    config = CONFIG.replace("positive", "invoice").replace("neutral", "letter")
    config = config.replace("negative", "report")
    (one,) = AutoAnnotator("2", config).predict(TASKS)
    assert one["result"] == [] and one["score"] == HEAD
