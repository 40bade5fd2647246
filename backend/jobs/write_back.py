"""Write-back: predictions in Label Studio made to show what is known now.

A prediction is built anew from stored evidence, the rule and the verdict, and PATCHed in place.
Tasks that people annotated are never touched. What could not be patched stays on the list.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from backend import predictions
from backend.audit import is_audit
from backend.evidence_store import Shown
from backend.jobs import predicted
from backend.jobs.stored import Stored
from backend.label_config import Control, parse, text_of
from backend.lease import Lease
from backend.projects import Project
from backend.wiring import Wiring
from specialists.types import Decision, Verdict
from training.pool import Place

_AT_ONCE = 200

Row = Mapping[str, Any]


def write_back(wiring: Wiring, project: Project, lease: Lease) -> int:
    """Patch the predictions that are wanted; returns how many were patched."""
    desk = wiring.projects.desk(project.id)
    wanted = desk.wanted_patches()
    tag = wiring.promotions(project.id).served()
    if not wanted or not wiring.has_label_studio:
        return 0
    if tag is None:  # nothing is shown yet; the first predictions will show the verdicts
        lease.transaction(lambda pipe: desk.patched(wanted, pipe))
        return 0
    few = predicted.are_few(project, len(wanted))
    listed = None if few else predicted.listed(wiring, project, tag)
    patched = 0
    for start in range(0, len(wanted), _AT_ONCE):
        chunk = wanted[start : start + _AT_ONCE]
        patched += _Patches(wiring, project, tag, listed).show(chunk)

        def done(pipe: Any, chunk: Sequence[int] = chunk) -> None:
            desk.patched(chunk, pipe)

        lease.transaction(done)
    return patched


@dataclass(frozen=True)
class _Patches:
    """Patches of some tasks' predictions of one tag; `listed` has them if they were listed."""

    wiring: Wiring
    project: Project
    tag: str
    listed: Mapping[int, Sequence[Row]] | None

    def show(self, task_ids: Sequence[int]) -> int:
        """Patch those that differ; returns how many did."""
        share = self.wiring.settings.audit_share
        tasks = [
            task
            for task in self.wiring.label_studio.tasks(self.project.id, task_ids)
            if not task.get("total_annotations")
            and not is_audit(self.project.id, int(task["id"]), share)
        ]
        controls = parse(self.project.label_config)
        queue = self.wiring.projects.desk(self.project.id).places(self.tag)
        found = {c.name: self._decisions(c, tasks) for c in controls}
        places = [(int(task["id"]), c.name) for task in tasks for c in controls]
        verdicts = self.wiring.pool(self.project.id).llm_verdicts(places)

        def patch(task: Row) -> dict[str, Shown] | None:
            return self._patch(task, controls, found, verdicts, queue.get(int(task["id"])))

        with ThreadPoolExecutor(predicted.THREADS, "patch") as threads:
            shown = list(threads.map(patch, tasks))
        self._note(controls, tasks, shown)
        return sum(one is not None for one in shown)

    def _decisions(self, control: Control, tasks: Sequence[Row]) -> dict[int, Decision]:
        """What the committee's stored evidence says now, by task; only for unchanged texts."""
        stored = Stored(self.wiring, self.project.id, control, self.tag)
        rows = stored.rows_of({int(t["id"]): text_of(control, t["data"]) or "" for t in tasks})
        return {row.task_id: one for row, one in zip(rows, stored.decisions(rows), strict=True)}

    def _patch(
        self,
        task: Row,
        controls: Sequence[Control],
        found: Mapping[str, Mapping[int, Decision]],
        verdicts: Mapping[Place, Verdict],
        place: float | None,
    ) -> dict[str, Shown] | None:
        """Patch one task's prediction, keeping its version; what it shows now, by control.

        Without a stored prediction there is nothing to patch: the next one made shows it all.
        """
        task_id = int(task["id"])
        rows = self._rows(task_id)
        if not rows:
            return None
        row = max(rows, key=lambda one: int(one["id"]))  # reconcile keeps the newest, too
        parts = []
        for control in controls:
            decision = found[control.name].get(task_id)
            verdict = verdicts.get((task_id, control.name))
            if verdict and verdict.text != text_of(control, task["data"]):
                verdict = None
            known = decision or predictions.decision_of(row["result"], control)
            parts.append(predictions.Part(control, known, verdict))
        new = predictions.prediction(self.tag, parts, place)
        if new["result"] != row["result"] or new["score"] != row.get("score"):
            self.wiring.label_studio.patch_prediction(
                int(row["id"]),
                task=task_id,
                project=self.project.id,
                result=new["result"],
                score=new["score"],
                model_version=self.tag,
            )
        return {
            part.control.name: Shown(
                part.labels, part.score, part.verdict is None and part.decision.hard
            )
            for part in parts
        }

    def _rows(self, task_id: int) -> Sequence[Row]:
        if self.listed is not None:
            return self.listed.get(task_id, ())
        return predicted.of_task(self.wiring, self.tag, task_id)

    def _note(
        self,
        controls: Sequence[Control],
        tasks: Sequence[Row],
        shown: Sequence[Mapping[str, Shown] | None],
    ) -> None:
        """Remember what Label Studio shows, so that only what changes is patched next time."""
        for control in controls:
            now = {
                int(task["id"]): one[control.name]
                for task, one in zip(tasks, shown, strict=True)
                if one is not None
            }
            self.wiring.evidence.show(self.project.id, control.name, self.tag, now)
