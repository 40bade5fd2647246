"""The product's way from verdicts to answers: stages with their gate, and a rule that learns.

Joins the product's own parts as its jobs do, without Redis and workers. Nobody is asked here whom
to believe: a verdict is what an LLM said.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from backend.jobs.learned import LEAST_TRAINED
from benchmarks.continual.stream import CONTROL
from specialists.chances import Array
from specialists.committee import Committee
from specialists.evidence import Evidence
from specialists.rule_state import RuleState
from specialists.types import Decision, LabelSet, SpecialistRef, Verdict
from specialists.value_rule import ValueRule
from training import gate
from training.curriculum import DEFAULT, Curriculum
from training.errors import NothingToTrain
from training.fine_tune import fine_tune
from training.model_store import CommitteeManifest, ControlCommittee, ModelStore
from training.params import FineTuneParams
from training.refit import LEAST, Known, refit
from training.reliability import Answers
from training.stage import StageInput, run_stage


class Ours:
    """The product: what a stage promotes answers, by a rule that has learned from all verdicts."""

    def __init__(
        self,
        refs: Sequence[SpecialistRef],
        labels: LabelSet,
        root: Path,
        params: FineTuneParams,
        curriculum: Curriculum = DEFAULT,
    ) -> None:
        self._store = ModelStore(root)
        self._params, self._curriculum = params, curriculum
        self._served = CommitteeManifest(1, 0, None, {CONTROL: ControlCommittee(labels, (*refs,))})
        self._store.save_committee(self._served)
        self._names = labels.names
        self._waiting: list[Verdict] = []
        self._earlier: list[Verdict] = []
        self._states: dict[str, RuleState] = {}  # by tag
        self._load = lru_cache(maxsize=2)(self._open)  # the served and the next one
        self._seen: dict[tuple[str, str], Evidence] = {}  # by tag and text

    def learn(self, verdicts: Sequence[Verdict]) -> str:
        """Run a stage over everything that waits, serve what its gate lets through, and refit."""
        self._waiting += verdicts
        given = StageInput(
            manifest=self._served,
            fresh={CONTROL: self._waiting},
            earlier={CONTROL: self._earlier},
            params=self._params,
            seed=len(self._waiting) + len(self._earlier),
            curriculum=self._curriculum,
        )
        try:
            result = run_stage(
                given, self._store, fine_tune, self._alone, _silent, _silent, self._as_served
            )
            told = result.card.reason
        except NothingToTrain as error:
            result, told = None, str(error)
        if result and result.judgement.passed:
            self._served = result.manifest
            self._earlier += self._waiting
            self._waiting = []
        self._states[self._served.tag] = self._fitted(self._served.tag, self._earlier)[0]
        return told

    def answers(self, texts: Sequence[str]) -> list[str]:
        """The labels that the product gives to texts now."""
        tag = self._served.tag
        rule = ValueRule(self._states.get(tag) or self._first(tag))
        return [one.labels[0] for one in self._decided(tag, texts, rule)]

    def alone(self, texts: Sequence[str]) -> list[str]:
        """The labels that its members' mean vote gives, without what the rule has learned."""
        return [one.labels[0] for one in self._alone(self._served, CONTROL, texts)]

    def _open(self, tag: str) -> Committee:
        manifest = self._store.committee(tag)
        control = manifest.controls[CONTROL]
        return Committee.load(
            control.members, control.labels, self._store.folders(manifest, CONTROL)
        )

    def _first(self, tag: str) -> RuleState:
        return RuleState.first(len(self._load(tag).names), len(self._names))

    def _alone(
        self, manifest: CommitteeManifest, control: str, texts: Sequence[str]
    ) -> list[Decision]:
        tag = self._store.save_committee(manifest)
        return self._decided(tag, texts, ValueRule(self._first(tag)))

    def _decided(self, tag: str, texts: Sequence[str], rule: ValueRule) -> list[Decision]:
        committee = self._load(tag)
        return rule.decide(self._observed(tag, texts), committee.names, committee.labels)

    def _observed(self, tag: str, texts: Sequence[str]) -> Evidence:
        """What a committee says of texts, each asked once."""
        missing = [text for text in dict.fromkeys(texts) if (tag, text) not in self._seen]
        if missing:
            evidence = self._load(tag).observe(missing)
            self._seen |= {(tag, text): evidence.row(i) for i, text in enumerate(missing)}
        return Evidence.join([self._seen[tag, text] for text in texts])

    def _as_served(
        self, manifest: CommitteeManifest, control: str, texts: Sequence[str]
    ) -> list[Decision]:
        """Each text answered as if its own verdict had not been learned (backend/jobs/trial.py)."""
        tag = self._store.save_committee(manifest)
        everything = [*self._earlier, *self._waiting]
        new = tag != self._served.tag
        _, chances = self._fitted(tag, everything if new else self._earlier)
        return [
            Decision((self._names[int(row.argmax())],), float(row.max()), False, "")
            for row in (chances[text] for text in texts)
        ]

    def _fitted(
        self, tag: str, trained_on: Iterable[Verdict]
    ) -> tuple[RuleState, Mapping[str, Array]]:
        """What the rule of a committee learns from all verdicts, and its left-out chances by text.

        Verdicts that the committee was `trained_on` teach the live member only.
        """
        learned = {gate.text_key(v.text) for v in trained_on if not gate.held_out(v.text)}
        # Of a text that came twice the latest counts, as in the pool.
        verdicts = {gate.text_key(v.text): v for v in (*self._earlier, *self._waiting)}
        own = [v for key, v in verdicts.items() if key not in learned]
        others = [v for key, v in verdicts.items() if key in learned]
        if not own:
            return self._first(tag), {}
        found = refit(
            self._known(tag, own),
            before=self._states.get(tag),
            earlier=self._states.get(self._store.committee(tag).parent or ""),
            least=LEAST_TRAINED if others else LEAST,
            trained=self._known(tag, others) if others else None,
        )
        return found.state, {v.text: row for v, row in zip(own, found.probabilities, strict=True)}

    def _known(self, tag: str, verdicts: Sequence[Verdict]) -> Known:
        """What the committee of a tag says of the texts of verdicts, and the verdicts."""
        said = np.array([self._names.index(v.labels[0]) for v in verdicts])
        answers = Answers(
            llm=said,
            human=np.full(len(said), -1),
            asked=np.ones(len(said), dtype=bool),
            confidence=np.full(len(said), math.nan),
        )
        return Known(self._observed(tag, [v.text for v in verdicts]), answers)


def _silent(*told: object) -> None:
    """Report progress to nobody."""
