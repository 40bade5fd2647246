"""What goes on while a fault strikes: one project, its people, and the work they give the plant."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from llm import asked, label_of, text_of
from machine import CONFIG, eventually
from plant import Plant, annotation

from backend.connect import connect
from backend.errors import LabelStudioError
from backend.label_config import parse
from training.card import Card

PATIENCE_S = 180.0
_ANNOTATORS = 4


class Walk:
    """One project on its way through the phases."""

    def __init__(self, plant: Plant) -> None:
        self.plant = plant
        created = plant.people.create_project("A walk through faults", CONFIG)
        self.project = int(created["id"])
        connect(plant.wiring, self.project, lambda line: None)
        self.promotions = plant.wiring.promotions(self.project)
        self.desk = plant.wiring.projects.desk(self.project)
        self.labels = parse(CONFIG)[0].labels
        self.texts: dict[str, str] = {}  # name -> text, of every task that was imported
        self.acknowledged: set[int] = set()  # annotations that Label Studio said it has
        self.been: set[str] = set()  # phases that it went through
        self._annotated: set[int] = set()
        self._stages = 0
        self._served = self.served

    # What people do; they insist until Label Studio said yes

    def import_tasks(self, count: int) -> None:
        """Import so many new tasks."""
        first = len(self.texts)
        names = [f"{self.project}-{number}" for number in range(first, first + count)]
        new = {name: text_of(name, number) for number, name in enumerate(names, first)}
        self.texts |= new

        def imported() -> bool:
            there = {task["data"]["text"] for task in self.plant.people.tasks(self.project)}
            left = [{"text": text} for text in new.values() if text not in there]
            if left:
                self.plant.people.import_tasks(self.project, left)
            return True

        eventually(imported, PATIENCE_S, "Label Studio to import tasks")

    def annotate(self, count: int) -> None:
        """Let several people answer so many tasks at once."""
        tasks = eventually(
            lambda: list(self.plant.people.tasks(self.project)), PATIENCE_S, "a list of tasks"
        )
        chosen = [task for task in tasks if int(task["id"]) not in self._annotated][:count]
        with ThreadPoolExecutor(_ANNOTATORS) as people:
            list(people.map(self._answer, chosen))

    def _answer(self, task: Mapping[str, Any]) -> None:
        number, result = int(task["id"]), annotation(label_of(task["data"]["text"]))
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                made = self.plant.people.create_annotation(number, result)
                break
            except LabelStudioError:  # perhaps it was stored: then the task has two
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.3)
        self.acknowledged.add(int(made["id"]))
        self._annotated.add(number)

    # What can be seen of the work

    @property
    def served(self) -> str | None:
        """The tag that is served now."""
        return self.promotions.served()

    def ends(self) -> list[Card]:
        """The cards of stages, newest first."""
        return [card for card in self.promotions.history() if card.decision != "initial"]

    def was_asked(self, since: float) -> bool:
        """Whether the LLM was asked about this project since then."""
        mine = f"{self.project}-"
        return any(at >= since and name.startswith(mine) for at, name in asked(self.plant.record))

    def remember(self) -> None:
        """Know what there was before a phase, to see what it brings."""
        self._stages, self._served = len(self.ends()), self.served

    def begin_stage(self) -> None:
        """Ask for a stage, as `train` does; insist until that was noted."""

        def noted() -> bool:
            self.desk.set_stage(now=1)
            return True

        eventually(noted, PATIENCE_S, "a stage to be asked for")

    @property
    def trains(self) -> bool:
        """Whether the stage that was asked for runs, or ended."""
        return bool(self.desk.stage().get("running")) or self.ended

    @property
    def passed(self) -> bool:
        """Whether its committee waits for promotion, or all is over."""
        return bool(self.desk.candidate()) or self.ended

    @property
    def ended(self) -> bool:
        """Whether the stage that was asked for ended."""
        return len(self.ends()) > self._stages

    @property
    def switched(self) -> bool:
        """Whether another tag is served than when the stage was asked for."""
        return self.served != self._served

    def undone(self, phase: str) -> str:
        """What a phase should have brought and has not yet."""
        if phase in ("stage", "promotion", "refresh") and not self.ended:
            return "the stage did not end"
        if phase in ("promotion", "refresh") and not self.switched:
            return "the stage was refused, so that this phase never came"
        return ""


@dataclass(frozen=True)
class Phase:
    """A kind of work: `begin` gives it, `opens` tells when it is under way.

    A fault strikes up to `window_s` seconds after that. `after` is the phase that a project must
    have gone through before, empty for none.
    """

    begin: Callable[[Walk], None]
    opens: Callable[[Walk, float], bool]
    window_s: float
    after: str


def _stage(walk: Walk) -> None:
    walk.annotate(4)
    walk.begin_stage()


PHASES: dict[str, Phase] = {
    "prelabel": Phase(lambda walk: walk.import_tasks(16), lambda walk, since: True, 4.0, ""),
    "review": Phase(lambda walk: walk.import_tasks(10), Walk.was_asked, 1.5, "prelabel"),
    "storm": Phase(lambda walk: walk.annotate(10), lambda walk, since: True, 1.5, "prelabel"),
    "stage": Phase(_stage, lambda walk, since: walk.trains, 5.0, "storm"),
    "promotion": Phase(_stage, lambda walk, since: walk.passed, 1.5, "storm"),
    "refresh": Phase(_stage, lambda walk, since: walk.switched or walk.ended, 1.5, "storm"),
}


@contextmanager
def under_way(walk: Walk, name: str) -> Iterator[None]:
    """Give the work of a phase and enter when it is under way; leave when all of it was given."""
    phase, since = PHASES[name], time.time()
    walk.remember()
    walk.been.add(name)
    with ThreadPoolExecutor(1) as people:
        given = people.submit(phase.begin, walk)
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline and not phase.opens(walk, since):
            if given.done() and given.exception():
                break
            time.sleep(0.05)
        yield
        given.result(PATIENCE_S)
