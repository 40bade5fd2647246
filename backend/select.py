"""The command `select`: choose a project's specialists by measurement, show why, serve them.

Candidates are gathered here, measured by push workers (jobs/select.py) on the project's own texts,
judged from their votes (meta_controller/selection.py), shown, written to a file that can be edited,
and after a yes put up for promotion like a stage's committee: predictions first, then the switch;
`rollback` leads back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from backend import candidates, samples, selection_file, selection_table
from backend.approval import generated
from backend.candidates import Adviser
from backend.label_config import Control, parse
from backend.lease import Lease, LeaseHeld
from backend.measuring import NO_WORKER, measure
from backend.projects import Project
from backend.samples import Sample
from backend.selection_promotion import serve
from backend.selection_table import Table
from backend.selections import SelectError, key_of
from backend.wiring import Wiring
from meta_controller import label_maps, selection
from meta_controller.candidates import Candidate
from meta_controller.errors import MetaControllerError
from meta_controller.hub import Hub
from meta_controller.ranking import Brief
from meta_controller.selection import Ballot
from specialists import registry

Say = Callable[[str], None]
Named = tuple[str, Candidate]  # the name as a member, and what it is


@dataclass(frozen=True)
class Wish:
    """What the caller asks for; `file` is an edited selection that is served as it stands."""

    k: int = 3
    yes: bool = False
    offline: bool = False
    file: Path | None = None


def select(
    wiring: Wiring, project_id: int, wish: Wish, say: Say, confirm: Callable[[str], bool]
) -> int:
    """Choose, show and serve; returns the exit status (1 when nothing was served).

    Raises:
        SelectError: Unknown project, no texts, no candidate for its labels, no push worker.
        SelectionFileError: The edited file cannot be read.
        LabelStudioError: Label Studio does not answer or refuses the token.
    """
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()  # of config.json after config.json
    try:
        with wiring.lease(f"selection:{project_id}") as lease:
            return _Selection(wiring, project_id, wish, say, lease).run(confirm)
    except LeaseHeld:
        raise SelectError(f"Another select of project {project_id} runs; wait for it.") from None
    except MetaControllerError as error:
        raise SelectError(str(error)) from error


def confirm(question: str) -> bool:
    """Ask at the terminal; whoever says nothing says no."""
    try:
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False


class _Selection:
    """One run of the command."""

    def __init__(self, wiring: Wiring, project_id: int, wish: Wish, say: Say, lease: Lease) -> None:
        self._wiring = wiring
        self._id = project_id
        self._wish = wish
        self._say = say
        self._lease = lease
        self._project, self._description = _look_up(wiring, project_id)
        every = parse(self._project.label_config)
        self._controls = {one.name: one for one in every if not one.labels.multiple}
        if not self._controls:
            raise SelectError(
                "Only controls of one choice can be measured; of several choices none was chosen."
            )
        self._tag = wiring.committees.ensure(project_id, every)
        self._served = wiring.committees.manifest(self._tag)
        if not wiring.queues.workers()["push"]:
            raise SelectError(f"Nothing was begun: {NO_WORKER}.")

    def run(self, confirm: Callable[[str], bool]) -> int:
        """Choose for each control, show the tables, serve after a yes."""
        edited = self._edited()
        wanted = [one for name, one in self._controls.items() if not edited or name in edited]
        tables = [self._choose(one, edited.get(one.name)) for one in wanted]
        for table in tables:
            for line in selection_table.render(table):
                self._say(line)
        file = self._wish.file or self._file
        if self._wish.file is None:
            selection_file.write(file, self._id, tables)
            self._say(f"The table is in {file}. Edit members and label maps there, then:")
            self._say(f"  python -m backend select --project {self._id} --from {file}")
        if why := unservable(tables, self._wish):
            self._say(why)
            return 1
        if not (self._wish.yes or confirm(f"Serve this committee in project {self._id}?")):
            self._say("Nothing was changed.")
            return 1
        return serve(self._wiring, self._id, self._served, tables, self._say)

    @property
    def _file(self) -> Path:
        return self._wiring.settings.data_dir / "selections" / f"project-{self._id}.json"

    def _edited(self) -> dict[str, list[Named]]:
        """The members of the edited file by control; empty when none is given."""
        if self._wish.file is None:
            return {}
        own_labels = partial(candidates.own_labels, generated(self._wiring.settings))
        labels = {name: one.labels for name, one in self._controls.items()}
        return selection_file.read(self._wish.file, self._id, labels, own_labels)

    def _choose(self, control: Control, edited: list[Named] | None) -> Table:
        """Gather, measure and judge the candidates of one control."""
        sample = samples.take(self._wiring, self._id, control, self._tag)
        if not sample.texts:
            raise SelectError(
                f"Project {self._id} has no texts for {control.name}: import tasks, and connect it "
                f"with python -m backend connect --project {self._id}"
            )
        reasons: dict[str, str] = {}
        named = edited
        if named is None:
            found, reasons = self._gather(control, sample)
            named = _named(found)
        votes, unmeasured = measure(self._wiring, self._id, sample, named, self._lease, self._say)
        mapped = {
            name: label_maps.settle(
                votes[name], one.label_map, one.mapped_by, control.labels.names, sample.truth
            )
            for name, one in named
            if name in votes
        }
        table = _judged(control, sample, named, mapped, reasons, self._wish.k, edited is not None)
        served = self._served_accuracy(control, sample, named, mapped)
        return replace(table, unmeasured=unmeasured, served=served)

    def _gather(self, control: Control, sample: Sample) -> tuple[list[Candidate], dict[str, str]]:
        """Candidates at hand, then the Hub's; and what the LLM says of them."""
        wiring, brief = self._wiring, Brief(control.labels, self._description)
        members = self._served.controls[control.name].members
        found = candidates.at_hand(wiring, control, members, sample.trained)
        adviser = Adviser(wiring, self._id, self._lease, self._say)
        if not self._wish.offline:
            most_bytes = wiring.settings.memory_mb * 1e6 / self._wish.k
            verdicts = sample.truth is not None
            found += candidates.from_hub(Hub(), brief, control, adviser, most_bytes, verdicts)
        if not found:
            where = "among the models at hand" if self._wish.offline else "on the Hub or at hand"
            raise SelectError(_no_candidate(control, where))
        return list({key_of(one): one for one in reversed(found)}.values())[::-1], adviser.reasons

    def _served_accuracy(
        self,
        control: Control,
        sample: Sample,
        named: Sequence[Named],
        mapped: Mapping[str, label_maps.Mapped],
    ) -> float | None:
        """How often the served members are right together; None when not all were measured."""
        from specialists.decision import pool

        refs = self._served.controls[control.name].members
        keys = {(ref.source, ref.checkpoint if sample.trained else None) for ref in refs}
        votes = [
            mapped[name].votes
            for name, one in named
            if (one.source, one.checkpoint) in keys and name in mapped
        ]
        if sample.truth is None or not refs or len(votes) < len(refs):
            return None
        return float(label_maps.right(pool(np.stack(votes, axis=1)), sample.truth).mean())


def unservable(tables: Sequence[Table], wish: Wish) -> str:
    """Why nothing is served, whatever is answered; empty when it may be."""
    if wish.file is not None:
        missing = [name for table in tables for name in table.unmeasured]
        return f"Nothing is served: {missing[0]} could not be measured." if missing else ""
    for table in tables:
        why = ""
        if not table.members:
            why = "no candidate is worth a vote"
        elif table.accuracy is not None and table.accuracy < (table.served or 0.0):
            why = "the served members are better on these texts"
        elif table.as_published and wish.yes:
            why = "what the served members learned cannot be weighed here, so --yes is no yes"
        if why:
            return (
                f"Control {table.control}: {why}. Nothing is served; the file, given with "
                "--from, is served as it stands."
            )
    return ""


def _look_up(wiring: Wiring, project_id: int) -> tuple[Project, str]:
    """The project's record, brought up to date, and what its people wrote about it."""
    project = wiring.projects.get(project_id)
    if project is None or not project.label_config:
        raise SelectError(
            f"Project {project_id} is not connected; connect it first: "
            f"python -m backend connect --project {project_id}"
        )
    about = [project.title, project.guideline]
    if wiring.has_label_studio:
        remote = wiring.label_studio.project(project_id)
        project = wiring.projects.update(project_id, label_config=remote["label_config"])
        fields = ("title", "description", "expert_instruction")
        about = [str(remote.get(name) or "") for name in fields]
    return project, "\n".join(text for text in about if text)


def _named(found: Sequence[Candidate]) -> list[Named]:
    """Each candidate with the name that it would have as a member; equal ones are numbered."""
    named: list[Named] = []
    taken: set[str] = set()
    for one in found:
        name = short = registry.short_name(one.source)
        number = 1
        while name in taken:
            number += 1
            name = f"{short}-{number}"
        taken.add(name)
        named.append((name, one))
    return named


def _judged(
    control: Control,
    sample: Sample,
    named: Sequence[Named],
    mapped: Mapping[str, label_maps.Mapped],
    reasons: Mapping[str, str],
    k: int,
    as_it_stands: bool,
) -> Table:
    """The table; an edited selection keeps all its members, whatever was measured."""
    from specialists.decision import pool

    ballots = [Ballot(name, one.votes, one.doubt) for name, one in mapped.items()]
    if as_it_stands:
        choice = selection.as_given(ballots, sample.truth, pool)
    else:
        choice = selection.choose(ballots, sample.truth, k, pool)
    of = {one.name: one for one in choice.findings}
    rows = [
        selection_table.row(name, one, mapped[name], of[name], reasons.get(one.id, ""))
        for name, one in named
        if name in mapped
    ]
    return Table(
        control=control.name,
        rests_on=sample.rests_on,
        rows=selection_table.ordered(rows, choice),
        texts=choice.texts,
        source=sample.source,
        as_published=not sample.trained,
        accuracy=choice.accuracy,
        expected=choice.expected,
    )


def _no_candidate(control: Control, where: str) -> str:
    return (
        f"No candidate {where} knows two of the labels {', '.join(control.labels.names)}. Name "
        "equivalents in the labels' alias or predicted_values attributes, or start cold: leave the "
        "committee without members, it abstains at first and learns from the first answers."
    )
