"""The questions of a run that wait for a call, and which of them may share one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from meta_controller.language_model import Question
from meta_controller.packing import PACK_CHARS, fits_others, prefix_of


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
        if most < 2 or job.alone or not fits_others(job.question):
            return []
        company, chars = [job], len(job.question.text)
        for other in self:
            if len(company) == most:
                break
            more = len(other.question.text)
            if chars + more > PACK_CHARS or other.not_before_s > now_s or other.alone:
                continue
            if _goes_with(company, other.question) and not is_known(other):
                company.append(other)
                chars += more
        for other in company[1:]:
            self.remove(other)
        return company[1:]


def _goes_with(company: Sequence[Job], question: Question) -> bool:
    """Whether a question fits into a prompt: the same prefix, and no text twice."""
    same = prefix_of(question) == prefix_of(company[0].question)
    known = {job.question.text for job in company}
    return same and question.text not in known and fits_others(question)
