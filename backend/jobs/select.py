"""The select job: what one candidate answers to the texts of a selection, in its own labels.

A part is one candidate, so that several workers share a selection. Which map its labels get, and
whether it becomes a member, is decided from the votes alone, where the selection was started.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from backend.lease import Lease, LeaseLost
from backend.selections import ATTEMPTS
from backend.wiring import Wiring
from meta_controller.candidates import Candidate
from meta_controller.label_maps import OwnVotes
from specialists.errors import SpecialistError
from specialists.types import Label, LabelSet, SpecialistRef
from training.errors import TrainingError

logger = logging.getLogger(__name__)


def work(wiring: Wiring, project_id: int, lease: Lease, part: str) -> str:
    """Measure the candidate `part` (`<run>-<key>`) unless that is done."""
    run_id, key = part.split("-")
    selections = wiring.selections(project_id)
    run = selections.run()
    if run is None or run.id != run_id or key not in selections.open(run):
        return "That selection is over."
    candidate, why = run.candidates[key], ""
    try:
        if selections.attempt(run, key) > ATTEMPTS:
            why = f"its worker was killed {ATTEMPTS} times"
        else:
            own = _votes(wiring, candidate, run.texts)
            lease.transaction(lambda pipe: selections.measured(run, key, own, pipe))
            return f"{candidate.id} measured on {len(run.texts)} texts."
    except LeaseLost:
        raise
    except (SpecialistError, TrainingError) as error:
        why = str(error)
    except Exception as error:  # a model may fail in any way; the others go on
        logger.exception("project %d: %s failed", project_id, candidate.id)
        why = f"{type(error).__name__}, see the log of the push worker"
    lease.transaction(lambda pipe: selections.failed(run, key, why, pipe))
    return f"{candidate.id}: {why}"


def _votes(wiring: Wiring, candidate: Candidate, texts: Sequence[str]) -> OwnVotes:
    """Load a candidate as a member would be loaded, and let it answer in its own labels."""
    labels = tuple(dict.fromkeys(candidate.labels))
    ref = SpecialistRef(candidate.id, candidate.source, {name: name for name in labels})
    folder = wiring.store.open(candidate.checkpoint) if candidate.checkpoint else None
    own = LabelSet(tuple(Label(name) for name in labels))
    seen = wiring.models.specialist(ref, own, folder).observe(texts)
    independent = candidate.origin != "generated" and _independent(wiring, candidate, folder)
    return OwnVotes(labels, seen.votes[:, 0].astype(np.float64), independent)


def _independent(wiring: Wiring, candidate: Candidate, folder: Path | None) -> bool:
    """Whether a model gives each of its labels a probability of its own."""
    from specialists.loading import find_parts, open_config

    parts = find_parts(candidate.source, folder, wiring.settings.models / "converted")
    return bool(open_config(parts).problem_type == "multi_label_classification")
