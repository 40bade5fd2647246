"""`python -m backend labels`: the labels of a project, what is set aside, and what was renamed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from backend.errors import BackendError
from backend.label_config import parse
from backend.projects import Project
from backend.wiring import Wiring
from training.label_change import Change
from training.model_store import ControlCommittee

Say = Callable[[str], None]


class LabelsError(BackendError):
    """A label cannot be renamed like this; the message says what can."""


def show(wiring: Wiring, project: Project, say: Say) -> None:
    """Print each control's labels, their old names, and the verdicts that are set aside."""
    names = wiring.committees.label_names(project.id)
    for control in parse(project.label_config):
        say(f"{control.name}: {', '.join(control.labels.names)}")
        for old, new in names.labels.get(control.name, {}).items():
            say(f"  {old} is called {new} now")
    for old, new in names.controls.items():
        say(f"The control {old} is called {new} now")
    aside = Counter(
        (v.control, label) for v in wiring.pool(project.id).aside() for label in v.labels
    )
    for (name, label), count in sorted(aside.items()):
        say(f"{name}: {count} verdicts that say {label} are set aside")
    if aside:
        say(
            "They come back when the label config allows them. If a label was renamed: "
            f"python -m backend labels --project {project.id} --rename OLD=NEW"
        )


def rename(wiring: Wiring, project: Project, old: str, new: str, say: Say) -> None:
    """Take a label that is gone for another's old name: verdicts, annotations and members follow.

    Raises:
        LabelsError: The old name is still a label, or the new one is none.
    """
    controls = parse(project.label_config)
    tag = wiring.committees.ensure(project.id, controls)
    served = wiring.committees.manifest(tag)
    fitting = {
        name: one
        for name, one in served.controls.items()
        if new in one.labels.names and old not in one.labels.names
    }
    if not fitting:
        listed = "; ".join(f"{n}: {', '.join(c.labels.names)}" for n, c in served.controls.items())
        raise LabelsError(
            f"{old!r} cannot be taken for {new!r}: OLD must be no label of the project any more, "
            f"NEW must be one. Its labels are {listed}."
        )
    moved = {name: _renamed(one, old, new) for name, one in fitting.items()}
    changes = {name: Change(name, name, renamed={old: new}) for name in moved}
    manifest = replace(served, parent=tag, controls={**served.controls, **moved})
    now = wiring.committees.change(project.id, manifest, changes)
    wiring.queues.wake("labels", project.id)
    say(f"{', '.join(moved)}: {old!r} is read as {new!r} from now on; {now} is served.")


def _renamed(committee: ControlCommittee, old: str, new: str) -> ControlCommittee:
    """A committee whose members' outputs for the old label are votes for the new one."""
    members = tuple(
        replace(
            ref,
            label_map={own: new if name == old else name for own, name in ref.label_map.items()},
        )
        for ref in committee.members
    )
    return ControlCommittee(committee.labels, members)
