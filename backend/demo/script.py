"""What the demo's scripted reviewer answers: the answer key, with mistakes on purpose.

An LLM errs, too; without mistakes there would be nothing for the committee to override. What
annotators answer in the demo, and what accuracy is measured on, is the key without mistakes.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

from backend.demo.projects import PROJECTS, DemoProject

_ERRORS = 0.1
"""Share of wrong answers."""
_WRONG = "a mistake on purpose, as an LLM makes them."


def write_script(path: Path) -> None:
    """Write the script of all projects, the same at each start."""
    rows = [row for one in PROJECTS for row in _answers(one)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


def _answers(demo: DemoProject) -> list[dict[str, str]]:
    """The key of the tasks; of every ten answers one is another label."""
    rows, rng = demo.key("task"), random.Random(demo.name)
    for row in rng.sample(rows, round(_ERRORS * len(rows))):
        row["label"] = rng.choice([label for label in demo.labels if label != row["label"]])
        row["reason"] = _WRONG
    return rows
