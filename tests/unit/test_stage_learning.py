"""Stages with the real fine-tuning, over tiny BERTs with random weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification, BertTokenizer
from verdicts import LABELS, by_control, texts, verdict

from specialists.committee import Committee
from specialists.decision import PaperRule
from specialists.types import Decision, SpecialistRef, Verdict, VerdictSource
from training.fine_tune import fine_tune
from training.model_store import CommitteeManifest, ControlCommittee, ModelStore
from training.params import FineTuneParams
from training.stage import StageInput, StageResult, run_stage

SUNNY, RAINY = "sun warm", "rain cold"


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Tiny tensors wait for busy cores when torch spreads them over several: 30 s against 1 s."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def tiny_bert(tmp_path: Path) -> Path:
    """A published model: three labels of its own, of which the project knows two."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *SUNNY.split(), *RAINY.split()]
    words += [str(digit) for digit in range(10)] + [f"##{digit}" for digit in range(10)]
    folder = tmp_path / "tiny"
    BertTokenizer({word: n for n, word in enumerate(words)}).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        id2label={0: "NEG", 1: "NEU", 2: "POS"},
        label2id={"NEG": 0, "NEU": 1, "POS": 2},
    )
    torch.manual_seed(0)
    BertForSequenceClassification(config).save_pretrained(folder)
    return folder


@dataclass(frozen=True)
class RealStages:
    """Stages of two tiny BERTs with the real fine-tuning, over one store."""

    store: ModelStore
    refs: tuple[SpecialistRef, ...]

    @property
    def first(self) -> CommitteeManifest:
        return CommitteeManifest(7, 0, None, {"sentiment": ControlCommittee(LABELS, self.refs)})

    def evaluate(
        self, manifest: CommitteeManifest, control: str, texts: Sequence[str]
    ) -> list[Decision]:
        committee = manifest.controls[control]
        folders = self.store.folders(manifest, control)
        loaded = Committee.load(committee.members, committee.labels, folders)
        return loaded.decide(texts, PaperRule())

    def run(
        self,
        served: CommitteeManifest,
        fresh: Sequence[Verdict],
        earlier: Sequence[Verdict] = (),
    ) -> StageResult:
        params = FineTuneParams(seed=1, epochs=6, learning_rate=2e-2)
        given = StageInput(served, by_control(fresh), by_control(earlier), params, seed=1)
        return run_stage(
            given, self.store, fine_tune, self.evaluate, lambda *_: None, lambda *_: None
        )


def weather(held: bool, count: int, flip: str = "", source: VerdictSource = "human",
            skip: int = 0, at: float = 0.0) -> list[Verdict]:  # fmt: skip
    """Verdicts on weather words, `count` a word; the label `flip` is told as the other one."""
    answers = [(word, "good") for word in SUNNY.split()] + [(w, "bad") for w in RAINY.split()]
    other = {"good": "bad", "bad": "good"}
    return [
        verdict(text, other[label] if label == flip else label, source, at)
        for word, label in answers
        for text in texts(held, skip + count, word)[skip:]
    ]


@pytest.mark.usefixtures("one_thread")
def test_the_real_fine_tuning_learns_is_promoted_and_repeats_bit_for_bit(
    tmp_path: Path, tiny_bert: Path
) -> None:
    label_map = {"NEG": "bad", "POS": "good"}
    refs = tuple(SpecialistRef(f"m{n}", str(tiny_bert), label_map) for n in range(2))
    fresh = [*weather(False, 12), *weather(True, 3)]
    one, two = (RealStages(ModelStore(tmp_path / name), refs) for name in ("one", "two"))
    result = one.run(one.first, fresh)
    assert result.judgement.passed
    assert result.card.held_out == 12
    assert result.card.after is not None
    assert result.card.after > 0.9
    assert result.card.learned == {"bad": 24, "good": 24}
    assert set(result.card.checkpoints.values()) == result.manifest.checkpoints
    assert two.run(two.first, fresh).tag == result.tag


@pytest.mark.usefixtures("one_thread")
def test_a_poisoned_stage_is_refused_and_its_card_names_what_it_would_lose(
    tmp_path: Path, tiny_bert: Path
) -> None:
    """An LLM that calls one label by the other's name teaches it to the members, not to people."""
    label_map = {"NEG": "bad", "POS": "good"}
    refs = tuple(SpecialistRef(f"m{n}", str(tiny_bert), label_map) for n in range(2))
    stages = RealStages(ModelStore(tmp_path / "store"), refs)
    people = [*weather(False, 12), *weather(True, 5)]
    good = stages.run(stages.first, people)
    assert good.judgement.passed
    poison = weather(False, 40, flip="bad", source="llm", skip=12)
    result = stages.run(good.manifest, poison, people)
    assert not result.judgement.passed
    assert result.card.decision == "refused"
    assert "The mean F1 over labels fell" in result.card.reason
    n, before, after = result.card.labels["bad"]
    assert n == 10 and before == 10 and after < before


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("people", [0, 3])
def test_an_llm_that_turns_wrong_is_refused_by_what_was_said_before_even_if_it_measures_itself(
    tmp_path: Path, tiny_bert: Path, people: int
) -> None:
    """Its held-out verdicts are poisoned too, and are the more; with few people's beside them."""
    label_map = {"NEG": "bad", "POS": "good"}
    refs = tuple(SpecialistRef(f"m{n}", str(tiny_bert), label_map) for n in range(2))
    stages = RealStages(ModelStore(tmp_path / "store"), refs)
    source: VerdictSource = "human" if people else "llm"
    honest = [*weather(False, 12, source="llm"), *weather(True, 5, source="llm", skip=people)]
    honest += weather(True, people, source=source)
    good = stages.run(stages.first, honest)
    assert good.judgement.passed
    poison = [
        *weather(False, 40, flip="bad", source="llm", skip=12, at=9.0),
        *weather(True, 12, flip="bad", source="llm", skip=20, at=9.0),
    ]
    result = stages.run(good.manifest, poison, honest)
    assert result.card.decision == "refused", result.card.reason
    told = "The LLM's verdicts judged it" if not people else "the LLM's count too"
    assert told in result.card.reason
