"""What the value rule is compared with: the paper's rule, with and without its training, and
routing by mean confidence. An LLM answer is taken as it is; without one the committee's stands.
"""

from __future__ import annotations

import math
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.replay.data import Replay
from benchmarks.replay.members import Team
from benchmarks.replay.stream import Indices, Mask
from specialists.chances import first_probabilities
from specialists.committee import Committee
from specialists.decision import PaperRule
from specialists.evidence import Evidence
from training.fine_tune import Example, fine_tune
from training.params import FineTuneParams

CHUNKS = 6
EPOCHS = 2


@dataclass(frozen=True, eq=False)
class Labelled:
    """Labels (n,) and which rows the LLM was asked about (n,)."""

    labels: Indices
    asked: Mask

    @property
    def share(self) -> float:
        """Calls a row."""
        return float(self.asked.mean())


def by_confidence(evidence: Evidence, llm: Indices, share: float) -> Labelled:
    """Ask about the `share` of rows where the mean vote is least sure."""
    probabilities = first_probabilities(evidence)
    asked = np.zeros(len(evidence), dtype=bool)
    order = np.argsort(probabilities.max(axis=1), kind="stable")
    asked[order[: math.floor(share * len(evidence) + 1e-9)]] = True
    return _with_llm(probabilities.argmax(axis=1), asked, llm)


def by_paper(team: Team, evidence: Evidence, llm: Indices) -> Labelled:
    """Majority vote; whatever is not unanimous is asked (arXiv 2506.16393, section 3)."""
    decisions = PaperRule().decide(evidence, team.committee.names, team.committee.labels)
    index = {name: i for i, name in enumerate(team.committee.labels.names)}
    votes = np.array([index[d.labels[0]] if d.labels else -1 for d in decisions], dtype=np.intp)
    return _with_llm(votes, np.array([decision.hard for decision in decisions]), llm)


def by_paper_finetuned(
    team: Team, replay: Replay, evidence: Evidence, llm: Indices, seed: int
) -> Labelled:
    """The paper's stages: each chunk's hard samples, as the LLM labelled them, train the members.

    They go on from the last weights, without replay or gate, and vote on the next chunk.
    """
    labels, asked = np.full(len(replay), -1), np.zeros(len(replay), dtype=bool)
    chunks = np.array_split(np.random.default_rng(seed).permutation(len(replay)), CHUNKS)
    with tempfile.TemporaryDirectory(prefix="aa-replay-") as folder:
        observe = None
        for number, chunk in enumerate(chunks):
            texts = [replay.texts[i] for i in chunk]
            seen = observe(texts) if observe else evidence.rows(chunk)
            found = by_paper(team, seen, llm[chunk])
            labels[chunk], asked[chunk] = found.labels, found.asked
            hard = chunk[found.asked & (llm[chunk] >= 0)]
            if len(hard) and number + 1 < CHUNKS:
                team = _trained(team, replay, hard, llm[hard], Path(folder) / str(number), seed)
                observe = team.committee.observe
    return Labelled(labels, asked)


def _trained(team: Team, replay: Replay, rows: Indices, llm: Indices, out: Path, seed: int) -> Team:
    """The team after one stage on these rows."""
    texts = [replay.texts[i] for i in rows]
    if team.made:
        made = tuple(member.continued(texts, llm, seed) for member in team.made)
        named = list(zip(team.committee.names, made, strict=True))
        return replace(team, made=made, committee=Committee(replay.labels, named))
    examples = [
        Example(text, (replay.labels.names[label],)) for text, label in zip(texts, llm, strict=True)
    ]
    params = FineTuneParams(epochs=EPOCHS, seed=seed)
    folders = {}
    for ref in team.refs:
        folders[ref.name] = out / ref.name
        before = team.folders.get(ref.name)
        fine_tune(ref, replay.labels, before, examples, folders[ref.name], params)
    refs = [replace(ref, checkpoint=str(out.name)) for ref in team.refs]
    committee = Committee.load(refs, replay.labels, folders)
    return replace(team, committee=committee, folders=folders)


def _with_llm(labels: Indices, asked: Mask, llm: Indices) -> Labelled:
    return Labelled(np.where(asked & (llm >= 0), llm, labels), asked)
