"""A project with made-up evidence: texts whose truth is known, and whom to believe about them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from machine import CONFIG
from provider import KEY, Provider, Scene, says

from backend.audit import is_audit
from backend.evidence_store import Row, text_hash
from backend.jobs import refit, review
from backend.label_config import Control, parse
from backend.projects import HardSample, Project
from backend.settings import Settings
from backend.wiring import Wiring
from specialists.evidence import Evidence
from specialists.rule_state import RuleState
from specialists.types import Verdict

PROJECT = 7
TASKS = 240
MEMBERS = ("ada", "ben", "cleo")
WIDTH = 24


class World:
    """240 tasks; `truth` has each one's label index. Features tell it, votes are right in 60 %."""

    def __init__(self, wiring: Wiring, seed: int = 0) -> None:
        self.wiring = wiring
        self.rng = np.random.default_rng(seed)
        self.truth = self.rng.integers(3, size=TASKS + 1)
        wiring.projects.put(Project(PROJECT, CONFIG, tasks=TASKS))
        self.control: Control = parse(CONFIG)[0]
        self.labels = self.control.labels.names
        self.tag = wiring.committees.ensure(PROJECT, (self.control,))
        self.desk, self.pool = wiring.projects.desk(PROJECT), wiring.pool(PROJECT)

    def text(self, task: int) -> str:
        return f"Text number {task}."

    def right(self, task: int) -> str:
        return self.labels[self.truth[task]]

    def wrong(self, task: int) -> str:
        return self.labels[(self.truth[task] + 1) % 3]

    def observe(self, tag: str = "", tasks: Sequence[int] = range(1, TASKS + 1)) -> None:
        """Store evidence of tasks."""
        means = np.eye(3, WIDTH)
        rows = []
        for task in tasks:
            said = np.where(
                self.rng.random(3) < 0.6, self.truth[task], self.rng.integers(3, size=3)
            )
            votes = np.full((1, 3, 3), 0.2)
            votes[0, range(3), said] = 0.6
            features = means[self.truth[task]] + self.rng.normal(0, 0.15, WIDTH)
            seen = Evidence(votes.astype(np.float32), (features[None].astype(np.float32),))
            rows.append(Row(task, text_hash(self.text(task)), MEMBERS, seen.pack()[0]))
        self.wiring.evidence.put(PROJECT, self.control.name, tag or self.tag, rows)

    def llm(self, task: int, label: str, at: float = 1.0) -> None:
        self.pool.add(
            Verdict(
                task_id=task,
                control=self.control.name,
                text=self.text(task),
                labels=(label,),
                source="llm",
                author="a-model",
                at=at,
                answer=(label,),
            )
        )

    def human(self, task: int, label: str = "", at: float = 1.0) -> None:
        self.pool.add(
            Verdict(
                task_id=task,
                control=self.control.name,
                text=self.text(task),
                labels=(label or self.right(task),),
                source="human",
                author="1",
                at=at,
                annotation_id=1000 + task,
            )
        )

    def hard(self, task: int, gain: float = 0.1, text: bool = True) -> None:
        said = self.text(task) if text else ""
        sample = HardSample(task, self.control.name, said, (self.wrong(task),), 0.4, "", self.tag)
        self.desk.add_hard([HardSample(**{**sample.__dict__, "gain": gain})])

    def believe_the_llm(self) -> None:
        """Spare it the proof that its answers have to do with the texts."""
        state = replace(RuleState.first(3, 3), trust="both")
        with self.wiring.redis.pipeline() as pipe:
            self.wiring.rules.save(PROJECT, self.control.name, self.tag, state, pipe)
            pipe.execute()

    def refit(self) -> bool:
        project = self.wiring.projects.get(PROJECT)
        assert project
        with self.wiring.lease("review:7") as lease:
            return refit.refit_project(self.wiring, project, lease)

    def review(self) -> str:
        with self.wiring.lease("review:7") as lease:
            return review.work(self.wiring, PROJECT, lease)

    def state(self, tag: str = "") -> RuleState | None:
        return self.wiring.rules.state(PROJECT, self.control.name, tag or self.tag)

    def verdicts(self, source: str = "llm") -> dict[int, Verdict]:
        return {v.task_id: v for v in self.pool.verdicts() if v.source == source}


def audits(share: float) -> list[int]:
    return [task for task in range(1, TASKS + 1) if is_audit(PROJECT, task, share)]


def asked(provider: Provider) -> list[int]:
    """The tasks that the provider was asked about, in order."""
    return [number(body) for body in provider.requests]


def number(body: dict[str, Any]) -> int:
    return int(re.findall(r"Text number (\d+)", str(body))[-1])


def answering(world: World, wrong: bool = False) -> Any:
    """A provider's script: the truth, or always another label."""

    def decide(body: dict[str, Any]) -> Scene:
        task = number(body)
        return says(world.wrong(task) if wrong else world.right(task))

    return decide


def settings(redis_socket: str, folder: object, provider: Provider, **more: str) -> Settings:
    """Settings of a worker that asks the local provider and has no Label Studio."""
    return Settings.from_env(
        {
            "REDIS_URL": f"unix://{redis_socket}",
            "DATA_DIR": str(folder),
            "LLM_PROVIDER": "openai",
            "LLM_MODEL": "local",
            "LLM_BASE_URL": f"{provider.url}/v1",
            "OPENAI_API_KEY": KEY,
            "LLM_CONCURRENCY": "1",
            "LLM_PACK": "1",
            "LLM_EXAMPLES": "0",
            "AUDIT_SHARE": "0",
            **more,
        }
    )


MakeWorld = Callable[..., World]
"""Makes a world from settings, given by their variables' names."""
