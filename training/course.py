"""The training of a stage's members: one after the other, or at once on several devices.

Whatever a killed run finished is not done again. It knows neither the gate nor how a model learns.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import SimpleQueue

from specialists.errors import SpecialistUnavailable
from specialists.types import LabelSet, SpecialistRef
from training import memory
from training.errors import CheckpointDamaged, OutOfMemory
from training.fine_tune import Example
from training.model_store import ModelStore
from training.params import FineTuneParams
from training.shortages import shortage

_log = logging.getLogger(__name__)

Report = Callable[[float, float], None]
FineTune = Callable[
    [
        SpecialistRef,
        LabelSet,
        Path | None,
        Sequence[Example],
        Path,
        FineTuneParams,
        Report,
        Sequence[Example],
    ],
    None,
]
Progress = Callable[[str, float, float], None]
Finished = Callable[[str, str], None]


@dataclass(frozen=True)
class Member:
    """One specialist to fine-tune, with its control's labels and examples.

    `tuning` are not trained on: by them it is chosen when it has learned enough.
    """

    ref: SpecialistRef
    labels: LabelSet
    examples: Sequence[Example] = field(repr=False)
    tuning: Sequence[Example] = field(default=(), repr=False)


@dataclass
class Course:
    """How members are trained, and who hears of it; see `stage.run_stage`.

    With more than one of `devices`, `fine_tune` is called from as many threads and must not share
    anything between its calls (`own_process.fine_tune`); progress is still told one at a time.
    `at_once` has the members that trained in smaller parts, as memory ran out, with their size.
    """

    params: FineTuneParams
    store: ModelStore
    fine_tune: FineTune
    progress: Progress
    finished: Finished
    devices: Sequence[str] = ()
    at_once: dict[str, int] = field(default_factory=dict)
    _telling: threading.Lock = field(default_factory=threading.Lock)
    _shares: dict[str, float] = field(default_factory=dict)

    def train(self, members: Mapping[str, Member], done: Mapping[str, str]) -> dict[str, str]:
        """The new checkpoints by "control/member"; `done` are those of a killed run.

        A member whose model cannot be had is left as it is, as it is left out of the vote; when
        that is true of all, raises SpecialistUnavailable. Raises OutOfMemory when a member's memory
        is not enough for one text at a time.
        """
        self._shares = dict.fromkeys(members, 0.0)
        checkpoints: dict[str, str] = {}
        unavailable: SpecialistUnavailable | None = None
        for key, result in self._each(members, done):
            if isinstance(result, str):
                checkpoints[key] = result
            else:
                _log.warning("%s: not trained: %s", key, result)
                unavailable = result
        if unavailable and not checkpoints:
            raise unavailable
        return checkpoints

    def _each(
        self, members: Mapping[str, Member], done: Mapping[str, str]
    ) -> Iterator[tuple[str, str | SpecialistUnavailable]]:
        """Train every member, as many at once as there are devices."""
        if len(self.devices) < 2:
            device = self.devices[0] if self.devices else self.params.device
            for key, member in members.items():
                yield key, self._one(key, member, done.get(key), device)
            return
        free: SimpleQueue[str] = SimpleQueue()
        for device in self.devices:
            free.put(device)

        def on_a_free_device(key: str) -> tuple[str, str | SpecialistUnavailable]:
            device = free.get()
            try:
                return key, self._one(key, members[key], done.get(key), device)
            finally:
                free.put(device)

        with ThreadPoolExecutor(len(self.devices), "course") as pool:
            futures = [pool.submit(on_a_free_device, key) for key in members]
            try:
                for future in as_completed(futures):
                    yield future.result()
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _one(
        self, key: str, member: Member, checkpoint: str | None, device: str
    ) -> str | SpecialistUnavailable:
        """One member's checkpoint, or why it cannot be had."""
        if checkpoint is not None and self._is_whole(checkpoint):
            self._shares[key] = 1.0
            return checkpoint

        def report(share: float, loss: float) -> None:
            with self._telling:
                self._shares[key] = share
                self.progress(key, sum(self._shares.values()) / len(self._shares), loss)

        def fill(out: Path) -> None:
            ref, examples, tuning = member.ref, member.examples, member.tuning
            folder = self.store.open(ref.checkpoint) if ref.checkpoint else None
            params = replace(self.params, device=device, at_once=self.at_once.get(key))
            self.fine_tune(ref, member.labels, folder, examples, out, params, report, tuning)

        try:
            while (checkpoint := self._written(key, fill)) is None:
                self._halve(key, member.ref.name, device)
        except SpecialistUnavailable as error:
            return error
        self._shares[key] = 1.0
        with self._telling:
            self.finished(key, checkpoint)
        return checkpoint

    def _written(self, key: str, fill: Callable[[Path], None]) -> str | None:
        """The stored checkpoint, None when memory ran out; what was allocated is free again."""
        try:
            return self.store.write(fill)
        except SpecialistUnavailable:
            raise
        except Exception as error:
            if not isinstance(found := shortage(error), OutOfMemory):
                raise
            _log.warning("%s: %s", key, found)
        memory.give_back()
        return None

    def _halve(self, key: str, name: str, device: str) -> None:
        """Let the member compute half as much at once, after memory ran out."""
        size = self.at_once.get(key, self.params.batch_size) // 2
        if not size:
            raise OutOfMemory(
                f"{name}: the memory of {device} is not enough to train it, not even on one text "
                "at a time. Raise TRAIN_MEMORY_MB if it is set, free memory, or let it train on "
                "the CPU (TRAIN_FALLBACK=cpu)."
            )
        self.at_once[key] = size
        _log.warning("%s: trains on with %d texts at once", key, size)

    def _is_whole(self, checkpoint: str) -> bool:
        """Whether a killed run's checkpoint is still there to go on from."""
        try:
            self.store.open(checkpoint)
        except CheckpointDamaged:
            return False
        return True
