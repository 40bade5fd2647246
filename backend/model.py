"""AutoAnnotator as Label Studio's ML backend class, with the contract of label-studio-ml 2.x.

One object serves one request: `predict` answers with the committee's decisions, `fit` records what
people answered. It runs under our own app and under the official 2.x server
(`label_studio_ml.api.init_app(AutoAnnotator)`), which reads `get("model_version")` in `/setup`.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, ClassVar

import redis
from label_studio_ml.model import LabelStudioMLBase

from backend import project_settings
from backend.annotations import Hook, read_hook
from backend.answers import record_answers
from backend.config_xml import FIX
from backend.errors import BadRequest
from backend.ids import project_number
from backend.jobs.backlog import QUIET_S, people_key
from backend.label_changes import adopt, serve_labels
from backend.label_config import Control, parse
from backend.labeling import Labeled, note
from backend.settings import Settings
from backend.triggers import is_due
from backend.wiring import Wiring
from training.errors import BucketUnusable, CheckpointDamaged

logger = logging.getLogger(__name__)

_PREDICT_S = 95.0  # Label Studio waits 100 s for a prediction

controls_of = lru_cache(maxsize=256)(parse)


class AutoAnnotator(LabelStudioMLBase):  # type: ignore[misc]  # the package ships no types
    """Predict with a committee of specialists; learn from what people annotate."""

    _shared: ClassVar[Wiring | None] = None
    _lock: ClassVar[threading.Lock] = threading.Lock()
    _last_tags: ClassVar[dict[int, str]] = {}

    def __init__(
        self, project_id: object = None, label_config: str | None = None, **kwargs: Any
    ) -> None:
        """Make the model of one project.

        Raises:
            BadRequest: The project id is no number, or the label config cannot be used.
        """
        self._project = project_number(project_id)
        self._wiring = self._parts()
        self._config = label_config or self._known_config()
        self.controls: tuple[Control, ...] = controls_of(self._config) if self._config else ()
        super().__init__(label_config=None, **kwargs)
        self.label_config = self._config
        self.setup()

    @classmethod
    def use(cls, wiring: Wiring) -> None:
        """Let all models of this process use these parts."""
        cls._shared = wiring

    @classmethod
    def _parts(cls) -> Wiring:
        with cls._lock:
            if cls._shared is None:  # under a server that is not ours
                cls.use(Wiring(Settings.from_env(os.environ)))
            assert cls._shared is not None
            return cls._shared

    def setup(self) -> None:
        """Nothing to prepare: models are loaded on first use and shared by all objects."""

    # The 2.x contract's small store

    def get(self, key: str) -> str | None:
        """A stored value; `model_version` is the served tag."""
        if key == "model_version":
            return self.model_version
        value = self._wiring.redis.hget(f"aa:project:{self._project}:extra", key)
        return None if value is None else str(value)

    def set(self, key: str, value: str) -> None:
        """Store a value; `model_version` is set by promotion and rollback only."""
        if key != "model_version":
            self._wiring.redis.hset(f"aa:project:{self._project}:extra", key, value)

    def has(self, key: str) -> bool:
        """Whether a value is stored."""
        return self.get(key) is not None

    @property
    def model_version(self) -> str:
        """The served tag; a project seen for the first time gets its first committee.

        Right after a promotion: the tag before, until the new committee is loaded, or as long as
        its bucket does not answer.

        Without Redis: the tag served last by this process, else the first committee's.
        """
        committees = self._wiring.committees
        try:
            tag = committees.ensure(self._project, self.controls)
            self._last_tags[self._project] = tag
        except BucketUnusable as error:
            if self._project not in self._last_tags:
                raise
            logger.warning("project %d: %s", self._project, error)
            tag = self._last_tags[self._project]
        except redis.RedisError:
            tag = self._last_tags.get(self._project) or committees.first_tag(
                self._project, self.controls
            )
        return committees.serving(self._project, tag)

    # Label Studio's calls

    def enroll(self, hostname: str, extra_params: object = None) -> str:
        """Remember the project and Label Studio's own address (from `/setup`); return the tag.

        `extra_params` are the backend's in Label Studio: settings of the project may be among them.
        """
        if not self.controls:
            raise BadRequest(
                "No label config",
                "schema is empty; expected the project's XML.",
                FIX,
            )
        try:
            # Label Studio asks before every prediction: most of the time there is nothing to write.
            known = self._wiring.projects.get(self._project)
            if known is None or known.label_config != self._config:
                serve_labels(self._wiring, self._project, self._config)
            if self.get("hostname") != hostname:
                self.set("hostname", hostname)
            refused = project_settings.offer(self._wiring.redis, self._project, extra_params)
            if refused:
                self._wiring.journal.error("setup", refused, self._project)
        except redis.RedisError:
            logger.warning("project %d: not remembered, Redis does not answer", self._project)
        return self.model_version

    def predict(
        self, tasks: Sequence[Mapping[str, Any]], context: object = None, **kwargs: Any
    ) -> list[dict[str, Any]]:
        """Exactly one prediction a task, in order.

        Raises:
            NoCommittee: No kept tag of the project can be loaded.
            BatcherError: Too much waits already, or there was no answer in time.
        """
        labeled = self._label(tasks)
        try:
            desk = self._wiring.projects.desk(self._project)
            note(desk, labeled)
            if any(one.hard for one in labeled) and self._wiring.settings.has_llm:
                self._wiring.queues.wake("review", self._project)
        except redis.RedisError:
            logger.warning("project %d: hard samples not noted, Redis is gone", self._project)
        return [one.prediction for one in labeled]

    def _label(self, tasks: Sequence[Mapping[str, Any]]) -> list[Labeled]:
        tag = self.model_version
        try:
            return self._labeled(tag, tasks)
        except CheckpointDamaged:
            return self._labeled(self._wiring.committees.usable(self._project), tasks)

    def _labeled(self, tag: str, tasks: Sequence[Mapping[str, Any]]) -> list[Labeled]:
        labeler = self._wiring.labeler
        return labeler.label(self._project, self.controls, tag, tasks, timeout_s=_PREDICT_S)

    def fit(self, event: str, data: Mapping[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Record people's answers and wake the worker that needs to know; never trains here.

        Raises:
            BadRequest: The payload is not one of Label Studio's.
            redis.RedisError: Redis is gone; reconcile reads the annotations again later.
        """
        wiring = self._wiring
        hook = read_hook({**data, "action": event}, wiring.committees.label_names(self._project))
        desk, pool = wiring.projects.desk(self._project), wiring.pool(self._project)
        told = hook.label_config
        if told and told != self._config and adopt(wiring, self._project, told):
            self.controls = controls_of(told)
        record_answers(wiring, self._project, self.controls, hook.answers)
        for annotation_id in hook.retracted:
            pool.retract(annotation_id)
        desk.want_predictions(hook.created_tasks)
        desk.forget_tasks(hook.deleted_tasks, [control.name for control in self.controls])
        if hook.answers:
            wiring.redis.set(people_key(self._project), 1, ex=QUIET_S)
        self._wake(hook)
        return {"recorded": len(hook.answers), "retracted": len(hook.retracted)}

    def _wake(self, hook: Hook) -> None:
        """Wake who has work now; a stage that answers make due waits for the scheduler's look.

        It starts when a burst is over, so never right after an answer.
        """
        wiring = self._wiring
        if hook.action == "START_TRAINING":
            wiring.projects.desk(self._project).set_stage(now=1)
            if is_due(wiring, self._project):
                wiring.queues.wake("train", self._project)
        if hook.created_tasks and wiring.has_label_studio:
            wiring.queues.wake("push", self._project)

    def _known_config(self) -> str:
        project = self._wiring.projects.get(self._project)
        return project.label_config if project else ""
