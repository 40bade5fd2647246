"""The labels job: after a label config changed, settle what was said under the labels of before.

Verdicts are renamed with their labels; those whose labels are gone are set aside, and come back
with them. Nothing is lost and nothing is guessed: the journal tells what happened, and how a label
that was really renamed is re-mapped. Killed at any line it is simply done again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from backend import agreement, report
from backend.jobs import reconcile
from backend.jobs.settle import settle
from backend.label_changes import LabelChanges
from backend.lease import Lease
from backend.wiring import Wiring
from specialists.types import Verdict
from training.label_change import Change


def work(wiring: Wiring, project_id: int, lease: Lease) -> str:
    """Settle the pool under the served labels, and tell what changed."""
    log = LabelChanges(wiring.redis, project_id)
    changes = log.waiting()
    settle(wiring, project_id)
    # All of them, not those that this run moved: a killed one told nothing.
    aside = wiring.pool(project_id).aside() if changes else []
    for sentence in _sentences(project_id, changes, aside):
        wiring.journal.error("labels", sentence, project_id)
    # Said of other labels, these help nobody any more.
    controls = {name for one in changes for name in (one.control, one.before) if name}

    def write(pipe: Any) -> None:
        for name in sorted(controls):
            report.forget(wiring, project_id, name, pipe)
        agreement.forget(wiring, project_id, sorted(controls), pipe)
        log.done(len(changes), pipe)
        pipe.delete(reconcile.done_key(project_id))  # it asks for what the new tag lacks

    lease.transaction(write)
    return f"{len(aside)} verdicts set aside after {len(changes)} changes of controls."


def _sentences(
    project_id: int, changes: Sequence[Change], aside: Sequence[Verdict]
) -> Iterator[str]:
    command = f"python -m backend labels --project {project_id}"
    for change in changes:
        for old, new in change.renamed.items():
            yield f"{change.control}: {old!r} is called {new!r} now; its verdicts and what was " + (
                "learned of it are kept."
                if old not in change.by_place
                else "learned of it are kept, as it alone took its place. If it is another label: "
                f"put {old!r} back, save, remove it, save, then add {new!r}."
            )
        if change.before not in ("", change.control):
            yield f"The control {change.before!r} is called {change.control!r} now."
        if change.added and change.before:
            yield (
                f"{change.control}: new labels {_listed(change.added)}; members learn them in the "
                "next stage that has verdicts with them."
            )
    counts = Counter((one.control, label) for one in aside for label in one.labels)
    for (control, label), count in sorted(counts.items()):
        yield (
            f"{control}: {count} verdicts that say {label!r} are set aside: the label config does "
            f"not allow them. They come back when it does. If the label was renamed: "
            f"{command} --rename {label}=NEW"
        )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names))
