"""Which questions can wait for the provider's batch API, at half the price, and their way back.

A round goes there when LLM_BATCH is auto, a batch is cheaper than calls, the project is in push
mode (nobody waits for a prediction), no person answered in it for QUIET_S, and at least LEAST
questions may be asked now. Everything else is asked directly. While a batch of a quiet project is
on its way nothing else is asked there: its answers decide what is worth asking next.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from redis import Redis

from backend.lease import Lease
from backend.projects import HardSample, Project
from backend.wiring import Wiring

if TYPE_CHECKING:
    from meta_controller.batch_store import Batch, BatchStore
    from meta_controller.batches import Batches, Ended
    from meta_controller.errors import LanguageModelError
    from meta_controller.language_model import Question

LEAST = 100
"""Fewer are asked directly within a minute: no saving is worth a wait of up to a day."""
MOST = 5000
"""Questions of one batch: some megabytes, far below both providers' limits."""
QUIET_S = 900
_OFF_S = 86_400

Failed = tuple[HardSample, "LanguageModelError"]


def people_key(project_id: int) -> str:
    """Exists while people work in a project: one of them answered within QUIET_S."""
    return f"aa:project:{project_id}:people"


def off_key(project_id: int) -> str:
    """Why batches are left alone: the provider has none, or the last one brought nothing."""
    return f"aa:project:{project_id}:batches_off"


def is_due(redis: Redis, project_id: int) -> bool:
    """Whether a batch is to be looked at."""
    return bool(_store(redis, project_id).due(time.time()))


def is_waiting(redis: Redis, project_id: int) -> bool:
    """Whether a quiet project waits for a batch."""
    return bool(_store(redis, project_id).size()) and not redis.exists(people_key(project_id))


def on_their_way(redis: Redis, project_id: int) -> set[str]:
    """The samples, by `member`, that a batch asks about."""
    return {_sample(one.cargo).member for one in _store(redis, project_id).questions()}


class Backlog:
    """The batches of one project, for one run of the review job."""

    def __init__(self, wiring: Wiring, project: Project, lease: Lease) -> None:
        self._wiring = wiring
        self._project = project
        self._lease = lease
        model = wiring.language_model
        self._batches: Batches | None = wiring.batches(project.id, model) if model else None

    def takes(self, count: int) -> bool:
        """Whether so many questions are to be sent as a batch."""
        redis, project = self._wiring.redis, self._project
        if self._batches is None or count < LEAST or not project.push:
            return False
        if self._wiring.settings.llm_batch != "auto" or self._batches.price.batch_share >= 1:
            return False
        return not redis.exists(people_key(project.id), off_key(project.id))

    def submit(self, questions: Sequence[Question], samples: Sequence[HardSample]) -> int:
        """Send them; returns how many went, none where the provider will not have them."""
        from meta_controller.errors import LanguageModelError

        assert self._batches is not None
        notes = [asdict(sample) for sample in samples]
        before = self._batches.store.size()
        try:
            self._batches.submit(list(zip(questions, notes, strict=True)), self._lease.transaction)
        except LanguageModelError as error:
            if error.kind not in ("key", "quota"):  # of which the direct calls will tell
                self._leave_alone(str(error))
        return self._batches.store.size() - before

    def collect(self) -> Iterator[tuple[Batch, list[HardSample], list[Failed]]]:
        """Each batch that is over: samples with a stored answer, and those that get none.

        What is in neither is asked again. A batch must be told to `forget` once it was taken up.
        """
        from meta_controller.errors import LanguageModelError

        if self._batches is None:
            return
        for key in self._batches.store.due(time.time()):
            batch = self._batches.store.get(key)
            try:
                ended = self._batches.collect(batch, self._lease.transaction) if batch else None
            except LanguageModelError as error:
                self._wiring.journal.error("review", str(error), self._project.id)
                continue
            if batch is None or ended is None:
                continue
            if not any(one.answered for one in ended):
                why = next((str(one.error) for one in ended if one.error), "no answers")
                self._leave_alone(f"A batch brought nothing: {why}")
            answered = [_sample(one.sent.cargo) for one in ended if one.answered]
            yield batch, answered, [*_failed(ended, batch)]

    def forget(self, batch: Batch) -> None:
        """The samples of a batch were taken up."""
        assert self._batches is not None
        self._batches.forget(batch, self._lease.transaction)

    def _leave_alone(self, why: str) -> None:
        """Ask directly for a day, and say so once."""
        note = f"{why} Questions are asked directly for a day."
        self._wiring.redis.set(off_key(self._project.id), note, ex=_OFF_S)
        self._wiring.journal.error("review", note, self._project.id)


def _failed(ended: Sequence[Ended], batch: Batch) -> Iterator[Failed]:
    """What would end alike if it were asked again.

    Not what a pack did not bring, nor what was rejected: that may be the form of the request.
    """
    from meta_controller.errors import NoVerdict

    alone = {prompt[0].answer_key for prompt in batch.sent.values() if len(prompt) == 1}
    for one in ended:
        error = one.error
        single = one.sent.answer_key in alone
        if isinstance(error, NoVerdict) and error.kind != "rejected" and single:
            yield _sample(one.sent.cargo), error


def _sample(cargo: Any) -> HardSample:
    return HardSample(**{**cargo, "labels": tuple(cargo["labels"])})


def _store(redis: Redis, project_id: int) -> BatchStore:
    from meta_controller.batch_store import BatchStore

    return BatchStore(redis, project_id)
