"""Predictions as Label Studio stores them, built from decisions and verdicts.

Knows the JSON of regions and predictions and the sentences that people read beside them. Knows
nothing of HTTP, tasks or annotations. A region's score is how sure its answer is. A prediction's
score is what uncertainty sampling and the Data Manager sort by: always a number in 0..1, the lowest
served first. From 0 up come audits, then the head of the queue (`HEAD`), then all others by the
confidence of their weakest answer, and verdicts last.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backend.label_config import Control
from backend.regions import labels_of, type_of, value_of
from specialists.types import Decision, MemberVote, Verdict

VERDICT_SCORE = 1.0
"""A reviewed answer needs people least, so uncertainty sampling serves it last.

It is the score of verdicts whose chance of being right was not estimated.
"""

HEAD = 0.05
"""Scores below it are places at the head of the queue, given by how much an answer would teach
(jobs/queue_order.py); no other answer has less, however unsure it is.
"""

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
            chance = self.verdict.chance
            return VERDICT_SCORE if chance is None else _probability(chance)
        return _probability(self.decision.confidence) if self.decision.labels else 0.0


def prediction(tag: str, parts: Sequence[Part], place: float | None = None) -> dict[str, Any]:
    """Build one prediction over all controls of a task; `place` (0..HEAD) if it has one.

    Controls without an answer get no region. Answers that share a rationale field share its text.
    """
    answers = [
        region(part.control, part.labels, part.score, _meta(part)) for part in parts if part.labels
    ]
    return {
        "model_version": tag,
        "score": queue_score(parts, place),
        "result": answers + _rationales(parts),
    }


def queue_score(parts: Sequence[Part], place: float | None) -> float:
    """The lower, the sooner a person is asked: the place, else the weakest part's score.

    A task whose every answer is a verdict has lost its place.
    """
    if place is not None and not all(part.verdict for part in parts):
        return _probability(place)
    return max(HEAD, min((part.score for part in parts), default=0.0))


def unaided(tag: str) -> dict[str, Any]:
    """Build the prediction that shows nothing, so that a person answers unaided, and soon."""
    return {"model_version": tag, "score": 0.0, "result": []}


def region(
    control: Control, labels: Sequence[str], score: float, meta: Mapping[str, Any]
) -> dict[str, Any]:
    """Build one answered control; its id depends on its content alone."""
    return {
        "id": _region_id(control.name, control.to_name, *labels),
        "from_name": control.name,
        "to_name": control.to_name,
        "type": type_of(control.kind),
        "value": value_of(control.kind, control.name, labels),
        "score": score,
        "meta": dict(meta),
    }


def rationale(part: Part) -> str:
    """Say in one sentence why a label is proposed; empty when nothing is proposed."""
    if part.verdict:
        return _verdict_sentence(part.verdict, part.decision)
    decision = part.decision
    if not decision.labels:
        return ""
    if not decision.votes and not decision.heads:
        return decision.reason
    members, heads = (_agreeing(voices, decision) for voices in (decision.votes, decision.heads))
    if decision.hard:
        said = ", ".join(decision.labels)
        return f"Committee unsure: {members or heads} say {said}; waiting for review"
    counts = members and f"{members} specialists", heads and f"{heads} heads learned here"
    return f"Committee: {' and '.join(filter(None, counts))} agree ({decision.confidence:.2f})"


def _agreeing(voices: Sequence[MemberVote], decision: Decision) -> str:
    """How many of the voices say what was decided; empty when there are none."""
    agree = sum(set(voice.labels) == set(decision.labels) for voice in voices)
    return f"{agree} of {len(voices)}" if voices else ""


def _verdict_sentence(verdict: Verdict, decision: Decision) -> str:
    why = verdict.reason.strip() or "Reviewed"
    if overruled(verdict):
        said = ", ".join(verdict.answer)
        return f"The committee overrode the reviewer, which said {said}: {why} — {verdict.author}"
    if overrides_unanimous(verdict, decision):
        return f"{why} — {verdict.author}, overrode a unanimous committee"
    return f"{why} — {verdict.author}"


def overruled(verdict: Verdict) -> bool:
    """Whether the committee's votes outweighed what the LLM said."""
    return bool(verdict.answer) and set(verdict.answer) != set(verdict.labels)


def overrides_unanimous(verdict: Verdict, decision: Decision) -> bool:
    """Whether several members all said the same, and the verdict is another label."""
    said = {frozenset(vote.labels) for vote in decision.votes}
    return len(decision.votes) > 1 and len(said) == 1 and frozenset(verdict.labels) not in said


def decision_of(result: Sequence[Mapping[str, Any]], control: Control) -> Decision:
    """Read a decision back from the regions of a prediction that we made.

    It survives a verdict; pooled probabilities are not stored and stay empty.
    """
    for one in result:
        if one.get("from_name") == control.name and (shown := _known(one, control)):
            meta = one.get("meta") or {}
            # Beside a verdict the committee's own answer lies apart.
            own = meta.get("committee") or {
                **meta,
                "labels": shown,
                "chance": one.get("score"),
            }
            return Decision(
                labels=tuple(own["labels"]),
                confidence=float(own.get("chance") or 0.0),
                hard=bool(own.get("hard")),
                reason=str(own.get("reason", "")),
                votes=_voices(meta.get("votes", ())),
                gain=float(own.get("gain") or 0.0),
                heads=_voices(meta.get("heads", ())),
            )
    return Decision((), 0.0, False, "the committee abstains")


def fits(result: Sequence[Mapping[str, Any]], control: Control) -> bool:
    """Whether what a prediction says of a control is written as the label config wants it now.

    Labels may be the same while the kind of the control, or what it is about, is another.
    """
    return all(
        bool(said := _known(one, control))
        and (one.get("to_name"), one.get("type")) == (control.to_name, type_of(control.kind))
        and one.get("value") == value_of(control.kind, control.name, said)
        for one in result
        if one.get("from_name") == control.name
    )


def _known(one: Mapping[str, Any], control: Control) -> tuple[str, ...]:
    """The labels that a region shows; none when one is no label of the control."""
    said = labels_of(one)
    return said if set(said) <= set(control.labels.names) else ()


def shows(result: Sequence[Mapping[str, Any]], control: str, labels: Sequence[str]) -> bool:
    """Whether a prediction shows these labels as the LLM's verdict."""
    for one in result:
        if one.get("from_name") == control and (shown := labels_of(one)):
            meta = one.get("meta") or {}
            return meta.get("source") == "llm" and shown == tuple(labels)
    return False


def _meta(part: Part) -> dict[str, Any]:
    """Collect what travels inside a region: who said what, how sure, why, and who answered."""
    voices = {"votes": _rows(part.decision.votes), "heads": _rows(part.decision.heads)}
    decided = {
        "reason": part.decision.reason,
        "chance": _probability(part.decision.confidence),
        "gain": _probability(part.decision.gain),
        "hard": part.decision.hard,
    }
    verdict = part.verdict
    if verdict is None:
        return {**voices, **decided, "source": "committee"}
    return {
        **voices,
        "reason": verdict.reason,
        "source": verdict.source,
        "model" if verdict.source == "llm" else "annotator": verdict.author,
        "answer": list(verdict.answer or verdict.labels),
        "chance": None if verdict.chance is None else _probability(verdict.chance),
        "committee": {"labels": list(part.decision.labels), **decided},
    }


def _rows(voices: Sequence[MemberVote]) -> list[dict[str, Any]]:
    return [
        {
            "member": voice.member,
            "labels": list(voice.labels),
            "probability": _probability(voice.probability),
        }
        for voice in voices
    ]


def _voices(rows: Sequence[Mapping[str, Any]]) -> tuple[MemberVote, ...]:
    return tuple(
        MemberVote(row["member"], tuple(row["labels"]), row["probability"]) for row in rows
    )


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
