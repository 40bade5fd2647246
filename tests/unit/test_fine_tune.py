"""Fine-tuning learns, continues, repeats itself bit for bit, and writes what can be loaded."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from tiny_models import publish
from transformers import BertForSequenceClassification

from specialists.errors import SpecialistUnavailable
from specialists.loading import find_parts, open_model
from specialists.models import Models
from specialists.types import Label, LabelSet, SpecialistRef
from training.fine_tune import Example, fine_tune
from training.loop import LEAST_TUNING
from training.params import FineTuneParams

Array = npt.NDArray[np.float32]
OWN = ("NEG", "NEU", "POS")
MAP = {"NEG": "negative", "POS": "positive"}
LABELS = LabelSet((Label("negative"), Label("positive"), Label("spam")))
GOOD = ["the film was good", "a fine day", "great food", "so very good", "this was great"]
BAD = ["the film was bad", "an awful day", "poor food", "so very bad", "this was awful"]
EXAMPLES = [Example(text, ("positive",)) for text in GOOD] + [
    Example(text, ("negative",)) for text in BAD
]
LORA = FineTuneParams("lora", epochs=30, learning_rate=1e-2, batch_size=4, seed=5)
FULL = replace(LORA, method="full", learning_rate=3e-3)
FROZEN = replace(FULL, method="frozen", epochs=60)


@pytest.fixture
def ref(tmp_path: Path) -> SpecialistRef:
    return SpecialistRef("tiny", str(publish(tmp_path / "published", OWN, spread=0.1)), MAP)


def votes(ref: SpecialistRef, folder: Path | None, texts: list[str] = GOOD + BAD) -> Array:
    return Models().specialist(ref, LABELS, folder).observe(texts).votes[:, 0]


def accuracy(ref: SpecialistRef, folder: Path | None) -> float:
    answers = np.nanargmax(votes(ref, folder), axis=1)
    return float((answers == [1] * len(GOOD) + [0] * len(BAD)).mean())


@pytest.mark.parametrize("params", [LORA, FULL, FROZEN], ids=["lora", "full", "frozen"])
def test_a_stage_learns_and_what_it_wrote_is_loaded(
    ref: SpecialistRef, tmp_path: Path, params: FineTuneParams
) -> None:
    told: list[tuple[float, float]] = []
    fine_tune(
        ref,
        LABELS,
        None,
        EXAMPLES,
        tmp_path / "out",
        params,
        lambda fraction, loss: told.append((fraction, loss)),
    )
    assert accuracy(ref, None) < 1.0
    assert accuracy(ref, tmp_path / "out") == 1.0
    fractions = [fraction for fraction, _ in told]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    losses = [loss for _, loss in told]
    assert np.mean(losses[-9:]) < np.mean(losses[:9]) / 2


@pytest.mark.parametrize("params", [LORA, FULL], ids=["lora", "full"])
def test_the_same_seed_writes_the_same_bytes_and_leaves_the_callers_randomness_alone(
    ref: SpecialistRef, tmp_path: Path, params: FineTuneParams
) -> None:
    few = replace(params, epochs=1)
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    for name in ("one", "two"):
        fine_tune(ref, LABELS, None, EXAMPLES, tmp_path / name, few)
    fine_tune(ref, LABELS, None, EXAMPLES, tmp_path / "other", replace(few, seed=6))
    assert torch.equal(torch.random.get_rng_state(), before)
    one, two, other = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}
        for name in ("one", "two", "other")
    )
    assert one == two
    weights = next(name for name in one if name.endswith(".safetensors"))
    assert one[weights] != other[weights]


@pytest.mark.parametrize("second", ["lora", "full"])
@pytest.mark.parametrize("first", ["lora", "full"])
def test_a_stage_continues_from_the_checkpoint_of_the_one_before(
    ref: SpecialistRef, tmp_path: Path, first: str, second: str
) -> None:
    by_name = {"lora": LORA, "full": FULL}
    fine_tune(ref, LABELS, None, EXAMPLES, tmp_path / "first", replace(by_name[first], epochs=4))
    still = replace(by_name[second], epochs=1, learning_rate=1e-9)
    fine_tune(ref, LABELS, tmp_path / "first", EXAMPLES, tmp_path / "second", still)
    np.testing.assert_allclose(
        votes(ref, tmp_path / "second"), votes(ref, tmp_path / "first"), atol=2e-3
    )
    is_adapter = (tmp_path / "second" / "adapter_config.json").exists()
    assert is_adapter == (first == second == "lora")


def test_examples_whose_label_the_member_does_not_know_change_nothing(
    ref: SpecialistRef, tmp_path: Path
) -> None:
    unknown = [Example(text, ("spam",)) for text in GOOD]
    fine_tune(ref, LABELS, None, unknown, tmp_path / "none", LORA)
    np.testing.assert_allclose(votes(ref, tmp_path / "none"), votes(ref, None), atol=2e-3)  # fp16
    fine_tune(ref, LABELS, None, EXAMPLES, tmp_path / "known", replace(LORA, epochs=1))
    fine_tune(ref, LABELS, None, EXAMPLES + unknown, tmp_path / "all", replace(LORA, epochs=1))
    one, two = (
        (tmp_path / name / "adapter_model.safetensors").read_bytes() for name in ("known", "all")
    )
    assert one == two


def test_weights_of_examples_decide_between_contradictions(
    ref: SpecialistRef, tmp_path: Path
) -> None:
    quarrel = [Example(text, ("positive",), 10.0) for text in GOOD]
    quarrel += [Example(text, ("negative",), 0.1) for text in GOOD]
    fine_tune(ref, LABELS, None, quarrel, tmp_path / "out", LORA)
    assert (votes(ref, tmp_path / "out", GOOD)[:, 1] > 0.8).all()


def test_a_multi_label_head_learns_each_label_by_itself(tmp_path: Path) -> None:
    several = LabelSet((Label("toxic"), Label("insult")), multiple=True)
    folder = publish(
        tmp_path / "head", ("a", "b"), problem_type="multi_label_classification", spread=0.1
    )
    ref = SpecialistRef("tiny", str(folder), {"a": "toxic", "b": "insult"})
    both = [Example(text, ("toxic", "insult")) for text in BAD]
    one = [Example(text, ("insult",)) for text in GOOD]
    fine_tune(ref, several, None, both + one, tmp_path / "out", LORA)
    found = (
        Models().specialist(ref, several, tmp_path / "out").observe(BAD + GOOD).votes[:, 0] >= 0.5
    )
    assert found.tolist() == [[True, True]] * len(BAD) + [[False, True]] * len(GOOD)


def test_an_adapter_is_small_and_names_no_folder_of_this_machine(
    ref: SpecialistRef, tmp_path: Path
) -> None:
    fine_tune(ref, LABELS, None, EXAMPLES, tmp_path / "out", replace(LORA, epochs=1))
    files = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert files == ["adapter_config.json", "adapter_model.safetensors", "specialist.json"]
    tensors = load_file(tmp_path / "out" / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}
    summary = json.loads((tmp_path / "out" / "specialist.json").read_text())
    assert (summary["examples"], summary["seed"], summary["method"]) == (10, 5, "lora")
    assert not any(text in json.dumps(summary) for text in GOOD)


def test_merging_without_peft_equals_pefts_own(ref: SpecialistRef, tmp_path: Path) -> None:
    fine_tune(ref, LABELS, None, EXAMPLES, tmp_path / "out", replace(LORA, epochs=4))
    base = BertForSequenceClassification.from_pretrained(ref.source)
    with pytest.warns(FutureWarning):  # peft asks transformers for an attribute's old name
        theirs = PeftModel.from_pretrained(base, tmp_path / "out").merge_and_unload()
    ours, _ = open_model(find_parts(ref.source, tmp_path / "out"))
    for (name, mine), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other, atol=1e-5, rtol=1e-4, msg=name)


def test_an_adapter_over_other_base_weights_is_refused(ref: SpecialistRef, tmp_path: Path) -> None:
    fine_tune(ref, LABELS, None, EXAMPLES, tmp_path / "out", replace(LORA, epochs=1))
    other = publish(tmp_path / "republished", OWN, seed=9)
    moved = replace(ref, source=str(other))
    with pytest.raises(SpecialistUnavailable, match="base weights have changed .*; roll back"):
        Models().specialist(moved, LABELS, tmp_path / "out")


def test_bf16_where_the_hardware_has_it_learns_what_fp32_does(
    ref: SpecialistRef, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, has in (("half", True), ("single", False)):
        monkeypatch.setattr("training.loop.has_arithmetic", lambda kind, has=has: has)
        fine_tune(ref, LABELS, None, EXAMPLES, tmp_path / name, replace(FULL, epochs=2))
    half, single = (load_file(tmp_path / name / "model.safetensors") for name in ("half", "single"))
    assert {tensor.dtype for tensor in half.values()} == {torch.float32}
    assert any(not torch.equal(half[name], single[name]) for name in half)
    np.testing.assert_allclose(
        votes(ref, tmp_path / "half"), votes(ref, tmp_path / "single"), atol=0.05
    )


def test_an_adapter_that_was_trained_with_dropout_goes_on_without(
    ref: SpecialistRef, tmp_path: Path
) -> None:
    fine_tune(ref, LABELS, None, EXAMPLES, tmp_path / "one", replace(LORA, epochs=1))
    config = tmp_path / "one" / "adapter_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "lora_dropout": 0.5}))
    fine_tune(ref, LABELS, tmp_path / "one", EXAMPLES, tmp_path / "two", replace(LORA, epochs=1))
    assert json.loads((tmp_path / "two" / "adapter_config.json").read_text())["lora_dropout"] == 0


def test_what_progress_raises_ends_the_training_and_writes_nothing(
    ref: SpecialistRef, tmp_path: Path
) -> None:
    class LeaseLost(Exception):
        pass

    def lose(fraction: float, loss: float) -> None:
        raise LeaseLost

    with pytest.raises(LeaseLost):
        fine_tune(ref, LABELS, None, EXAMPLES, tmp_path / "out", LORA, lose)
    assert not (tmp_path / "out").exists()


def test_frozen_embeddings_stay_and_the_other_weights_learn(
    ref: SpecialistRef, tmp_path: Path
) -> None:
    fine_tune(ref, LABELS, None, EXAMPLES, tmp_path / "out", FROZEN)
    before = load_file(Path(ref.source) / "model.safetensors")
    after = load_file(tmp_path / "out" / "model.safetensors")
    same = {name for name in before if torch.equal(before[name], after[name])}
    assert "bert.embeddings.word_embeddings.weight" in same
    assert "bert.embeddings.position_embeddings.weight" not in same
    assert "classifier.weight" not in same


def test_training_ends_when_texts_to_choose_by_gain_nothing_any_more(
    ref: SpecialistRef, tmp_path: Path
) -> None:
    tuning = [
        Example("the day was good", ("positive",)),
        Example("the day was bad", ("negative",)),
    ] * (LEAST_TUNING // 2)
    wrong = [
        Example(one.text, other.labels) for one, other in zip(EXAMPLES, EXAMPLES[::-1], strict=True)
    ]
    steps: dict[str, list[float]] = {"right": [], "wrong": []}
    for name, examples in (("right", EXAMPLES), ("wrong", wrong)):
        hear = steps[name].append
        tell: Callable[[float, float], None] = lambda share, _, hear=hear: hear(share)  # noqa: E731
        fine_tune(ref, LABELS, None, examples, tmp_path / name, LORA, tell, tuning)
    assert len(steps["wrong"]) < len(steps["right"])
    assert steps["wrong"][-1] == 1.0
    assert accuracy(ref, tmp_path / "right") >= 0.9


def test_an_anchor_keeps_weights_near_those_of_before(ref: SpecialistRef, tmp_path: Path) -> None:
    def moved(anchor: float) -> float:
        out = tmp_path / str(anchor)
        fine_tune(ref, LABELS, None, EXAMPLES, out, replace(FULL, epochs=4, anchor=anchor))
        before = load_file(Path(ref.source) / "model.safetensors")
        after = load_file(out / "model.safetensors")
        return sum(float((after[name] - before[name]).square().sum()) for name in before)

    assert 0 < moved(30.0) < moved(0.0) / 2


def test_a_batch_in_parts_gives_what_a_whole_one_gives(ref: SpecialistRef, tmp_path: Path) -> None:
    """But for rounding: weights of examples and a last, smaller part count as in the whole."""
    config = Path(ref.source) / "config.json"
    still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    config.write_text(json.dumps({**json.loads(config.read_text()), **still}))
    examples = [replace(e, weight=1 + n % 3) for n, e in enumerate(EXAMPLES)]
    losses: dict[int | None, list[float]] = {None: [], 3: []}
    for at_once, told in losses.items():
        params = replace(FULL, epochs=8, batch_size=5, at_once=at_once)

        def progress(share: float, loss: float, told: list[float] = told) -> None:
            told.append(loss)

        fine_tune(ref, LABELS, None, examples, tmp_path / str(at_once), params, progress)
    assert losses[3] == pytest.approx(losses[None], rel=0.01)
    assert losses[None][-1] < 0.95 * losses[None][0]  # that is: the gradients are the same
