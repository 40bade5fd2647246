"""Predictions as Label Studio stores them, built from decisions and verdicts.

Knows the JSON of regions and predictions and the sentences that people read beside them. Knows
nothing of HTTP, tasks or annotations. The score is what uncertainty sampling and the Data Manager
sort by: always a number in 0..1, the lowest served first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backend.label_config import Control
from specialists.types import Decision, MemberVote, Verdict

VERDICT_SCORE = 1.0
"""A reviewed answer needs people least, so uncertainty sampling serves it last."""

_DIGITS = 4
_ID_CHARACTERS = 10


@dataclass(frozen=True)
class Part:
    """What is known about one control of a task; a verdict wins over the decision."""

    control: Control
    decision: Decision
    verdict: Verdict | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels to show; empty when the committee abstains."""
        return self.verdict.labels if self.verdict else self.decision.labels

    @property
    def score(self) -> float:
        """How little this answer needs a person, 0..1; 0 when the committee abstains."""
        if self.verdict:
            return VERDICT_SCORE
        return _probability(self.decision.confidence) if self.decision.labels else 0.0


def prediction(tag: str, parts: Sequence[Part]) -> dict[str, Any]:
    """Build one prediction over all controls of a task; its score is that of the weakest part.

    Controls without an answer get no region. Answers that share a rationale field share its text.
    """
    answers = [
        region(part.control, part.labels, part.score, _meta(part)) for part in parts if part.labels
    ]
    score = min((part.score for part in parts), default=0.0)
    return {"model_version": tag, "score": score, "result": answers + _rationales(parts)}


def region(
    control: Control, labels: Sequence[str], score: float, meta: Mapping[str, Any]
) -> dict[str, Any]:
    """Build one answered control; its id depends on its content alone."""
    return {
        "id": _region_id(control.name, control.to_name, *labels),
        "from_name": control.name,
        "to_name": control.to_name,
        "type": "choices",
        "value": {"choices": list(labels)},
        "score": score,
        "meta": dict(meta),
    }


def rationale(part: Part) -> str:
    """Say in one sentence why a label is proposed; empty when nothing is proposed."""
    if part.verdict:
        return f"{part.verdict.reason.strip() or 'Reviewed'} — {part.verdict.author}"
    decision = part.decision
    if not decision.labels:
        return ""
    if not decision.votes:
        return decision.reason
    agreeing = sum(set(vote.labels) == set(decision.labels) for vote in decision.votes)
    count = f"{agreeing} of {len(decision.votes)}"
    if decision.hard:
        said = ", ".join(decision.labels)
        return f"Committee unsure: {count} say {said}; waiting for review"
    return f"Committee: {count} agree ({decision.confidence:.2f})"


def decision_of(result: Sequence[Mapping[str, Any]], control: Control) -> Decision:
    """Read a decision back from the regions of a prediction that we made.

    Its votes survive a verdict; pooled probabilities are not stored and stay empty.
    """
    for one in result:
        if one.get("from_name") == control.name and one.get("type") == "choices":
            meta = one.get("meta") or {}
            votes = tuple(
                MemberVote(row["member"], tuple(row["labels"]), row["probability"])
                for row in meta.get("votes", ())
            )
            labels = tuple(one["value"]["choices"])
            return Decision(
                labels,
                float(one.get("score") or 0.0),
                bool(meta.get("hard")),
                str(meta.get("reason", "")),
                votes=votes,
            )
    return Decision((), 0.0, False, "the committee abstains")


def shows(result: Sequence[Mapping[str, Any]], control: str, labels: Sequence[str]) -> bool:
    """Whether a prediction shows these labels as the LLM's verdict."""
    for one in result:
        if one.get("from_name") == control and one.get("type") == "choices":
            meta = one.get("meta") or {}
            return meta.get("source") == "llm" and one["value"]["choices"] == list(labels)
    return False


def _meta(part: Part) -> dict[str, Any]:
    """Collect what travels inside a region: the votes, the reason, and who answered."""
    votes = [
        {
            "member": vote.member,
            "labels": list(vote.labels),
            "probability": _probability(vote.probability),
        }
        for vote in part.decision.votes
    ]
    if part.verdict is None:
        return {
            "votes": votes,
            "reason": part.decision.reason,
            "source": "committee",
            "hard": part.decision.hard,
        }
    who = "model" if part.verdict.source == "llm" else "annotator"
    return {
        "votes": votes,
        "reason": part.verdict.reason,
        "source": part.verdict.source,
        who: part.verdict.author,
    }


def _rationales(parts: Sequence[Part]) -> list[dict[str, Any]]:
    """Build the rationale regions, one per rationale field."""
    fields: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for part in parts:
        text = rationale(part)
        if part.control.rationale and text:
            field = (part.control.rationale, part.control.to_name)
            fields.setdefault(field, []).append((part.control.name, text))
    return [_text_region(name, to_name, texts) for (name, to_name), texts in fields.items()]


def _text_region(name: str, to_name: str, texts: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Build a TextArea region from (control, sentence) pairs, in one entry."""
    several = len(texts) > 1
    lines = [f"{control}: {text}" if several else text for control, text in texts]
    return {
        "id": _region_id(name, to_name, *lines),
        "from_name": name,
        "to_name": to_name,
        "type": "textarea",
        "value": {"text": ["\n".join(lines)]},
    }


def _region_id(*parts: str) -> str:
    """Derive a short id: the same answer always has the same one."""
    return hashlib.sha256("\x00".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[
        :_ID_CHARACTERS
    ]


def _probability(value: float) -> float:
    """Round and clip to 0..1; what is not a number counts as 0."""
    return round(min(1.0, max(0.0, value)), _DIGITS) if value == value else 0.0
