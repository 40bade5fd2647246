"""Where those who label disagree strongly, and which pairs of labels a guideline leaves unclear.

Between people who are not outvoted, between the LLM and people, and between a committee of which
all members say the same and the LLM. Reads Redis and stored evidence; task ids, never task text.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from backend.jobs.known import people_said, said_by_llm
from backend.jobs.stored import Stored
from backend.label_config import Control, parse
from backend.projects import Project
from backend.wiring import Wiring
from specialists.types import Verdict
from training.consensus import Panel, panels

SETTLED = 0.9
"""What people say together with this chance (0..1) is no conflict between them any more."""
EXAMPLES = 5

Kind = Literal["people", "LLM and people", "committee and LLM"]
Labels = tuple[str, ...]


@dataclass(frozen=True)
class Conflict:
    """Two answers to one task; `text` is the task's."""

    task_id: int
    control: str
    kind: Kind
    answers: tuple[Labels, Labels]
    text: str = field(repr=False)


@dataclass(frozen=True)
class Gap:
    """What a guideline may leave unclear: two answers that are given to the same tasks."""

    control: str
    answers: tuple[Labels, Labels]
    conflicts: Sequence[Conflict] = field(repr=False)

    @property
    def pair(self) -> str:
        """The two answers, for people."""
        return " or ".join(repr(" + ".join(labels)) for labels in self.answers)


def collect(wiring: Wiring, project: Project) -> list[Conflict]:
    """Every conflict of a project, ascending by task."""
    verdicts = wiring.pool(project.id).verdicts()
    of_control = panels(verdicts)
    found: list[Conflict] = []
    for control in parse(project.label_config):
        llm = {v.task_id: v for v in verdicts if v.source == "llm" and v.control == control.name}
        people = people_said(verdicts, control.name)
        panel = of_control.get(control.name)
        between = list(_between_people(panel, people)) if panel else []
        split = {one.task_id for one in between}
        agreed = {task: verdict for task, verdict in people.items() if task not in split}
        found += [*between, *_with_people(llm, agreed)]
        alone = {task: verdict for task, verdict in llm.items() if task not in people}
        found += _with_committee(wiring, project.id, control, alone)
    return sorted(found, key=lambda one: (one.task_id, one.control, one.kind))


def _between_people(panel: Panel, together: Mapping[int, Verdict]) -> Iterator[Conflict]:
    """Tasks on which two people differ and nobody is outvoted; the two answers given most."""
    for task, same in panel.given.items():
        counts = Counter(_answer(v.labels) for v in same)
        verdict = together[task]
        if len(counts) > 1 and (verdict.chance or 0.0) < SETTLED:
            (one, _), (other, _) = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:2]
            yield _conflict(verdict, "people", one, other)


def _with_people(llm: Mapping[int, Verdict], people: Mapping[int, Verdict]) -> Iterator[Conflict]:
    """Tasks of which the LLM says something else than people, who agree among themselves."""
    for task in llm.keys() & people.keys():
        verdict, said = people[task], _answer(said_by_llm(llm[task]))
        if llm[task].text == verdict.text and said != _answer(verdict.labels):
            yield _conflict(verdict, "LLM and people", said, _answer(verdict.labels))


def _with_committee(
    wiring: Wiring, project_id: int, control: Control, llm: Mapping[int, Verdict]
) -> Iterator[Conflict]:
    """Tasks that nobody answered and of which all members say the same, the LLM something else."""
    tag = wiring.promotions(project_id).served()
    if tag is None or not llm:
        return
    stored = Stored(wiring, project_id, control, tag)
    rows = stored.rows_of({task: verdict.text for task, verdict in llm.items()})
    for row, decision in zip(rows, stored.decisions(rows), strict=True):
        said = {_answer(vote.labels) for vote in decision.votes}
        answer = _answer(said_by_llm(llm[row.task_id]))
        if len(decision.votes) > 1 and len(said) == 1 and answer not in said:
            yield _conflict(llm[row.task_id], "committee and LLM", said.pop(), answer)


def _conflict(verdict: Verdict, kind: Kind, one: Labels, other: Labels) -> Conflict:
    first, second = sorted((one, other))
    return Conflict(verdict.task_id, verdict.control, kind, (first, second), verdict.text)


def _answer(labels: Iterable[str]) -> Labels:
    return tuple(sorted(set(labels)))


def gaps(conflicts: Iterable[Conflict]) -> list[Gap]:
    """Conflicts by the answers that they are between, those of most tasks first."""
    found: defaultdict[tuple[str, tuple[Labels, Labels]], list[Conflict]] = defaultdict(list)
    for one in conflicts:
        found[one.control, one.answers].append(one)
    made = [Gap(control, answers, its) for (control, answers), its in found.items()]
    return sorted(made, key=lambda gap: (-len(gap.conflicts), gap.control, gap.answers))


def render(found: Sequence[Gap], sentences: Mapping[str, str], texts: bool) -> str:
    """The list for people; task text only where it is asked for."""
    if not found:
        return "No conflicts."
    lines = []
    for gap in found:
        kinds = Counter(one.kind for one in gap.conflicts)
        between = ", ".join(f"{count} between {kind}" for kind, count in kinds.most_common())
        tasks = list({one.task_id: one for one in gap.conflicts}.values())[:EXAMPLES]
        lines.append(f"{gap.control}: {gap.pair}: {between}")
        if texts:
            lines += [f"  task {one.task_id}: {' '.join(one.text.split())}" for one in tasks]
        else:
            lines.append("  tasks " + ", ".join(str(one.task_id) for one in tasks))
        if sentence := sentences.get(key_of(gap)):
            lines.append(f"  the LLM suggests for the guideline: {sentence}")
    return "\n".join(lines)


def key_of(gap: Gap) -> str:
    """What tells a gap from others of its project."""
    return f"{gap.control}: {gap.pair}"
