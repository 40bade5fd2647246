"""The vocabulary that every package shares: labels, votes, decisions, verdicts.

Frozen dataclasses only: no torch, no I/O, no Redis. Words are those of docs/concepts.md.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

VerdictSource = Literal["llm", "human"]


@dataclass(frozen=True)
class Label:
    """One label of a project and the other spellings under which it is known."""

    name: str
    synonyms: tuple[str, ...] = ()


@dataclass(frozen=True)
class LabelSet:
    """The labels of one control; `multiple` when a text may carry several."""

    labels: tuple[Label, ...]
    multiple: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The label names in the project's order."""
        return tuple(label.name for label in self.labels)

    def allows(self, said: Collection[str]) -> bool:
        """Whether labels are an answer: known ones, and a single one unless it is `multiple`."""
        return bool(said) and set(said) <= set(self.names) and (self.multiple or len(said) == 1)

    def to_json(self) -> dict[str, Any]:
        """A plain JSON form, read back by `from_json`."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> LabelSet:
        """Read what `to_json` wrote."""
        labels = tuple(Label(row["name"], tuple(row["synonyms"])) for row in data["labels"])
        return cls(labels, bool(data["multiple"]))


@dataclass(frozen=True)
class SpecialistRef:
    """Where one member of a committee comes from and how its labels map to the project's.

    `source` is `embedded:<name>`, a Hub id or a local folder; `checkpoint` names a folder in the
    model store and is None for the model as published; `label_map` goes from the specialist's own
    labels to the project's.
    """

    name: str
    source: str
    label_map: Mapping[str, str]
    checkpoint: str | None = None

    def to_json(self) -> dict[str, Any]:
        """A plain JSON form, read back by `from_json`."""
        return {**self.__dict__, "label_map": dict(self.label_map)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> SpecialistRef:
        """Read what `to_json` wrote."""
        return cls(data["name"], data["source"], dict(data["label_map"]), data["checkpoint"])


@dataclass(frozen=True)
class MemberVote:
    """What one member said: its label(s) and the probability it gives them (0..1)."""

    member: str
    labels: tuple[str, ...]
    probability: float


@dataclass(frozen=True)
class Decision:
    """The committee's answer to one text.

    `labels` is empty when the committee abstains; `confidence` (0..1) is the pooled probability
    of the answer; `probabilities` are pooled, shape (labels,), in the label set's order. `gain` is
    how much more likely a right answer becomes by asking the LLM (0..1); `heads` say what was
    learned from this project's verdicts so far, one a view of the text.
    """

    labels: tuple[str, ...]
    confidence: float
    hard: bool
    reason: str
    probabilities: tuple[float, ...] = ()
    votes: tuple[MemberVote, ...] = ()
    gain: float = 0.0
    heads: tuple[MemberVote, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """The reviewed answer to one text under one control.

    `author` is the LLM's model id or the annotator's user id; `annotation_id` is set for people's
    answers only; `at` is seconds since the epoch. Of an LLM's verdict `answer` is what it said and
    `labels` what follows from that and from the committee's votes, right with probability `chance`;
    `confidence` (0..1) is how sure the LLM itself was, where that is known. `ground_truth` is a
    person's word that an answer is the right one; `chance` is never stored of a person's, it is
    given to what several say together.
    """

    task_id: int
    control: str
    text: str = field(repr=False)
    labels: tuple[str, ...]
    source: VerdictSource
    author: str
    at: float
    reason: str = field(default="", repr=False)
    annotation_id: int | None = None
    answer: tuple[str, ...] = ()
    chance: float | None = None
    confidence: float | None = None
    ground_truth: bool = False

    def to_json(self) -> dict[str, Any]:
        """A plain JSON form, read back by `from_json`."""
        return {**self.__dict__, "labels": list(self.labels), "answer": list(self.answer)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Verdict:
        """Read what `to_json` wrote."""
        lists = {"labels": tuple(data["labels"]), "answer": tuple(data.get("answer", ()))}
        return cls(**{**data, **lists})
