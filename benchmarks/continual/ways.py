"""The paper's way from verdicts to answers, and the members with which every way begins.

These are the bare MiniLM weights, each with a random classifier of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from transformers import DataCollatorWithPadding, Trainer

from benchmarks.continual.stream import Stream
from benchmarks.training import PADDED_TOKENS, recipe
from specialists import weights
from specialists.chances import first_probabilities
from specialists.committee import Committee
from specialists.encoder import open_tokenizer
from specialists.loading import Parts, find_parts, open_base, open_model
from specialists.types import LabelSet, SpecialistRef, Verdict
from training.fine_tune import Example, fine_tune
from training.params import FineTuneParams

_FIRST_EPOCHS = 12


class Way(Protocol):
    """Learns from stages of verdicts and answers texts."""

    def learn(self, verdicts: Sequence[Verdict]) -> str:
        """Learn one stage; returns what became of it."""
        ...

    def answers(self, texts: Sequence[str]) -> list[str]:
        """One label a text."""
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

    def answers(self, texts: Sequence[str]) -> list[str]:
        """The labels of the members' mean vote."""
        refs = [
            replace(ref, checkpoint=ref.name if ref.name in self._folders else None)
            for ref in self.refs
        ]
        committee = Committee.load(refs, self.labels, self._folders)
        chances = first_probabilities(committee.observe(texts))
        return [self.labels.names[column] for column in chances.argmax(axis=1)]
