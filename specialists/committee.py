"""The committee: members that vote on texts.

It knows specialists as things that vote, and rules as things that turn votes into decisions; a
member that cannot be loaded is left out and told in `problems`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from specialists.decision import DecisionRule, abstain
from specialists.errors import SpecialistUnavailable
from specialists.evidence import Evidence
from specialists.loading import load, load_embedder
from specialists.transformer import Specialist
from specialists.types import Decision, LabelSet, SpecialistRef

_log = logging.getLogger(__name__)


class Committee:
    """Specialists of one control; safe to ask from several threads."""

    def __init__(
        self,
        labels: LabelSet,
        members: Sequence[tuple[str, Specialist]],
        problems: Sequence[str] = (),
        observer: Specialist | None = None,
    ) -> None:
        """Join members; `observer` gives features alone, for a committee that has no member."""
        self.labels = labels
        self.names = tuple(name for name, _ in members)
        self.problems = list(problems)
        self._members = tuple(specialist for _, specialist in members)
        self._observer = observer

    @classmethod
    def load(
        cls,
        refs: Sequence[SpecialistRef],
        labels: LabelSet,
        folders: Mapping[str, Path],
        device: str,
        converted: Path | None = None,
    ) -> Committee:
        """Load what can be loaded; `folders` has the checkpoint folder by member name.

        The reasons of members left out are in `problems`. `converted` is as in `loading.load`. A
        committee without members sees texts with the embedded base model, so that it can learn.
        """
        members: list[tuple[str, Specialist]] = []
        problems: list[str] = []
        for ref in refs:
            try:
                folder = _checkpoint_folder(ref, folders)
                members.append((ref.name, load(ref, labels, folder, device, converted)))
            except SpecialistUnavailable as error:
                _log.warning("%s: left out of the committee: %s", ref.name, error)
                problems.append(str(error))
        observer = None if members else load_embedder(labels, device)
        return cls(labels, members, problems, observer)

    def observe(self, texts: Sequence[str]) -> Evidence:
        """Votes (texts, members, labels), NaN for labels a member does not know, and features."""
        seen = [member.observe(texts) for member in self._members]
        if self._observer is not None:
            seen.append(self._observer.observe(texts))
        none = np.zeros((len(texts), 0, len(self.labels.labels)), dtype=np.float32)
        return Evidence(
            np.concatenate([none, *(one.votes for one in seen)], axis=1),
            tuple(view for one in seen for view in one.features),
        )

    def decide(self, texts: Sequence[str], rule: DecisionRule) -> list[Decision]:
        """Decide each text, in order, by a rule; texts without a word abstain."""
        decisions = [abstain("no usable text", hard=False) for _ in texts]
        usable = [i for i, text in enumerate(texts) if text.strip()]
        evidence = self.observe([texts[i] for i in usable])
        for i, decision in zip(usable, rule.decide(evidence, self.names, self.labels), strict=True):
            decisions[i] = decision
        return decisions


def _checkpoint_folder(ref: SpecialistRef, folders: Mapping[str, Path]) -> Path | None:
    """The folder of a member's checkpoint, None for the model as published."""
    if ref.checkpoint is None:
        return None
    if ref.name not in folders:
        raise SpecialistUnavailable(
            ref.source, f"checkpoint {ref.checkpoint} is missing", "roll back to an earlier version"
        )
    return folders[ref.name]
