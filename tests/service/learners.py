"""Projects whose committees learn: verdicts for stages, and what came of them."""

from __future__ import annotations

from machine import CONFIG, Machine

from backend.label_config import parse
from specialists.types import Verdict
from training.card import Card

ANSWERS = [
    ("Wonderful, thank you so much!", "positive"),
    ("The meeting is at three.", "neutral"),
    ("This broke after a day, what a waste.", "negative"),
]


class Learner:
    """A project of a machine, with its committee."""

    def __init__(self, machine: Machine, project: int = 1) -> None:
        self.project = project
        self.wiring = machine.wiring
        self.wiring.projects.update(project, label_config=CONFIG)
        self.first = self.wiring.committees.ensure(project, parse(CONFIG))
        self.desk = self.wiring.projects.desk(project)
        self.pool = self.wiring.pool(project)
        self.promotions = self.wiring.promotions(project)
        self.verdicts = 0

    def learn(self, count: int, label: str = "") -> None:
        """Add verdicts of people; a `label` that the project lacks leaves nothing to train on."""
        for number in range(self.verdicts + 1, self.verdicts + count + 1):
            text, right = ANSWERS[number % 3]
            answer, text = (label or right,), f"{text} ({number})"
            self.pool.add(
                Verdict(number, "sentiment", text, answer, "human", "1", float(number), number)
            )
        self.verdicts += count

    @property
    def stage(self) -> dict[str, str]:
        """The state of the stage that runs, or ran."""
        return self.desk.stage()

    def waiting(self) -> int:
        """Verdicts that wait for a stage."""
        return len(self.pool.waiting_places(self.pool.sequence()))

    def ends(self) -> list[Card]:
        """The cards of stages, newest first."""
        return [card for card in self.promotions.history() if card.decision != "initial"]

    def ended(self, stages: int) -> bool:
        """Whether so many stages ended and, if they passed, were promoted."""
        return len(self.ends()) >= stages and not self.desk.candidate()

    def problems(self) -> list[str]:
        """What is wrong with the committee that is served; raises when it does not load."""
        tag = self.promotions.served()
        assert tag
        manifest = self.wiring.committees.manifest(tag)
        return [
            problem
            for control in manifest.controls
            for problem in self.wiring.committees.committee(tag, control).problems
        ]
