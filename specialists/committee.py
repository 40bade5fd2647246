"""The committee: members that vote on texts.

It knows specialists as things that vote, and rules as things that turn votes into decisions; a
member that cannot be loaded is left out, one that fails is not heard; `problems` tells of both.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence, Sized
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from specialists.batching import in_batches
from specialists.decision import DecisionRule, abstain
from specialists.errors import SpecialistUnavailable
from specialists.evidence import Evidence
from specialists.languages import foreign
from specialists.models import Models
from specialists.similarity import Similarity
from specialists.transformer import Encoding, Model, Specialist
from specialists.types import Decision, LabelSet, SpecialistRef
from specialists.windows import MOST_TOKENS, Windows

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Encoded:
    """A text as the members read it: one form for each of their encodings.

    `silent` are the members that do not know its language; `note` as in `Evidence.notes`.
    """

    forms: tuple[Sized, ...] = field(repr=False)
    silent: tuple[int, ...] = ()
    note: str = ""

    def __len__(self) -> int:
        """Its tokens, by the encoding that makes the most of it."""
        return max(map(len, self.forms), default=1)


class Committee:
    """Specialists of one control; safe to ask from several threads."""

    def __init__(
        self,
        labels: LabelSet,
        members: Sequence[tuple[str, Specialist]],
        problems: Sequence[str] = (),
        observer: Specialist | None = None,
    ) -> None:
        """Join members; `observer` gives the frozen view, if no member does, and does not vote."""
        self.labels = labels
        self.names = tuple(name for name, _ in members)
        self.problems = list(problems)
        self._told = 0
        self._members = tuple(one for _, one in members)
        self._observer = observer
        self.specialists = (*self._members, *([observer] if observer else []))
        self._encodings = _distinct([one.encoding for one in self.specialists])
        self._particular = {
            i: one.languages for i, one in enumerate(self._members) if one.languages is not None
        }
        self._usual = frozenset[str]()  # languages that all members know
        if self._particular:
            self._usual = self._usual.union(*self._particular.values()).intersection(
                *self._particular.values()
            )

    @classmethod
    def load(
        cls,
        refs: Sequence[SpecialistRef],
        labels: LabelSet,
        folders: Mapping[str, Path],
        models: Models | None = None,
    ) -> Committee:
        """Load what can be loaded; `folders` has the checkpoint folder by member name.

        The reasons of members left out are in `problems`. Of single choice, it also sees texts with
        the embedded base model, so that the live member can learn whoever the others are. Without
        `models` nothing is shared and everything runs in fp32.
        """
        models = models or Models()
        members: list[tuple[str, Specialist]] = []
        problems: list[str] = []
        for ref in refs:
            try:
                folder = checkpoint_folder(ref, folders)
                members.append((ref.name, models.specialist(ref, labels, folder)))
            except SpecialistUnavailable as error:
                _log.warning("%s: left out of the committee: %s", ref.name, error)
                problems.append(str(error))
        observer = None
        if not labels.multiple and not _has_similarity(one for _, one in members):
            try:
                observer = models.embedder(labels)
            except SpecialistUnavailable as error:
                _log.warning("no live member: %s", error)
                problems.append(str(error))
        return cls(labels, members, problems, observer)

    @property
    def sees(self) -> bool:
        """Whether its evidence has the frozen view."""
        return self._observer is not None or _has_similarity(self._members)

    def new_problems(self) -> list[str]:
        """The problems that were not given here before."""
        told, self._told = self._told, len(self.problems)
        return self.problems[told : self._told]

    @property
    def sizes(self) -> dict[int, int]:
        """Bytes of each model's weights, by the model's identity: committees may share models."""
        return {
            id(one.runtime if isinstance(one, Model) else one): one.size_bytes
            for one in self.specialists
        }

    @property
    def runtimes(self) -> set[str]:
        """Names of what runs the members' models."""
        return {one.runtime.name for one in self.specialists if isinstance(one, Model)}

    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        """Each text as the members read it; members that share an encoding share this work."""
        by_encoding = [encoding.encode(texts) for encoding in self._encodings]
        return [
            self._encoded(text, tuple(forms[i] for forms in by_encoding))
            for i, text in enumerate(texts)
        ]

    def _encoded(self, text: str, forms: tuple[Sized, ...]) -> Encoded:
        found = foreign(text, self._usual) if self._particular else ""
        silent = [i for i, known in self._particular.items() if found and found not in known]
        notes = []
        if silent and len(silent) == len(self._members):
            notes.append(f"no member knows the text's language ({found})")
        if any(isinstance(form, Windows) and not form.whole for form in forms):
            notes.append(f"only its beginning was read: it has over {MOST_TOKENS:,} tokens")
        return Encoded(forms, tuple(silent), "; ".join(notes))

    def forward(self, batch: Sequence[Encoded]) -> Evidence:
        """What all members say of one padded batch: votes (B, members, labels), and the views."""
        collated = {
            id(encoding): encoding.collate([one.forms[i] for one in batch])
            for i, encoding in enumerate(self._encodings)
        }
        seen = [self._hear(one, collated[id(one.encoding)], len(batch)) for one in self._members]
        frozen = next((one.frozen for one in seen if one.frozen is not None), None)
        if self._observer:
            frozen = self._observer.forward(collated[id(self._observer.encoding)]).frozen
        none = np.zeros((len(batch), 0, len(self.labels.labels)), dtype=np.float32)
        votes = np.concatenate([none, *(one.votes for one in seen)], axis=1)
        for row, one in enumerate(batch):
            if one.silent:
                votes[row, list(one.silent)] = np.nan
        notes = [one.note for one in batch]
        return Evidence(
            votes,
            tuple(view for one in seen for view in one.features),
            frozen,
            np.array(notes) if any(notes) else None,
        )

    def _hear(self, one: Specialist, batch: Any, size: int) -> Evidence:
        """What a member says; one that fails, which only code in a sandbox does, is not heard."""
        try:
            return one.forward(batch)
        except SpecialistUnavailable as error:
            problem = str(error)
            _log.warning("%s", problem)
            if problem not in self.problems:
                self.problems.append(problem)
            return Evidence(np.full((size, 1, len(self.labels.labels)), np.nan, dtype=np.float32))

    def observe(self, texts: Sequence[str]) -> Evidence:
        """Votes (texts, members, labels), NaN for labels a member does not know, and features."""
        seen = in_batches(self.encode(texts), self.forward)
        return seen or self.forward(self.encode(["."])).rows([])

    def decide(self, texts: Sequence[str], rule: DecisionRule) -> list[Decision]:
        """Decide each text, in order, by a rule; texts without a word abstain."""
        decisions = [abstain("no usable text", hard=False) for _ in texts]
        usable = [i for i, text in enumerate(texts) if text.strip()]
        evidence = self.observe([texts[i] for i in usable])
        for i, decision in zip(usable, rule.decide(evidence, self.names, self.labels), strict=True):
            decisions[i] = decision
        return decisions


def _distinct(encodings: Sequence[Encoding]) -> list[Encoding]:
    return list({id(encoding): encoding for encoding in encodings}.values())


def _has_similarity(members: Iterable[Specialist]) -> bool:
    """Whether a member gives the frozen view, as it votes by it."""
    return any(isinstance(one, Similarity) for one in members)


def checkpoint_folder(ref: SpecialistRef, folders: Mapping[str, Path]) -> Path | None:
    """The folder of a member's checkpoint, None for the model as published."""
    if ref.checkpoint is None:
        return None
    if ref.name not in folders:
        raise SpecialistUnavailable(
            ref.source, f"checkpoint {ref.checkpoint} is missing", "roll back to an earlier version"
        )
    return folders[ref.name]
