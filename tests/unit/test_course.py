"""The training of a stage's members: in turn, or at once on several devices."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from specialists.errors import SpecialistUnavailable
from specialists.types import Label, LabelSet, SpecialistRef
from training.course import Course, FineTune, Member
from training.errors import OutOfMemory
from training.fine_tune import Example
from training.model_store import ModelStore
from training.params import FineTuneParams

LABELS = LabelSet((Label("good"), Label("bad")))
NAMES = [f"m{n}" for n in range(5)]
MEMBERS = {
    f"mood/{name}": Member(SpecialistRef(name, name, {}), LABELS, [Example("fine", ("good",))])
    for name in NAMES
}
GPUS = ("cuda:0", "cuda:1")


class Gym:
    """A learner that writes down who trained where, and how many at once."""

    def __init__(self, root: Path) -> None:
        self.store = ModelStore(root)
        self.trained: dict[str, str] = {}
        self.told: list[tuple[str, float, float]] = []
        self.finished: dict[str, str] = {}
        self.both = threading.Barrier(2, timeout=10)
        self.lock = threading.Lock()
        self.on: set[str] = set()

    def learn(
        self,
        ref: SpecialistRef,
        labels: LabelSet,
        folder: Path | None,
        examples: Sequence[Example],
        out: Path,
        params: FineTuneParams,
        report: Callable[[float, float], None],
        held_out: Sequence[Example],
    ) -> None:
        with self.lock:
            assert params.device not in self.on, "one member a device at a time"
            self.on.add(params.device)
            self.trained[ref.name] = params.device
        if ref.name in NAMES[:2] and params.device in GPUS:
            self.both.wait()  # passes only when two train at once
        report(0.5, 1.0)
        (out / "known.json").write_text(ref.name)
        report(1.0, 0.5)
        with self.lock:
            self.on.remove(params.device)

    def course(self, devices: Sequence[str], learn: FineTune | None = None) -> Course:
        return Course(
            FineTuneParams(),
            self.store,
            learn or self.learn,
            lambda *told: self.told.append(told),
            self.finished.__setitem__,
            devices,
        )


@pytest.fixture
def gym(tmp_path: Path) -> Gym:
    return Gym(tmp_path)


def test_members_train_at_once_one_a_device_and_end_as_in_turn(gym: Gym, tmp_path: Path) -> None:
    together = gym.course(GPUS).train(MEMBERS, {})
    assert together.keys() == MEMBERS.keys()
    assert set(gym.trained.values()) == set(GPUS)
    assert gym.finished == together
    shares = [share for _, share, _ in gym.told]
    assert shares == sorted(shares) and shares[-1] == pytest.approx(1.0)
    alone = Gym(tmp_path / "alone")
    assert alone.course(()).train(MEMBERS, {}) == together
    assert set(alone.trained.values()) == {"cpu"}


@pytest.mark.parametrize("devices", [(), GPUS])
def test_what_a_killed_run_finished_is_not_trained_again(gym: Gym, devices: Sequence[str]) -> None:
    before = gym.course(()).train(MEMBERS, {})
    done = {"mood/m0": before["mood/m0"], "mood/m1": before["mood/m1"], "mood/m2": "0" * 16}
    gym.trained.clear()
    assert gym.course(devices).train(MEMBERS, done) == before
    assert set(gym.trained) == {"m2", "m3", "m4"}


@pytest.mark.parametrize("devices", [(), GPUS])
def test_a_member_that_cannot_be_had_is_left_and_all_of_them_fail(
    gym: Gym, devices: Sequence[str]
) -> None:
    def partly(ref: SpecialistRef, *rest: object) -> None:
        if ref.name == "m3":
            raise SpecialistUnavailable("hub/m3", "the Hub does not answer", "try again")
        gym.learn(ref, *rest)  # type: ignore[arg-type]

    assert set(gym.course(devices, partly).train(MEMBERS, {})) == set(MEMBERS) - {"mood/m3"}
    only = {"mood/m3": MEMBERS["mood/m3"]}
    with pytest.raises(SpecialistUnavailable, match="the Hub does not answer"):
        gym.course(devices, partly).train(only, {})


def test_a_failure_on_one_device_ends_the_course_and_keeps_what_was_finished(gym: Gym) -> None:
    def failing(ref: SpecialistRef, *rest: object) -> None:
        if ref.name == "m1":
            raise OSError("the driver failed")
        gym.learn(ref, *rest)  # type: ignore[arg-type]

    gym.both.abort()
    names = {key: member for key, member in MEMBERS.items() if key != "mood/m0"}
    with pytest.raises(OSError, match="the driver failed"):
        gym.course(GPUS, failing).train(names, {})
    assert "mood/m1" not in gym.finished
    for checkpoint in gym.finished.values():
        assert gym.store.open(checkpoint).is_dir()


def sparing(gym: Gym, enough_for: int) -> FineTune:
    """A learner whose memory is enough for so many texts at once."""

    def learn(
        ref: SpecialistRef,
        labels: LabelSet,
        folder: Path | None,
        examples: Sequence[Example],
        out: Path,
        params: FineTuneParams,
        report: Callable[[float, float], None],
        held_out: Sequence[Example],
    ) -> None:
        (out / "half-written").touch()
        if (params.at_once or params.batch_size) > enough_for:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        (out / "half-written").unlink()
        gym.learn(ref, labels, folder, examples, out, params, report, held_out)

    return learn


@pytest.mark.parametrize("devices", [(), GPUS])
def test_out_of_memory_a_member_trains_on_in_smaller_parts(
    gym: Gym, devices: Sequence[str]
) -> None:
    course = gym.course(devices, sparing(gym, enough_for=5))
    assert course.train(MEMBERS, {}) == gym.course(()).train(MEMBERS, {})
    assert course.at_once == dict.fromkeys(MEMBERS, 4)  # of 16, 8 and 4


def test_a_member_for_which_one_text_is_too_much_ends_the_course(gym: Gym) -> None:
    with pytest.raises(OutOfMemory, match="m0: the memory of cpu .* TRAIN_MEMORY_MB"):
        gym.course((), sparing(gym, enough_for=0)).train(MEMBERS, {})
    assert gym.trained == {} and gym.finished == {}
