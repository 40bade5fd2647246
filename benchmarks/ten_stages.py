"""Ten stages of a replayed project: is a promoted committee ever truly worse than the one before?

    python -m benchmarks.ten_stages [--csv FILE | --data DIR] [--stages 10] [--verdicts 60]

Every stage brings new verdicts, a third of people's (the true label), the others of an LLM that is
right in 85 %; in every fourth stage it calls one label by another's name. They go through the
product's slice, stage and gate; what is refused waits for the next stage. Beside the gate's few
held-out verdicts stands the truth: the accuracy on texts that nobody trains on or judges by.
Without a CSV small models are made, of three topics, and meet six; with one the shipped committee
for its labels learns. Prints a row a stage and, last, one JSON line.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean

import torch

from benchmarks import hub_models, texts, tiny_classifier
from benchmarks.training import committee, learned
from specialists.committee import Committee
from specialists.types import Decision, Label, LabelSet, SpecialistRef, Verdict
from specialists.value_rule import RuleState, ValueRule
from training.errors import NothingToTrain
from training.fine_tune import fine_tune
from training.model_store import CommitteeManifest, ControlCommittee, ModelStore
from training.params import FineTuneParams
from training.slice import HeldOut, lacking, member
from training.sources import normalised
from training.stage import StageInput, run_stage

PEOPLE, LLM, POISONED_EVERY = 1 / 3, 0.85, 4
CONTROL = "label"

Rows = Sequence[tuple[str, str]]  # text and true label


@dataclass(frozen=True)
class Project:
    """Members that begin, how they learn, and texts: a stream of them, and some that only test."""

    name: str
    members: tuple[SpecialistRef, ...]
    labels: LabelSet
    params: FineTuneParams
    stream: Rows = field(repr=False)
    test: Rows = field(repr=False)


@dataclass(frozen=True)
class Row:
    """One stage; `before` and `after` are accuracies on the test texts, as shares.

    `told` is the gain that the gate saw on its held-out verdicts, None when there were none.
    """

    stage: int
    poisoned: bool
    promoted: bool
    reason: str
    margin: float
    before: float
    after: float
    told: float | None

    @property
    def gain(self) -> float:
        """The true gain, as far as the test texts tell."""
        return self.after - self.before

    @property
    def beyond(self) -> bool:
        """Whether a worse committee was promoted, by more than the margin."""
        return self.promoted and -self.gain > self.margin


def main(arguments: Sequence[str] | None = None) -> int:
    """Replay and print; 2 when the texts cannot serve."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    texts.add_options(parser)
    parser.add_argument("--stages", type=int, default=10)
    parser.add_argument("--verdicts", type=int, default=60, help="new ones of each stage")
    parser.add_argument("--tests", type=int, default=1_500, help="texts that only tell the truth")
    parser.add_argument("--seed", type=int, default=13, help="of texts, verdicts and members")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="aa-stages-") as aside:
        try:
            if options.csv or options.data:
                project = shipped(options)
            else:
                torch.set_num_threads(1)  # more of them only wait for each other on tiny tensors
                project = made(Path(aside) / "models", options.tests, options.seed)
        except texts.Unusable as error:
            print(error, file=sys.stderr)
            return 2
        rows = []
        for row in follow(project, Path(aside) / "store", options.stages, options.verdicts):
            rows.append(row)
            print(
                f"{row.stage:2} {'poisoned' if row.poisoned else '':8} test {row.before:.3f} -> "
                f"{row.after:.3f}, margin {row.margin:.3f}  {row.reason}",
                flush=True,
            )
    served = [row for row in rows if row.promoted]
    figures = {
        "data": project.name,
        "stages": len(rows),
        "promoted": len(served),
        "poisoned_promoted": sum(row.poisoned for row in served),
        "beyond_margin": sum(row.beyond for row in rows),
        "largest_loss": round(max((-row.gain for row in served), default=0.0), 4),
        "optimism": round(fmean(row.told - row.gain for row in rows if row.told is not None), 4),
        "first": round(rows[0].before, 4),
        "last": round(served[-1].after if served else rows[0].before, 4),
    }
    print(json.dumps(figures))
    return 0


def made(folder: Path, tests: int, seed: int = 13, members: int = 3) -> Project:
    """Small models that know three topics well and three hardly, and texts of all six."""
    material = hub_models.made_texts(seed, trained=600, unseen=3000, turning=0.1)
    names = hub_models.OWN
    known = [*material.part(0), *material.part(3)[:30]]
    answers = [names.index(label) for _, label in known]
    refs = []
    for number in range(members):
        own = seed + number
        model = tiny_classifier.train([text for text, _ in known], answers, names, seed=own)
        path = tiny_classifier.publish(folder / f"m{number}", *model)
        refs.append(SpecialistRef(f"m{number}", str(path), {name: name for name in names}))
    rows = material.unseen
    params = FineTuneParams(seed=seed, epochs=6, learning_rate=5e-3)
    labels = LabelSet(tuple(Label(name) for name in names))
    return Project("made", tuple(refs), labels, params, rows[tests:], rows[:tests])


def shipped(options: argparse.Namespace) -> Project:
    """The shipped committee for a CSV's labels; no text is one that a member has learned."""
    found = texts.chosen(options)
    labels = LabelSet(tuple(Label(name) for name in sorted({s.label for s in found.samples})))
    members = tuple(committee(labels))
    folder = options.csv.parent if options.csv else options.data
    known = {normalised(text) for ref in members for text in learned(ref, folder)}
    rows = [(s.text, s.label) for s in found.samples if normalised(s.text) not in known]
    random.Random(options.seed).shuffle(rows)
    test = min(options.tests, len(rows) // 2)
    params = FineTuneParams(seed=options.seed)
    return Project(found.name, members, labels, params, rows[test:], rows[:test])


def follow(project: Project, root: Path, stages: int, verdicts: int) -> Iterator[Row]:
    """Run stage after stage; each goes on from the last one that was promoted."""
    store = ModelStore(root)
    served = CommitteeManifest(
        1, 0, None, {CONTROL: ControlCommittee(project.labels, project.members)}
    )
    right = _accuracy(store, served, project.test)
    fresh: list[Verdict] = []
    earlier: list[Verdict] = []
    held, given = HeldOut(), set[str]()
    for stage in range(1, stages + 1):
        poisoned = stage % POISONED_EVERY == 0
        fresh += _verdicts(project, stage, verdicts, poisoned)
        held = HeldOut(held.more | lacking(held, [*fresh, *earlier], given))
        given |= {member(CONTROL, v.text) for v in (*fresh, *earlier)} - held.more
        try:
            result = run_stage(
                StageInput(served, {CONTROL: fresh}, {CONTROL: earlier}, project.params, stage,
                           held_out=held),
                store,
                fine_tune,
                lambda manifest, control, asked: decide(store, manifest, asked),
                lambda *_: None,
                lambda *_: None,
            )  # fmt: skip
        except NothingToTrain:
            continue
        after = _accuracy(store, result.manifest, project.test)
        found = result.judgement
        passed = found.passed
        told = None if found.before is None or found.after is None else found.after - found.before
        yield Row(stage, poisoned, passed, result.card.reason, found.margin or 0.0,
                  right, after, told)  # fmt: skip
        if passed:
            served, right = result.manifest, after
            earlier, fresh = [*earlier, *fresh], []


def decide(store: ModelStore, manifest: CommitteeManifest, asked: Sequence[str]) -> list[Decision]:
    """What a committee answers by the rule before any verdict, as the product's gate asks."""
    part = manifest.controls[CONTROL]
    loaded = Committee.load(part.members, part.labels, store.folders(manifest, CONTROL))
    rule = ValueRule(RuleState.first(len(part.members), len(part.labels.names)))
    return loaded.decide(list(asked), rule)


def _accuracy(store: ModelStore, manifest: CommitteeManifest, rows: Rows) -> float:
    answers = decide(store, manifest, [text for text, _ in rows])
    return fmean(
        answer.labels == (label,) for answer, (_, label) in zip(answers, rows, strict=True)
    )


def _verdicts(project: Project, stage: int, count: int, poisoned: bool) -> list[Verdict]:
    """The stage's part of the stream, answered by people and an LLM."""
    dice, names = random.Random(f"{project.params.seed}:{stage}"), project.labels.names
    found = []
    for text, label in project.stream[(stage - 1) * count : stage * count]:
        number = len(found) + stage * count
        verdict = Verdict(number, CONTROL, text, (label,), "human", "1", float(number))
        if dice.random() >= PEOPLE:
            said = label if dice.random() < LLM else dice.choice(names)
            said = names[0] if poisoned and said == names[-1] else said
            verdict = replace(verdict, labels=(said,), source="llm")
        found.append(verdict)
    return found


if __name__ == "__main__":
    sys.exit(main())
