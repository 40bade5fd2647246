"""Every kind of control against a real Label Studio: what passes, and what config changes do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.sax.saxutils import quoteattr

import pytest
from label_studio_server import Server, label_studio_server
from machine import CONFIG
from provider import Provider
from redis import Redis
from world import settings

from backend.annotations import answers_of
from backend.connect import connect
from backend.doctor import _guarded
from backend.errors import LabelConfigError
from backend.jobs import reconcile, review
from backend.label_changes import adopt
from backend.label_config import parse
from backend.predictions import Part, prediction
from backend.projects import Project
from backend.wiring import Wiring
from specialists.types import Decision

NAMES = ("a, b", 'say "no"', "😀/😡", "A > B", "back\\slash", "سلبي", "Good", "good", " spaced ")
LISTED = "".join(f"<Choice value={quoteattr(name)}/>" for name in NAMES)
MANY = "".join(f'<Choice value="label {n}"/>' for n in range(300))
KINDS = f"""<View><Text name="text" value="$text"/>
<Choices name="one" toName="text">{LISTED}</Choices>
<Choices name="many" toName="text" choice="multiple">{MANY}</Choices>
<Choices name="nested" toName="text" choice="multiple" allowNested="true">
<Choice value="top, 1">{LISTED}</Choice><Choice value="other"/></Choices>
<Taxonomy name="tree" toName="text"><Choice value="top / 2">{LISTED}</Choice></Taxonomy>
<Rating name="stars" toName="text" maxRating="9"/></View>"""
NO_TEXT = (
    '<View><Image name="i" value="$i"/>'
    '<Choices name="c" toName="i"><Choice value="a"/></Choices></View>'
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with label_studio_server(tmp_path_factory.mktemp("label-studio")) as running:
        yield running


@pytest.fixture
def wiring(
    redis: Redis, redis_socket: str, tmp_path: Path, provider: Provider, server: Server
) -> Iterator[Wiring]:
    more = {"LABEL_STUDIO_URL": server.url, "LABEL_STUDIO_API_KEY": server.token}
    made = Wiring(settings(redis_socket, tmp_path, provider, **more))
    yield made
    made.label_studio.close()
    made.evidence.close()
    made.redis.close()
    made.raw_redis.close()


def test_every_label_of_every_kind_passes_and_comes_back(wiring: Wiring) -> None:
    api, controls = wiring.label_studio, parse(KINDS)
    number = int(api.create_project("Kinds", KINDS)["id"])
    count = max(len(one.labels.names) for one in controls[:1] + controls[2:])
    tasks = api.import_tasks(number, [{"text": f"text {n}"} for n in range(count)])
    rows, said = [], {}
    for place, task in enumerate(tasks):
        labels = {c.name: (c.labels.names[place % len(c.labels.names)],) for c in controls}
        labels["many"] = controls[1].labels.names[place * 25 : place * 25 + 40]
        parts = [Part(c, Decision(labels[c.name], 0.5, True, "as it is")) for c in controls]
        rows.append({"task": task, **prediction("t", parts)})
        said[task] = labels
    assert api.import_predictions(number, rows) == count
    first = api.predictions(number)[0]
    api.patch_prediction(
        int(first["id"]),
        task=int(first["task"]),
        project=number,
        result=first["result"],
        score=0.7,
        model_version="t",
    )
    stored = {int(row["task"]): row for row in api.predictions(number)}
    for task, labels in said.items():
        api.create_annotation(task, stored[task]["result"], lead_time=2.0)
        (answer,) = answers_of(next(api.tasks(number, [task])), controls).answers
        assert answer.choices == labels and answer.unfit == {}


def test_a_kind_that_changes_under_equal_labels_is_written_anew(wiring: Wiring) -> None:
    api = wiring.label_studio
    number = int(api.create_project("Changing", CONFIG)["id"])
    (task,) = api.import_tasks(number, [{"text": "I love this."}])
    wiring.projects.put(Project(number, CONFIG, push=True, tasks=1))
    (control,) = parse(CONFIG)
    tag = wiring.committees.ensure(number, (control,))
    part = Part(control, Decision(("positive",), 0.5, True, "as it was"))
    api.import_predictions(number, [{"task": task, **prediction(tag, [part])}])
    api.update_project(number, model_version=tag)
    nested = CONFIG.replace("<Choices ", '<Choices allowNested="true" ')
    api.update_project(number, label_config=nested)
    with wiring.lease(f"reconcile:{number}") as lease:
        reconcile.work(wiring, number, lease)
    assert wiring.promotions(number).served() == tag, "the labels are the same"
    assert wiring.projects.desk(number).wanted_patches() == [task]
    with wiring.lease(f"review:{number}") as lease:
        review.work(wiring, number, lease)
    (row,) = api.predictions(number)
    assert row["result"][0]["value"]["choices"] == [["positive"]]


def test_a_project_without_a_text_to_classify_says_what_to_add(wiring: Wiring) -> None:
    api = wiring.label_studio
    number = int(api.create_project("Pictures", NO_TEXT)["id"])
    with pytest.raises(LabelConfigError, match="Choices 'c' \\(Image 'i' is no text\\)"):
        connect(wiring, number, print)
    assert wiring.projects.get(number) is None and api.backends(number) == []
    (finding,) = _guarded(wiring, number)
    assert finding.level == "fail" and "Nothing to classify" in finding.what
    assert finding.fix.startswith("Give the project a <Choices>, <Taxonomy> or <Rating> tag")
    wiring.projects.put(Project(number, CONFIG))
    assert not adopt(wiring, number, NO_TEXT)
    known = wiring.projects.get(number)
    assert known and known.label_config == CONFIG, "the one before stays"
    assert "a <Choices>, <Taxonomy>" in wiring.journal.errors()[0]["message"]
