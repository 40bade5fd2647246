"""The names that a project's labels and controls had before: verdicts and annotations keep them.

A plain value, stored by the backend as JSON; and what follows from it for verdicts.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from specialists.types import LabelSet, Verdict
from training.label_change import Change


@dataclass(frozen=True)
class LabelNames:
    """Old names: `controls` to those of now, `labels` of each control of now likewise."""

    controls: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def control(self, name: str) -> str:
        """The name of now of a control."""
        return self.controls.get(name, name)

    def now(self, control: str, said: Iterable[str], labels: LabelSet) -> tuple[str, ...]:
        """What was said, in the names of now, each once; a name that is in use means itself."""
        old = self.labels.get(control, {})
        names = (name if name in labels.names else old.get(name, name) for name in said)
        return tuple(dict.fromkeys(names))

    def changed(self, changes: Iterable[Change]) -> LabelNames:
        """These names after a change: what was renamed before has its newest name."""
        controls, labels = dict(self.controls), {n: dict(old) for n, old in self.labels.items()}
        for change in changes:
            if change.before and change.before != change.control:
                moved = {change.before: change.control}
                controls = {old: moved.get(new, new) for old, new in controls.items()} | moved
                labels[change.control] = labels.pop(change.before, {})
            controls.pop(change.control, None)
            known = labels.get(change.control, {})
            known = {old: change.renamed.get(new, new) for old, new in known.items()}
            known |= change.renamed
            # One that has its old name back needs no other.
            labels[change.control] = {old: new for old, new in known.items() if old != new}
        return LabelNames(controls, {name: old for name, old in labels.items() if old})

    def verdict(self, verdict: Verdict) -> Verdict:
        """A verdict of before whose control has another name now."""
        name = self.control(verdict.control)
        return verdict if name == verdict.control else replace(verdict, control=name)

    def to_json(self) -> str:
        """A JSON text, read back by `from_json`."""
        return json.dumps({"controls": self.controls, "labels": self.labels})

    @classmethod
    def from_json(cls, raw: str | None) -> LabelNames:
        """Read what `to_json` wrote; nothing was renamed where there is nothing."""
        row: Any = json.loads(raw) if raw else {}
        return cls(**row)


def fits(verdict: Verdict, labels: LabelSet | None) -> bool:
    """Whether a verdict says what can be said under a control's labels; None: it is gone."""
    if labels is None or not labels.allows(verdict.labels):
        return False
    return set(verdict.answer) <= set(labels.names)


def current(verdict: Verdict, names: LabelNames, now: Mapping[str, LabelSet]) -> Verdict:
    """A verdict in the names of now."""
    verdict = names.verdict(verdict)
    labels = now.get(verdict.control)
    if labels is None:
        return verdict
    return replace(
        verdict,
        labels=names.now(verdict.control, verdict.labels, labels),
        answer=names.now(verdict.control, verdict.answer, labels),
    )
