"""Members learn labels that they did not know: their heads grow, what they had stays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_models import publish, publish_roberta

from specialists.loading import find_parts, open_model
from specialists.models import Models
from specialists.types import Label, LabelSet, SpecialistRef
from training.fine_tune import Example, fine_tune
from training.head_growth import LEAST_EXAMPLES, widened
from training.params import FineTuneParams

LABELS = LabelSet((Label("negative"), Label("spam"), Label("positive")))
GOOD = ["good film", "great food", "so good", "fine day", "very fine"]
SPAM = ["the the the", "this was this", "a a a", "is is the", "was the a"]
EXAMPLES = [Example(text, ("positive",)) for text in GOOD]
EXAMPLES += [Example(text, ("spam",)) for text in SPAM]
LORA = FineTuneParams("lora", epochs=40, learning_rate=1e-2, batch_size=4, seed=5)
FULL = replace(LORA, method="full", learning_rate=3e-3)


@pytest.fixture
def ref(tmp_path: Path) -> SpecialistRef:
    folder = publish(tmp_path / "published", ("neg", "pos"), spread=0.1)
    return SpecialistRef("tiny", str(folder), {"neg": "negative", "pos": "positive"})


def said(ref: SpecialistRef, folder: Path | None) -> list[int]:
    votes = Models().specialist(ref, LABELS, folder).observe(GOOD + SPAM).votes[:, 0]
    return np.nanargmax(votes, axis=1).tolist()


def test_a_label_of_enough_examples_gets_an_output(ref: SpecialistRef) -> None:
    few = [*EXAMPLES[: len(GOOD)], *EXAMPLES[-LEAST_EXAMPLES + 1 :]]
    assert widened(ref, LABELS, few) == ref
    assert widened(ref, LABELS, EXAMPLES).label_map == {**ref.label_map, "spam": "spam"}


def test_outputs_that_a_member_has_come_first_and_names_stay_apart() -> None:
    three = SpecialistRef("t", "embedded:sentiment-tweets", {"positive": "positive"})
    labels = LabelSet((Label("positive"), Label("negative"), Label("spam")))
    examples = [Example("t", (name,)) for name in ("negative", "spam") for _ in range(5)]
    grown = widened(three, labels, examples)
    assert grown.label_map == {"positive": "positive", "negative": "negative", "spam": "spam"}
    # The output that was called spam is for junk now, and another label is called spam.
    moved = replace(grown, label_map={"positive": "positive", "spam": "junk"})
    assert widened(moved, labels, examples).label_map["spam (added)"] == "spam"


@pytest.mark.parametrize("params", [LORA, FULL], ids=["lora", "full"])
def test_a_new_label_is_learned_and_kept_by_the_next_stage(
    ref: SpecialistRef, tmp_path: Path, params: FineTuneParams
) -> None:
    wide = widened(ref, LABELS, EXAMPLES)
    assert 1 not in said(ref, None), "spam is not known before"
    fine_tune(wide, LABELS, None, EXAMPLES, tmp_path / "one", params)
    assert said(wide, tmp_path / "one") == [2] * len(GOOD) + [1] * len(SPAM)
    still = replace(params, epochs=1, learning_rate=1e-9)
    fine_tune(wide, LABELS, tmp_path / "one", EXAMPLES, tmp_path / "two", still)
    assert said(wide, tmp_path / "two") == [2] * len(GOOD) + [1] * len(SPAM)


def test_what_the_head_had_stays(ref: SpecialistRef, tmp_path: Path) -> None:
    wide = replace(ref, label_map={**ref.label_map, "spam": "spam"})
    still = replace(LORA, epochs=1, learning_rate=1e-9)
    fine_tune(wide, LABELS, None, EXAMPLES, tmp_path / "one", still)
    grown, _ = open_model(find_parts(ref.source, tmp_path / "one"))
    base, _ = open_model(find_parts(ref.source, None))
    assert grown.config.id2label == {0: "neg", 1: "pos", 2: "spam"}
    np.testing.assert_allclose(
        grown.classifier.weight[:2].detach(), base.classifier.weight.detach(), atol=1e-3
    )


def test_other_heads_grow_too(tmp_path: Path) -> None:
    folder = publish_roberta(tmp_path / "published", ("neg", "pos"), 64)
    ref = SpecialistRef("r", str(folder), {"neg": "negative", "pos": "positive", "spam": "spam"})
    for name, params in (("lora", LORA), ("full", FULL)):
        fine_tune(ref, LABELS, None, EXAMPLES, tmp_path / name, replace(params, epochs=1))
        votes = Models().specialist(ref, LABELS, tmp_path / name).observe(GOOD).votes
        assert not np.isnan(votes).any()
