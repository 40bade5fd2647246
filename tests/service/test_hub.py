"""Candidates from the Hub: the real client against a local server with real models."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch
from label_studio_server import free_port

from benchmarks.local_hub import LocalHub, Repository
from benchmarks.tiny_classifier import publish, train
from meta_controller.candidates import Candidate, refused
from meta_controller.hub import CARD_CHARS, Hub, HubUnreachable

ROOM = 1e9
CARD = "---\nlicense: mit\n---\n# A model\n\nIt reads   reviews.\n" + "More words. " * 200


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = train(["good soup", "bad soup"] * 8, [1, 0] * 8, ("NEG", "POS"), epochs=1, width=8)
    return publish(tmp_path_factory.mktemp("model"), *made, card=CARD)


@pytest.fixture
def repositories(model: Path, tmp_path: Path) -> list[Repository]:
    """A plain model, and one for each thing that can be wrong."""

    def copy(name: str, **config: object) -> Path:
        folder = Path(shutil.copytree(model, tmp_path / name))
        told = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**told, **config}))
        return folder

    pickled = copy("pickled")
    (pickled / "model.safetensors").unlink()
    torch.save({}, pickled / "pytorch_model.bin")
    garbled = copy("garbled")
    (garbled / "README.md").unlink()
    (garbled / "config.json").write_text('{"id2label": 7}')
    return [
        Repository("org/mood-plain", copy("plain"), 500),
        Repository("org/mood-loved", copy("loved"), 90_000, licence="cc-by-nc-4.0"),
        Repository("org/mood-pickled", pickled, 400),
        Repository("org/mood-code", copy("code", auto_map={"AutoModel": "x.Y"}), 300),
        Repository("org/mood-gated", copy("gated"), 200, gated=True),
        Repository("org/mood-garbled", garbled, 100),
        Repository("org/other", copy("other"), 10**6),
    ]


@pytest.fixture
def local(
    repositories: list[Repository], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[LocalHub]:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    with LocalHub(repositories) as running:
        yield running


def found(local: LocalHub) -> dict[str, Candidate]:
    return {one.id: one for one in Hub(local.url).search(["mood"])}


def test_a_search_brings_what_the_hub_tells_the_most_downloaded_first(
    local: LocalHub, repositories: list[Repository]
) -> None:
    seen = Hub(local.url).search(["mood", "plain"])
    assert [one.downloads for one in seen] == [90_000, 500, 400, 300, 200, 100]
    plain = found(local)["org/mood-plain"]
    assert plain.source == f"org/mood-plain@{repositories[0].sha}"
    assert (plain.licence, plain.languages, plain.labels) == ("mit", ("en",), ())
    assert plain.parameters and plain.parameters > 100
    assert "expand=safetensors" in local.requests[0] and "sort=downloads" in local.requests[0]


def test_the_filters_see_what_is_wrong_before_anything_is_fetched(local: LocalHub) -> None:
    why = {name.split("-")[1]: refused(one, ROOM) for name, one in found(local).items()}
    assert why == {
        "plain": "",
        "loved": "its licence is cc-by-nc-4.0",
        "pickled": "it has no safetensors weights",
        "code": "it wants to run code of its own",
        "gated": "it is gated: its authors want to know who uses it",
        "garbled": "",
    }
    assert all("/api/models" in one for one in local.requests)


def test_labels_come_from_the_config_and_a_garbled_one_has_none(local: LocalHub) -> None:
    candidates = [found(local)[f"org/mood-{name}"] for name in ("plain", "garbled")]
    plain, garbled = Hub(local.url).with_labels(candidates)
    assert plain.labels == ("NEG", "POS") and garbled.labels == ()
    assert not any("safetensors" in one for one in local.requests if "resolve" in one)


def test_a_card_is_its_words_without_front_matter_cut_short(local: LocalHub) -> None:
    candidates = [found(local)[f"org/mood-{name}"] for name in ("plain", "garbled")]
    plain, garbled = Hub(local.url).with_cards(candidates)
    assert plain.card.startswith("# A model It reads reviews.") and len(plain.card) == CARD_CHARS
    assert garbled.card == ""


def test_a_hub_that_answers_a_web_page_is_unreachable(local: LocalHub) -> None:
    local.broken = True
    with pytest.raises(HubUnreachable, match="--offline"):
        Hub(local.url).search(["mood"])


def test_a_hub_that_is_not_there_is_told_at_once(local: LocalHub) -> None:
    Hub(local.url).check()
    with pytest.raises(HubUnreachable, match="ConnectError"):
        Hub(f"http://127.0.0.1:{free_port()}").check()
