"""Decisions from stored evidence: one control of a project at one tag, without any model.

Only evidence of the text that a task has now counts.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from backend.evidence_store import Row, text_hash
from backend.label_config import Control
from backend.wiring import Wiring
from specialists.decision import DecisionRule
from specialists.evidence import Evidence
from specialists.types import Decision
from specialists.value_rule import ValueRule
from training.errors import CheckpointDamaged


@dataclass(frozen=True)
class Stored:
    """What is stored of one control at one tag."""

    wiring: Wiring
    project_id: int
    control: Control
    tag: str

    @property
    def learns(self) -> bool:
        """Whether the rule of this control is one that learns from verdicts."""
        return self.wiring.rules.name(self.project_id, self.control.labels) == "value"

    @property
    def fits(self) -> bool:
        """Whether the tag's committee answers with the labels that the control has.

        Not so while a label config changes: evidence then is of other labels.
        """
        try:
            part = self.wiring.committees.manifest(self.tag).controls.get(self.control.name)
        except CheckpointDamaged:
            return True  # nobody can tell
        return part is not None and part.labels.names == self.control.labels.names

    def rows(self, task_ids: Collection[int]) -> list[Row]:
        """The rows of some tasks."""
        if not self.fits:
            return []
        return self.wiring.evidence.read(self.project_id, self.control.name, self.tag, task_ids)

    def chunks(self) -> Iterator[list[Row]]:
        """All rows, some at a time."""
        if self.fits:
            yield from self.wiring.evidence.chunks(self.project_id, self.control.name, self.tag)

    def rows_of(self, texts: Mapping[int, str]) -> list[Row]:
        """The rows of tasks whose texts, by task id, are the ones that were observed."""
        return [row for row in self.rows(texts) if text_hash(texts[row.task_id]) == row.text_hash]

    def rule(self, members: Sequence[str]) -> DecisionRule:
        """The rule as it is now."""
        return self.wiring.rules.rule(
            self.project_id, self.control.name, self.tag, self.control.labels, len(members)
        )

    def decisions(self, rows: Sequence[Row]) -> list[Decision]:
        """Decide rows as `read` or `chunks` of the store gave them."""
        if not rows:
            return []
        members = rows[0].members
        return self.rule(members).decide(unpack(rows), members, self.control.labels)

    def value_rule(self, rows: Sequence[Row]) -> ValueRule | None:
        """The rule that weighs the LLM's answers, None where the paper's decides."""
        rule = self.rule(rows[0].members) if rows else None
        return rule if isinstance(rule, ValueRule) else None


def unpack(rows: Sequence[Row]) -> Evidence:
    """The evidence of rows, one after the other."""
    return Evidence.unpack([row.evidence for row in rows])
