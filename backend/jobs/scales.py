"""What the verdicts on a control of multiple choice teach its rule: each label's threshold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from backend.evidence_store import text_hash
from backend.jobs.known import facts, people_said, said_by_llm
from backend.jobs.stored import Stored
from specialists.rule_state import RuleState
from specialists.types import Verdict
from training.curriculum import LLM_WEIGHT, PEOPLE_WEIGHT
from training.scales import fit


def scales(stored: Stored, verdicts: Sequence[Verdict], since: float) -> RuleState | None:
    """The rule's new state, None where nothing is known; trained at `since`, see `known.facts`.

    A person's answer goes before the LLM's; a verdict without a label says that none fits.
    """
    known = facts(stored, verdicts, since)
    if known is None:
        return None
    names, people = stored.control.labels.names, people_said(verdicts, stored.control.name)
    rows, truth, weights = [], [], []
    for place, row in enumerate(known.rows):
        person, llm = people.get(row.task_id), known.verdicts.get(row.task_id)
        if person and text_hash(person.text) == row.text_hash:
            said, weight = person.labels, PEOPLE_WEIGHT
        elif llm:
            said, weight = said_by_llm(llm), LLM_WEIGHT
        else:
            continue
        rows.append(place)
        truth.append([name in said for name in names])
        weights.append(weight)
    if not rows:
        return None
    found = fit(known.known.evidence.rows(rows), np.array(truth), np.array(weights))
    first = RuleState.first(len(known.members), len(names))
    return None if found is None else replace(first, scales=found, verdicts=len(rows))
