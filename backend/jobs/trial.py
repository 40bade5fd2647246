"""A trial: what a committee answers to held-out verdicts as it would be served, its rule learned.

The rule is refitted as it would be after a promotion (jobs/refit.py), and each text is answered as
if its own verdict were not among what the rule has learned. Nothing of it is kept but evidence.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from backend.evidence_store import text_hash
from backend.jobs.known import facts, observe_verdicts
from backend.jobs.learned import Learned, learn
from backend.jobs.stored import Stored
from backend.label_config import parse
from backend.wiring import Wiring
from specialists.chances import Array
from specialists.types import Decision
from specialists.value_rule import MIN_GAIN, ValueRule
from training.model_store import CommitteeManifest


def answers(
    wiring: Wiring,
    project_id: int,
    manifest: CommitteeManifest,
    control: str,
    texts: Sequence[str],
    since: float,
) -> list[Decision]:
    """What the committee of a saved manifest answers to texts with verdicts.

    It was trained at `since`: 0.0 is never, infinity after all verdicts. Where the rule learns
    nothing, it decides as before any verdict.
    """
    learned = _learned(wiring, project_id, manifest, control, since)
    if learned is None:
        return wiring.committees.evaluate(manifest, control, texts)
    if not texts:
        return []
    names, rule = learned.stored.control.labels.names, ValueRule(learned.state)
    chances = np.stack(_chances(wiring, learned, texts))
    gains = rule.gains(chances)
    return [_decision(names, *row) for row in zip(chances, gains, strict=True)]


def _learned(
    wiring: Wiring, project_id: int, manifest: CommitteeManifest, control: str, since: float
) -> Learned | None:
    """The rule that the committee would have now; None where it has nothing to learn from."""
    tag, project = wiring.store.save_committee(manifest), wiring.projects.get(project_id)
    controls = parse(project.label_config) if project else ()
    mine = next((one for one in controls if one.name == control), None)
    if mine is None or mine.labels != manifest.controls[control].labels:
        return None
    stored = Stored(wiring, project_id, mine, tag)
    if not stored.learns:
        return None
    rows = observe_verdicts(wiring, project_id, control, tag)
    known = facts(stored, wiring.pool(project_id).verdicts(), since, rows)
    return learn(stored, known, since, manifest.parent) if known else None


def _chances(wiring: Wiring, learned: Learned, texts: Sequence[str]) -> list[Array]:
    """The probabilities (labels,) of each text, left out of the fit where it was in it."""
    rows, stored = learned.facts.rows, learned.stored
    known = {
        row.text_hash: chances
        for row, chances in zip(rows, learned.refit.probabilities, strict=True)
    }
    others = [text for text in texts if text_hash(text) not in known]
    if others:
        committee = wiring.committees.committee(stored.tag, stored.control.name)
        found = ValueRule(learned.state).probabilities(committee.observe(others))
        known |= zip(map(text_hash, others), found, strict=True)
    return [known[text_hash(text)] for text in texts]


def _decision(names: Sequence[str], chances: Array, gain: float) -> Decision:
    best, hard = int(chances.argmax()), bool(gain >= MIN_GAIN)
    return Decision((names[best],), float(chances[best]), hard, "", tuple(chances.tolist()))
