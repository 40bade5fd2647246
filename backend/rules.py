"""The decision rules in use: which rule a project has, and what it learned at each tag.

What was learned lies in Redis, one hash a project and control with one field a tag, and is read at
each request; workers write it (jobs/refit.py). Without Redis, or when the committee has other
members than the rule learned about, the rule decides as it did before any verdict.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Collection, Iterable

import redis
from redis.client import Pipeline

from backend.projects import Projects
from backend.settings import Settings
from specialists.decision import DecisionRule, PaperRule
from specialists.rule_state import RuleState
from specialists.types import LabelSet
from specialists.value_rule import ValueRule

logger = logging.getLogger(__name__)

_PARSED = 64  # states kept parsed, each up to some hundred kB


class Rules:
    """Decision rules of all projects."""

    def __init__(self, client: redis.Redis, settings: Settings, projects: Projects) -> None:
        self._redis = client
        self._settings = settings
        self._projects = projects
        self._parsed: OrderedDict[str, RuleState] = OrderedDict()
        self._lock = threading.Lock()

    def rule(
        self, project_id: int, control: str, tag: str, labels: LabelSet, members: int
    ) -> DecisionRule:
        """The rule that decides for a committee of so many loaded members."""
        if self.chosen(project_id) == "paper":
            return PaperRule()
        try:
            state = self.state(project_id, control, tag)
        except redis.RedisError:
            state = None
        if state is None or not _fits(state, labels, members):
            state = RuleState.first(members, len(labels.labels))
        return PaperRule(state.scales) if labels.multiple else ValueRule(state)

    def first(self, project_id: int, labels: LabelSet, members: int) -> DecisionRule:
        """The project's rule before any verdict, for committees that learned nothing together."""
        if self.name(project_id, labels) == "paper":
            return PaperRule()
        return ValueRule(RuleState.first(members, len(labels.labels)))

    def name(self, project_id: int, labels: LabelSet) -> str:
        """`value` or `paper`: the project's own choice, else the setting's.

        Controls of multiple choice are decided by the paper's rule, by each label's own threshold.
        """
        return "paper" if labels.multiple else self.chosen(project_id)

    def chosen(self, project_id: int) -> str:
        """The project's own choice, else the setting's: `value` or `paper`."""
        try:
            project = self._projects.get(project_id)
        except redis.RedisError:
            project = None
        return (project.rule if project else "") or self._settings.decision_rule

    def state(self, project_id: int, control: str, tag: str) -> RuleState | None:
        """What was learned at a tag; None before the first verdicts, or when it is damaged."""
        raw = self._redis.hget(self._learned(project_id, control), tag)
        return self._parse(str(raw), project_id, control) if raw else None

    def save(
        self, project_id: int, control: str, tag: str, state: RuleState, via: Pipeline
    ) -> None:
        """Keep what was learned at a tag."""
        via.hset(self._learned(project_id, control), tag, state.to_json())

    def prune(self, project_id: int, controls: Iterable[str], kept_tags: Collection[str]) -> None:
        """Forget what was learned at tags that are not kept."""
        for control in controls:
            key = self._learned(project_id, control)
            old = [str(tag) for tag in self._redis.hkeys(key) if tag not in kept_tags]
            if old:
                self._redis.hdel(key, *old)

    def _parse(self, raw: str, project_id: int, control: str) -> RuleState | None:
        with self._lock:
            if raw not in self._parsed:
                try:
                    self._parsed[raw] = RuleState.from_json(raw)
                except (ValueError, TypeError, KeyError) as error:
                    kind = type(error).__name__
                    logger.warning(
                        "project %d: rule of %s unreadable: %s", project_id, control, kind
                    )
                    return None
                while len(self._parsed) > _PARSED:
                    self._parsed.popitem(last=False)
            self._parsed.move_to_end(raw)
            return self._parsed[raw]

    @staticmethod
    def _learned(project_id: int, control: str) -> str:
        return f"aa:project:{project_id}:rule:{control}"


def _fits(state: RuleState, labels: LabelSet, members: int) -> bool:
    size = len(labels.labels)
    return state.member_weights.shape == (members,) and state.confusion.shape == (size, size)
