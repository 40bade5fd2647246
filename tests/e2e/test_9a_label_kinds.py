"""Story 9a: nested choices, a taxonomy and a rating over a dialogue, shown chosen and submitted."""

from __future__ import annotations

import time

import pytest
from playwright.sync_api import Page, expect
from running_demo import Demo, eventually

from backend.label_config import parse, text_of
from specialists.types import Verdict

CONFIG = """<View><Paragraphs name="talk" value="$call.turns" nameKey="who" textKey="said"/>
<Choices name="tone" toName="talk" allowNested="true"><Choice value="feeling, if any">
<Choice value="positive"/><Choice value="negative"/></Choice><Choice value="neutral"/></Choices>
<Taxonomy name="harm" toName="talk" maxUsages="1" leafsOnly="true"><Choice value="a > b / c">
<Choice value="toxic"/><Choice value="non-toxic"/></Choice></Taxonomy>
<Rating name="stars" toName="talk" maxRating="7"/></View>"""
DATA = {
    "call": {
        "turns": [
            {"who": "Ann", "said": "I love this, wonderful!"},
            {"who": "Bo", "said": "The best day ever, thank you so much."},
        ]
    }
}
SAID = {
    "tone": ("feeling, if any > positive",),
    "harm": (r"a \> b / c > non-toxic",),
    "stars": ("4",),
}


@pytest.fixture(scope="module")
def project_id(demo: Demo) -> int:
    """A connected project with one task, whose stars an LLM gave."""
    number = int(demo.label_studio.create_project("Kinds of labels", CONFIG)["id"])
    (task,) = demo.label_studio.import_tasks(number, [DATA])
    (*_, stars) = parse(CONFIG)
    text = text_of(stars, DATA)
    assert text == "Ann: I love this, wonderful!\nBo: The best day ever, thank you so much."
    given = Verdict(task, "stars", text, ("4",), "llm", "a-model", time.time(), answer=("4",))
    demo.wiring.pool(number).add(given)
    demo.command("connect", "--project", str(number))
    return number


def test_every_kind_is_shown_chosen_and_comes_back(demo: Demo, project_id: int, page: Page) -> None:
    page.goto(f"{demo.record['label_studio_url']}/projects/{project_id}/data?labeling=1")
    chosen = page.locator(".ant-checkbox-wrapper-checked")
    expect(chosen.filter(has_text="positive")).to_be_visible()
    expect(chosen).to_have_count(1)
    expect(page.locator(".ant-select-selection-item")).to_have_text("non-toxic")
    expect(page.locator(".ant-rate-star-full")).to_have_count(4)
    page.get_by_test_id("bottombar-submit-button").click()

    def people() -> dict[str, tuple[str, ...]]:
        verdicts = demo.wiring.pool(project_id).verdicts()
        return {v.control: v.labels for v in verdicts if v.source == "human"}

    eventually(lambda: people() == SAID, 30, "the annotator's answers")
