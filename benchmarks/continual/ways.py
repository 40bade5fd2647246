"""The two ways from verdicts to a committee: the paper's sequential recipe, and our stages.

Both begin with the same members: the bare MiniLM weights, each with a random classifier of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import torch
from transformers import DataCollatorWithPadding, Trainer

from benchmarks.continual.stream import CONTROL, Stream
from benchmarks.training import PADDED_TOKENS, recipe
from specialists import weights
from specialists.committee import Committee
from specialists.encoder import open_tokenizer
from specialists.loading import Parts, find_parts, open_base, open_model
from specialists.rule_state import RuleState
from specialists.types import Decision, LabelSet, SpecialistRef, Verdict
from specialists.value_rule import ValueRule
from training.card import Card
from training.errors import NothingToTrain
from training.fine_tune import Example, fine_tune
from training.model_store import CommitteeManifest, ControlCommittee, ModelStore
from training.params import FineTuneParams
from training.stage import StageInput, run_stage

_FIRST_EPOCHS = 12


class Way(Protocol):
    """Learns from stages of verdicts; `committee` is what answers now."""

    def learn(self, verdicts: Sequence[Verdict]) -> str:
        """Learn one stage; returns what became of it."""
        ...

    def committee(self) -> Committee:
        """The committee that answers now."""
        ...


def members(root: Path, stream: Stream, count: int, seed: int) -> list[SpecialistRef]:
    """Publish members in folders: MiniLM with a random classifier, taught the stream's beginning.

    Taught by our fine-tuning, without a gate, until its own held-out fifth gains nothing.
    """
    labels, base, refs = stream.labels, weights.minilm(), []
    identity = {name: name for name in labels.names}
    examples = [Example(row.text, (row.label,)) for row in stream.begin]
    tuning, learned = examples[::5], [e for i, e in enumerate(examples) if i % 5]
    for number in range(count):
        folder = root / f"member-{number}"
        ref = SpecialistRef(folder.name, str(folder), identity)
        own_seed = 1000 * seed + number
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(own_seed)
            model = open_base(Parts(base, labels=labels.names))
        tokenizer = open_tokenizer(base)
        publish(model, tokenizer, folder)
        if learned:
            params = FineTuneParams("lora", _FIRST_EPOCHS, seed=own_seed)
            fine_tune(ref, labels, None, learned, root / "taught", params, tuning=tuning)
            publish(*open_model(find_parts(str(folder), root / "taught")), folder)
        refs.append(ref)
    return refs


def publish(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write a whole model, as the Hub has them."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@dataclass
class Paper:
    """Every stage goes on from the last: all weights, on its verdicts alone, served unmeasured."""

    refs: Sequence[SpecialistRef]
    labels: LabelSet
    root: Path
    seed: int
    _stage: int = 0
    _folders: dict[str, Path] = field(default_factory=dict)

    def learn(self, verdicts: Sequence[Verdict]) -> str:
        """Fine-tune each member with transformers' Trainer."""
        self._stage += 1
        for ref in self.refs:
            folder = self._folders.get(ref.name)
            model, tokenizer = open_model(find_parts(ref.source, folder))
            out = self.root / f"stage-{self._stage}" / ref.name
            own = model.config.label2id
            rows = [
                {
                    **tokenizer(v.text, truncation=True, max_length=PADDED_TOKENS),
                    "labels": own[v.labels[0]],
                }
                for v in verdicts
            ]
            # The script pads to 128 tokens; to the longest of a batch gives the same gradients.
            collator = DataCollatorWithPadding(tokenizer)
            Trainer(
                model=model,
                args=recipe(out, self.seed, "cpu"),
                train_dataset=rows,
                data_collator=collator,
            ).train()
            publish(model, tokenizer, out)
            self._folders[ref.name] = out
        return "served"

    def committee(self) -> Committee:
        """The members as they are now."""
        refs = [
            replace(ref, checkpoint=ref.name if ref.name in self._folders else None)
            for ref in self.refs
        ]
        return Committee.load(refs, self.labels, self._folders)


class Ours:
    """The product's stage: what it promotes answers, what it refuses waits for the next one."""

    def __init__(
        self, refs: Sequence[SpecialistRef], labels: LabelSet, root: Path, params: FineTuneParams
    ) -> None:
        self._store = ModelStore(root)
        self._params = params
        self._served = CommitteeManifest(1, 0, None, {CONTROL: ControlCommittee(labels, (*refs,))})
        self._store.save_committee(self._served)
        self._waiting: list[Verdict] = []
        self._earlier: list[Verdict] = []
        self.cards: list[Card] = []
        self._load = lru_cache(maxsize=2)(self._open)  # the served and the next one

    def learn(self, verdicts: Sequence[Verdict]) -> str:
        """Run a stage over everything that waits, and serve what its gate lets through."""
        self._waiting += verdicts
        given = StageInput(
            manifest=self._served,
            fresh={CONTROL: self._waiting},
            earlier={CONTROL: self._earlier},
            params=self._params,
            seed=len(self._waiting) + len(self._earlier),
        )
        try:
            result = run_stage(given, self._store, fine_tune, self._evaluate, _silent, _silent)
        except NothingToTrain as error:
            return str(error)
        self.cards.append(result.card)
        if result.judgement.passed:
            self._served = result.manifest
            self._earlier += self._waiting
            self._waiting = []
        return result.card.reason

    def committee(self) -> Committee:
        """The served committee."""
        return self._load(self._served.tag)

    def _open(self, tag: str) -> Committee:
        manifest = self._store.committee(tag)
        control = manifest.controls[CONTROL]
        return Committee.load(
            control.members, control.labels, self._store.folders(manifest, CONTROL)
        )

    def _evaluate(
        self, manifest: CommitteeManifest, control: str, texts: Sequence[str]
    ) -> list[Decision]:
        committee = self._load(self._store.save_committee(manifest))
        rule = ValueRule(RuleState.first(len(committee.names), len(committee.labels.labels)))
        return committee.decide(texts, rule)


def _silent(*told: object) -> None:
    """Report progress to nobody."""
