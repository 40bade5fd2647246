"""A project whose labels no specialist knows: it says so, abstains, learns from people, answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from backend import report
from backend.connect import coverage
from backend.jobs.refit import refit_project
from backend.label_config import parse
from backend.labeling import Labeled
from backend.projects import Project
from backend.settings import Settings
from backend.wiring import Wiring
from specialists.types import Verdict
from specialists.value_rule import MIN_GAIN

PROJECT = 7
CONFIG = (
    '<View><Text name="text" value="$text"/><Choices name="desk" toName="text">'
    '<Choice value="Geld zurück, Umtausch" hint="refunds and returns"/>'
    '<Choice value="📦"/><Choice value="D3" hint="passwords and access to the account"/>'
    "</Choices></View>"
)
DESKS = {
    "Geld zurück, Umtausch": (
        "I want my money back for the {}.",
        "How do I return the {}? It does not fit.",
        "The {} was charged twice, please refund me.",
        "Can I exchange the {} for a larger one?",
    ),
    "📦": (
        "The parcel with the {} has not arrived yet.",
        "When will the {} be delivered?",
        "The courier left the {} with a neighbour I do not know.",
        "My {} is stuck at the depot, says the tracking page.",
    ),
    "D3": (
        "I cannot log in to order a {}.",
        "Please reset my password, I want to buy a {}.",
        "My account was locked when I paid for the {}.",
        "The code to sign in never comes; I only wanted a {}.",
    ),
}
THINGS = "coat lamp kettle jacket mirror bicycle scarf radio".split()
TEXTS = [
    (text.format(thing), desk)
    for thing in THINGS
    for texts in zip(*DESKS.values(), strict=True)
    for text, desk in zip(texts, DESKS, strict=True)
]
ANSWERED = 48  # of 96: people have seen half of the things


@pytest.fixture
def wiring(redis: Redis, redis_socket: str, tmp_path: Path) -> Iterator[Wiring]:
    environ = {"REDIS_URL": f"unix://{redis_socket}", "DATA_DIR": str(tmp_path)}
    made = Wiring(Settings.from_env({**environ, "LLM_PROVIDER": "none", "AUDIT_SHARE": "0"}))
    made.projects.put(Project(PROJECT, CONFIG, tasks=len(TEXTS)))
    yield made
    made.evidence.close()
    made.redis.close()


def label(wiring: Wiring) -> list[Labeled]:
    tasks = [{"id": i, "data": {"text": text}} for i, (text, _) in enumerate(TEXTS, start=1)]
    controls = parse(CONFIG)
    return wiring.labeler.label(PROJECT, controls, tag(wiring), tasks)


def tag(wiring: Wiring) -> str:
    return wiring.committees.ensure(PROJECT, parse(CONFIG))


def answers(labeled: list[Labeled]) -> list[str | None]:
    regions = [one.prediction["result"] for one in labeled]
    return [found[0]["value"]["choices"][0] if found else None for found in regions]


def annotate(wiring: Wiring, count: int) -> None:
    """People answer the first tasks, and the rule learns from them."""
    for task, (text, desk) in enumerate(TEXTS[:count], start=1):
        wiring.pool(PROJECT).add(
            Verdict(task, "desk", text, (desk,), "human", "1", at=1.0, annotation_id=1000 + task)
        )
    project = wiring.projects.get(PROJECT)
    assert project
    with wiring.lease("review:7") as lease:
        assert refit_project(wiring, project, lease)


def test_it_says_plainly_that_nobody_knows_the_labels(wiring: Wiring) -> None:
    (line,) = coverage(wiring, PROJECT, tag(wiring))
    assert line == (
        "Control desk: no specialist knows Geld zurück, Umtausch, 📦, D3; it abstains until "
        "verdicts have taught it, and meanwhile only compares texts with what the labels are "
        "called. SPECIALISTS names models for new projects."
    )


def test_it_abstains_learns_from_people_and_answers(wiring: Wiring) -> None:
    before = label(wiring)
    assert set(answers(before)) == {None}
    hard = [sample for one in before for sample in one.hard]
    assert len(hard) == len(TEXTS), "everything is hard"
    assert min(sample.gain for sample in hard) >= MIN_GAIN, "and worth a call to an LLM"
    annotate(wiring, ANSWERED)
    after = label(wiring)[ANSWERED:]
    right = [said == desk for said, (_, desk) in zip(answers(after), TEXTS[ANSWERED:], strict=True)]
    assert sum(right) / len(right) > 0.9
    assert sum(bool(one.hard) for one in after) < len(after) / 2, "fewer are hard"
    state = wiring.rules.state(PROJECT, "desk", tag(wiring))
    assert state and state.verdicts == ANSWERED and state.live and state.live.admitted
    (found,) = report.read(wiring, PROJECT)
    assert "(a first guess)" in " ".join(report.sentences(found)), "no LLM was ever checked"


def test_too_few_answers_leave_it_silent(wiring: Wiring) -> None:
    label(wiring)
    annotate(wiring, 7)
    assert set(answers(label(wiring))) == {None}


def test_another_hint_is_another_committee_that_keeps_what_was_learned(wiring: Wiring) -> None:
    label(wiring)
    annotate(wiring, ANSWERED)
    before = tag(wiring)
    told = parse(CONFIG.replace("refunds and returns", "money and exchanges"))
    after = wiring.committees.ensure(PROJECT, told)
    assert after != before
    state = wiring.rules.state(PROJECT, "desk", after)
    assert state and state.verdicts == ANSWERED
