"""The committee: members that vote on texts, and the rule that turns votes into decisions.

It knows specialists as things that vote and the rule as a thing that decides; a member that
cannot be loaded is left out and told in `problems`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from specialists.decision import DecisionRule, abstain
from specialists.errors import SpecialistUnavailable
from specialists.loading import load
from specialists.transformer import Specialist
from specialists.types import Decision, LabelSet, SpecialistRef

_log = logging.getLogger(__name__)


class Committee:
    """Specialists of one control; safe to ask from several threads."""

    def __init__(
        self,
        labels: LabelSet,
        members: Sequence[tuple[str, Specialist]],
        rule: DecisionRule,
        problems: Sequence[str] = (),
    ) -> None:
        self.labels = labels
        self.names = tuple(name for name, _ in members)
        self.problems = list(problems)
        self._members = tuple(specialist for _, specialist in members)
        self._rule = rule

    @classmethod
    def load(
        cls,
        refs: Sequence[SpecialistRef],
        labels: LabelSet,
        folders: Mapping[str, Path],
        device: str,
        rule: DecisionRule,
        converted: Path | None = None,
    ) -> Committee:
        """Load what can be loaded; `folders` has the checkpoint folder by member name.

        The reasons of members left out are in `problems`. `converted` is as in `loading.load`.
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
        return cls(labels, members, rule, problems)

    def votes(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Votes of shape (members, texts, labels); NaN for labels a member does not know."""
        shape = (len(self._members), len(texts), len(self.labels.labels))
        votes = np.full(shape, np.nan, dtype=np.float32)
        for row, specialist in enumerate(self._members):
            votes[row] = specialist.votes(texts)
        return votes

    def decide(self, texts: Sequence[str]) -> list[Decision]:
        """Decide each text, in order; texts without a word, and empty committees, abstain."""
        if not self._members:
            why = " ".join(["no specialist can vote here", *self.problems])
            return [abstain(why, hard=True) for _ in texts]
        decisions = [abstain("no usable text", hard=False) for _ in texts]
        usable = [i for i, text in enumerate(texts) if text.strip()]
        votes = self.votes([texts[i] for i in usable])
        for column, i in enumerate(usable):
            decisions[i] = self._rule.decide(votes[:, column], self.names, self.labels)
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
