"""What must hold after a fault, whatever it was: facts are collected, and compared.

Comparing is pure: `Facts` in, `Findings` out, so that tests can plant what it must find.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field, fields

from llm import asked
from phases import Walk
from redis import Redis, RedisError

from backend.label_config import parse
from backend.predictions import shows
from meta_controller.answers import Answers, answer_key
from meta_controller.language_model import Question
from training.model_store import ModelStore

_LOOK_S = 0.1
_SHORT = (
    "aa:lease:scheduler",
    *("aa:lease:*:{project}", "aa:queued:*:{project}", "aa:pause:*:{project}"),
    *("aa:project:{project}:review_paused", "aa:project:{project}:reconciled"),
)
_LONGEST_MS = 3_600_000


@dataclass(frozen=True)
class Facts:
    """What is so at one moment; times are seconds since the epoch, names those of texts."""

    annotations: Mapping[int, str]  # in Label Studio: id -> label
    acknowledged: Set[int]  # ids of those that Label Studio said it has
    human: Mapping[int, str]  # in the pool: annotation id -> label
    verdicts: Set[str]  # in the pool now
    seen: Set[str]  # in the pool at some moment
    asked: Sequence[tuple[float, str]]  # what the LLM was asked, and when
    stored: Mapping[str, float]  # when an answer was first seen in Redis
    tasks: Set[int]
    predictions: Counter[tuple[int, str]]  # in Label Studio: (task, tag) -> rows
    served: str | None
    shown: str
    hidden: Set[int]  # tasks whose prediction does not show the LLM's verdict
    waits: Sequence[str]  # what is not done yet


@dataclass(frozen=True)
class Findings:
    """What is wrong, in words; nothing is when all are empty."""

    lost_annotations: list[str] = field(default_factory=list)
    lost_verdicts: list[str] = field(default_factory=list)
    double_paid: list[str] = field(default_factory=list)
    duplicate_predictions: list[str] = field(default_factory=list)
    unrecovered: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return any(getattr(self, one.name) for one in fields(self))

    def lines(self) -> list[str]:
        """Each finding with its kind."""
        return [f"{one.name}: {text}" for one in fields(self) for text in getattr(self, one.name)]


KINDS = tuple(one.name for one in fields(Findings))


def compare(facts: Facts) -> Findings:
    """Find what does not hold."""
    lost = [
        f"annotation {number} ({label}) is {facts.human.get(number, 'missing')} in the pool"
        for number, label in facts.annotations.items()
        if facts.human.get(number) != label
    ]
    gone = facts.acknowledged - facts.annotations.keys()
    lost += [f"annotation {number} is gone from Label Studio" for number in sorted(gone)]
    twice = [
        f"{name} was asked {at - facts.stored[name]:.1f} s after its answer was stored"
        for at, name in facts.asked
        if name in facts.stored and at > facts.stored[name]
    ]
    duplicates = [
        f"task {task} has {rows} predictions of {tag}"
        for (task, tag), rows in facts.predictions.items()
        if rows > 1
    ]
    return Findings(
        lost_annotations=lost,
        lost_verdicts=[f"verdict {one}" for one in sorted(facts.seen - facts.verdicts)],
        double_paid=twice,
        duplicate_predictions=duplicates,
        unrecovered=_unrecovered(facts),
    )


def _unrecovered(facts: Facts) -> list[str]:
    found = list(facts.waits)
    bare = [task for task in facts.tasks if not facts.predictions[task, facts.served or ""]]
    if bare:
        found.append(f"{len(bare)} of {len(facts.tasks)} tasks have no prediction of the tag")
    if facts.shown != facts.served:
        found.append(f"{facts.served} is served, Label Studio shows {facts.shown or 'nothing'}")
    if facts.hidden:
        found.append(f"{len(facts.hidden)} verdicts are not shown")
    return found


class Watch:
    """Looks at the pool and the stored answers all the time: what was there may not be lost."""

    def __init__(self, walk: Walk) -> None:
        self._walk = walk
        self._redis = walk.plant.wiring.redis
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self.seen: set[str] = set()
        self.stored: dict[str, float] = {}

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def verdicts(self) -> set[str]:
        """The fields of the pool's verdicts."""
        return {
            f"{v.task_id}:{v.source}:{v.annotation_id or 0}"
            for v in self._walk.plant.wiring.pool(self._walk.project).verdicts()
        }

    def _run(self) -> None:
        answers = Answers(self._redis, self._walk.project).key
        while not self._stop.wait(_LOOK_S):
            with suppress(RedisError):  # it is what is struck
                keys = set(self._redis.hkeys(answers))
                self.seen |= self.verdicts()
                now = time.time()
                for name, text in list(self._walk.texts.items()):
                    if name not in self.stored and self._key(text) in keys:
                        self.stored[name] = now

    def _key(self, text: str) -> str:
        wiring = self._walk.plant.wiring
        project = wiring.projects.get(self._walk.project)
        model = wiring.language_model
        assert project and model
        (control,) = parse(project.label_config)
        question = Question(
            control.name,
            text,
            control.labels,
            guideline=project.guideline,
            descriptions=control.descriptions,
        )
        return answer_key(model, question)


def collect(walk: Walk, watch: Watch, phase: str) -> Facts:
    """Look at everything once; raises whatever a part that is down makes of it."""
    plant, project = walk.plant, walk.project
    seen = set(watch.seen)  # before the pool: what comes in between is not lost
    verdicts = plant.wiring.pool(project).verdicts()
    tasks = list(plant.people.tasks(project))
    rows = plant.people.predictions(project)
    remote = plant.people.project(project)
    served = walk.served
    shown = {int(row["task"]): row for row in rows if row["model_version"] == served}
    open_tasks = {int(task["id"]) for task in tasks if not task["annotations"]}
    return Facts(
        annotations={
            int(one["id"]): one["result"][0]["value"]["choices"][0]
            for task in tasks
            for one in task["annotations"]
        },
        acknowledged=set(walk.acknowledged),
        human={v.annotation_id: v.labels[0] for v in verdicts if v.annotation_id is not None},
        verdicts={f"{v.task_id}:{v.source}:{v.annotation_id or 0}" for v in verdicts},
        seen=seen,
        asked=[one for one in asked(plant.record) if one[1] in walk.texts],
        stored=dict(watch.stored),
        tasks={int(task["id"]) for task in tasks},
        predictions=Counter((int(row["task"]), row["model_version"]) for row in rows),
        served=served,
        shown=str(remote.get("model_version") or ""),
        hidden={
            v.task_id
            for v in verdicts
            if v.source == "llm"
            and v.task_id in open_tasks & shown.keys()
            and not shows(shown[v.task_id]["result"], v.control, v.labels)
        },
        waits=_waits(walk, phase),
    )


def _waits(walk: Walk, phase: str) -> list[str]:
    """What is under way or down."""
    plant, waiting = walk.plant, walk.desk.waiting()
    found = [] if plant.is_up() else ["a program is down"]
    found += [
        f"{waiting[name]} {name}"
        for name in ("to_predict", "to_patch", "to_review")
        if waiting[name]
    ]
    if walk.desk.candidate():
        found.append("a candidate waits for promotion")
    if walk.desk.stage().get("running"):
        found.append("a stage runs")
    found += [f"{key} lasts for hours" for key in _overdue(plant.wiring.redis, walk.project)]
    found += [f"{n} jobs in queue {kind}" for kind, n in plant.wiring.queues.lengths().items() if n]
    if undone := walk.undone(phase):
        found.append(undone)
    return found


def _overdue(redis: Redis, project: int) -> list[str]:
    """Leases, marks and pauses of a project that last for longer than any is set for."""
    kinds = [kind.format(project=project) for kind in _SHORT]
    keys = [str(key) for kind in kinds for key in redis.scan_iter(kind, count=1000)]
    return [key for key in keys if int(str(redis.pttl(key))) > _LONGEST_MS]


def problems(walk: Walk) -> list[str]:
    """What is wrong with the committee that is served, read anew from the store."""
    wiring, tag = walk.plant.wiring, walk.served
    if tag is None:
        return ["no tag is served"]
    store = ModelStore(walk.plant.settings.models)  # has verified nothing yet
    manifest = store.committee(tag)
    for name in manifest.checkpoints:
        store.open(name)
    return [
        problem
        for control in manifest.controls
        for problem in wiring.committees.committee(tag, control).problems
    ]
