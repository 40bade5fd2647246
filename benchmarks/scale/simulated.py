"""Who takes part in a simulated project: recorded votes, people, an LLM, a Label Studio in memory.

Task n has text n modulo the number of texts, with its own number behind it, and so the votes that a
real committee once gave to that text. All else is the product's own code. It measures nothing.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from benchmarks.asked import answer, read
from benchmarks.running import CONFIG, CONTROL, PROJECT
from benchmarks.texts import Sample
from meta_controller.language_model import Completion, Prompt, Question, Reply, Tokens

PEOPLE = 5
PEOPLE_RIGHT, LLM_RIGHT = 0.95, 0.85
_NUMBER = re.compile(r"\((\d+)\)\s*$")
_CHARS_PER_TOKEN = 4  # OpenAI's rule of thumb for English
_REASON = "The words leave little doubt about what the writer wants to say."

Row = dict[str, Any]


class Truth:
    """The tasks' texts and true labels."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self.samples = samples
        self.labels = sorted({one.label for one in samples})

    def text(self, task: int) -> str:
        """The text of a task; no two are alike."""
        return f"{self.samples[task % len(self.samples)].text} ({task})"

    def said(self, task: int, right: float, who: str) -> str:
        """What somebody says who is right with that chance; the same whenever they are asked."""
        dice = random.Random(f"{who}:{task}")
        label = self.samples[task % len(self.samples)].label
        return label if dice.random() < right else dice.choice(self.labels)


def number(text: str) -> int:
    """The task of a text."""
    found = _NUMBER.search(text)
    if found is None:
        raise ValueError("This is no text of the simulated project.")
    return int(found[1])


class RecordedVotes:
    """Answers as `backend.votes.Votes` does, from votes (packed evidence) on each sample."""

    def __init__(self, packed: Sequence[bytes]) -> None:
        self._packed = packed

    def of(
        self, key: object, committee: object, texts: Sequence[str], timeout_s: float | None
    ) -> dict[str, bytes]:
        """Packed evidence a text."""
        return {text: self._packed[number(text) % len(self._packed)] for text in texts}


class SimulatedLLM:
    """A language model that knows the truth and errs now and then."""

    provider, model, base_url = "simulated", "simulated", ""

    def __init__(self, truth: Truth) -> None:
        self._truth = truth

    def ask(self, question: Question) -> Reply:
        """Answer one question."""
        label = self._truth.said(number(question.text), LLM_RIGHT, "llm")
        tokens = Tokens(len(question.text) // _CHARS_PER_TOKEN + 400, 30)
        return Reply((label,), _REASON, tokens, 0.0, self.model)

    def complete(self, prompt: Prompt) -> Completion:
        """Answer a pack of questions."""
        messages = [{"content": prompt.system}, {"content": prompt.sample}]
        schema = {"json_schema": {"schema": prompt.schema}}
        asked = read({"messages": messages, "response_format": schema})
        said = [self._truth.said(number(text), LLM_RIGHT, "llm") for text in asked.texts]
        text = answer(asked, said, _REASON)
        sent = (len(prompt.system) + len(prompt.sample)) // _CHARS_PER_TOKEN
        return Completion(text, Tokens(sent, len(text) // _CHARS_PER_TOKEN), 0.0, self.model)


class SimulatedLabelStudio:
    """The calls of `LabelStudio` that jobs make; a prediction is there, but what it shows is not.

    So every patch that is asked for is made, as if Label Studio always showed something else.
    """

    def __init__(self, truth: Truth) -> None:
        self._truth = truth
        self.tasks_there = 0
        self.answered: dict[int, Row] = {}
        self.tag = ""
        self.imported = 0
        self.patched = 0

    def project(self, project_id: int) -> Row:
        """The project's row."""
        return {
            "id": project_id,
            "title": "Simulated",
            "label_config": CONFIG,
            "task_number": self.tasks_there,
            "model_version": self.tag,
        }

    def update_project(self, project_id: int, model_version: str) -> Row:
        """Show another tag."""
        self.tag = model_version
        return self.project(project_id)

    def tasks(self, project_id: int, ids: Iterable[int] | None = None) -> Iterator[Row]:
        """Rows of all tasks, or of some."""
        for task in range(1, self.tasks_there + 1) if ids is None else ids:
            answers = [self.answered[task]] if task in self.answered else []
            yield {
                "id": task,
                "data": {"text": self._truth.text(task)},
                "is_labeled": bool(answers),
                "total_annotations": len(answers),
                "annotations": answers,
            }

    def predictions(self, project_id: int) -> list[Row]:
        """A row for each prediction that was imported."""
        return [self._prediction(task) for task in range(1, self.imported + 1)]

    def task_predictions(self, task_id: int) -> list[Row]:
        """The same of one task."""
        return [self._prediction(task_id)] if task_id <= self.imported else []

    def import_predictions(self, project_id: int, rows: Sequence[Mapping[str, Any]]) -> int:
        """Store predictions; tasks come in ascending order."""
        self.imported = max(self.imported, max(int(row["task"]) for row in rows))
        self.tag = str(rows[-1]["model_version"])
        return len(rows)

    def patch_prediction(self, prediction_id: int, **fields: Any) -> Row:
        """Change a prediction."""
        self.patched += 1
        return {"id": prediction_id, **fields}

    def delete_predictions(self, prediction_ids: Iterable[int]) -> int:
        """Delete predictions; there are never too many."""
        return len(list(prediction_ids))

    def _prediction(self, task: int) -> Row:
        return {"id": task, "task": task, "model_version": self.tag, "result": [], "score": 0.0}

    # What people do

    def created(self, count: int) -> Row:
        """Import tasks; the hook that tells of them."""
        new = range(self.tasks_there + 1, self.tasks_there + count + 1)
        self.tasks_there += count
        return {
            "action": "TASKS_CREATED",
            "tasks": [{"id": task} for task in new],
            "project": {"id": PROJECT, "label_config": CONFIG},
        }

    def annotated(self, task: int) -> Row:
        """Somebody answers a task; the hook that tells of it."""
        who = task % PEOPLE + 1
        label = self._truth.said(task, PEOPLE_RIGHT, f"person {who}")
        annotation = {
            "id": task,
            "task": task,
            "completed_by": who,
            "lead_time": 5.0,
            "updated_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "result": [
                {
                    "from_name": CONTROL,
                    "to_name": "text",
                    "type": "choices",
                    "value": {"choices": [label]},
                }
            ],
        }
        self.answered[task] = annotation
        return {
            "action": "ANNOTATION_CREATED",
            "annotation": annotation,
            "task": {"id": task, "data": {"text": self._truth.text(task)}},
            "project": {"id": PROJECT, "label_config": CONFIG},
        }

    def deleted(self, task: int) -> Row:
        """Somebody takes an answer back; the hook that tells of it."""
        del self.answered[task]
        return {
            "action": "ANNOTATIONS_DELETED",
            "annotations": [{"id": task}],
            "project": {"id": PROJECT, "label_config": CONFIG},
        }
