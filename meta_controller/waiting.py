"""The questions of a run that wait for a call, and which of them may share one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from meta_controller.language_model import Question
from meta_controller.packing import goes_along, together


@dataclass(eq=False)
class Job:
    """Equal questions of one run: asked once, answered together."""

    key: str
    questions: list[Question]
    attempts: int = 0
    not_before_s: float = 0.0
    alone: bool = False  # in no prompt with others

    @property
    def question(self) -> Question:
        """The one that is asked for all of them."""
        return self.questions[0]


class Waiting(deque[Job]):
    """The jobs that wait, the next one first."""

    def company(
        self, job: Job, most: int, now_s: float, is_known: Callable[[Job], bool]
    ) -> list[Job]:
        """Take off those that go along with a job, the first ones first: `most` with it in all.

        Not those that are answered already (`is_known`).
        """
        if most < 2 or job.alone:
            return []
        ready = [one for one in self if not one.alone and one.not_before_s <= now_s]
        jobs = {id(one.question): one for one in (job, *ready)}
        own, *others = together((one.question for one in jobs.values()), most)
        pack = [one for one in own if one is job.question or not is_known(jobs[id(one)])]
        for group in others:
            if len(pack) == most:
                break
            if goes_along(pack, group, most) and not any(is_known(jobs[id(one)]) for one in group):
                pack += group
        company = [jobs[id(one)] for one in pack if one is not job.question]
        for one in company:
            self.remove(one)
        return company
