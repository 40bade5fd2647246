"""The status page from made statuses: what it shows, and that nothing in it is markup."""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from dataclasses import asdict
from html import unescape
from html.parser import HTMLParser
from typing import Any

import pytest

from backend.mended import KINDS
from backend.meter import Point
from backend.status import render as as_text
from backend.web.page import render
from backend.web.page.routes import _HEADERS
from training.card import Card

EVIL = "<script>alert(1)</script>\"'&"
CARD = Card(
    "stage-2-b", "stage-1-a", 2, "promoted", "Promoted: 18 of 20 right.", 0.8, 0.9, 20, "human",
    {"human": 40}, 1, 61.4, "lora", 1e9, 0.5, 0.1, {EVIL: (10, 8, 9)}, {EVIL: 7}, {"epochs": 3.0},
    {}, 0.25, 0.5, 12,
)  # fmt: skip
NOW = {"control": "c", "hard": 0.2, "target": None, "basis": "audits", "n": 50, "accuracy": 0.9}
STAGES = [
    Point(1, "stage-1-a", 0.4, 0.8, 0.7, 0.9, 20, 0.25),
    Point(2, "stage-2-b", 0.3, 0.9, 0.8, 0.95, 20, 0.5),
]
SPEND: dict[str, Any] = {"usd": 1.5, "calls": 3, "verdicts": 2, "unsure": 0, "failures": {}}


def project(**more: Any) -> dict[str, Any]:
    return {
        "id": 7,
        "title": "Reviews",
        "mode": "push",
        "tag": "stage-2-b",
        "kept": ["stage-2-b", "stage-1-a"],
        "last_card": asdict(CARD),
        "cards": [asdict(CARD)],
        "waiting": {"to_predict": 0, "to_patch": 0, "to_review": 1, "hard": 2},
        "left_to_people": {},
        "pool": {"waiting": 9, "set_aside": 0, "new": 9, "stage_size": 50, "human": 40, "llm": 2},
        "stage": "",
        "drift": "",
        "spend": SPEND | {"tokens": {"sent": 0, "written": 0, "cached": 0}},
        "budget": [],
        "asking": None,
        "savings": {"asked": 25, "tasks": 100, "usd_everything": 6.0},
        "batched": 0,
        "paused": "",
        "held": None,
        "report": [],
        "sway": [],
        "meter": {
            "stages": [asdict(one) for one in STAGES],
            "now": [NOW | {"low": 0.81, "high": 0.95}],
            "enough": False,
            "why": "it is not",
        },
        "mended": {"at": 1e9, "counts": dict.fromkeys(KINDS, 0) | {"duplicates": 3}},
        **more,
    }


def status(*projects: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "projects": list(projects),
        "queues": {"review": 0, "push": 4, "train": 0},
        "workers": {"review": 1, "push": 2, "train": 0},
        "llm": "none: hard samples wait for people",
        "ignored": {},
        "errors": [],
        **more,
    }


def shown(html: str) -> str:
    """The text of a page, spaces made one."""
    bare = re.sub(r"<style>.*?</style>|<[^>]+>", " ", html, flags=re.S)
    return " ".join(unescape(bare).split())


class Tags(HTMLParser):
    """The elements of a page: names, and attributes of those that are asked for."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def all(self, *names: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name in names]


def test_everything_an_operator_asks_for_is_there() -> None:
    html = render.page(status(project()), "a-token", "", "")
    words = shown(html)
    for told in (
        "Reviews",
        "serves stage-2-b",
        "90.0\u202f% 81.0\u202f% to 95.0\u202f%, 50 audits",
        "LLM spend, USD 1.50",
        "75\u202f% 25 of 100 questions asked; all would cost 6.00 USD",
        "9 of 50",
        "80.0\u202f% → 90.0\u202f%",
        "Promoted: 18 of 20 right.",
        "Mended by reconcile: 3",
        "Predictions too many deleted 3",
    ):
        assert told.replace("\u202f", " ") in words.replace("\u202f", " "), (told, words)
    assert html.count("<svg") == 3, "accuracy, hard share, spend"
    assert 'class="band"' in html, "the accuracy with its interval"


def test_whatever_people_wrote_is_escaped_everywhere() -> None:
    card = asdict(CARD) | {"tag": EVIL, "reason": EVIL, "parent": EVIL, "method": EVIL}
    evil = project(
        title=EVIL,
        tag=EVIL,
        kept=["x", EVIL],
        cards=[card],
        paused=EVIL,
        stage="",
        left_to_people={EVIL: 2},
        drift=EVIL,
        meter={**project()["meter"], "stages": [asdict(one) | {"tag": EVIL} for one in STAGES]},
    )
    errors = [
        {"at": 1.0, "where": EVIL, "project": 7, "message": EVIL, "count": 2, "next_step": EVIL}
    ]
    html = render.page(status(evil, errors=errors, llm=EVIL, ignored={EVIL: 1}), EVIL, "", EVIL)
    assert "<script" not in html
    assert shown(html).count(EVIL) > 10, "it is shown as it is"
    tags = Tags(html)
    assert {attributes.get("value") for attributes in tags.all("input")} == {EVIL}
    assert not [one for _, one in tags.found if any(name.startswith("on") for name in one)]


def test_a_kind_without_a_worker_is_marked_and_says_what_starts_one() -> None:
    html = render.page(status(project()), "t", "", "")
    off = re.findall(r'<li class="worker off">.*?</li>', html, re.S)
    assert len(off) == 1 and "python -m backend worker train" in off[0]
    assert "worker review" not in html


def test_without_a_project_it_says_what_to_do() -> None:
    words = shown(render.page(status(), "t", "", ""))
    assert "No project yet" in words and "python -m backend connect --project 1" in words


def test_a_new_project_has_no_figures_yet_and_no_rollback() -> None:
    fresh = project(
        title="",
        tag=None,
        kept=[],
        cards=[],
        last_card=None,
        savings=None,
        meter={"stages": [], "now": [], "enough": False, "why": "nothing"},
        mended={"at": None, "counts": dict.fromkeys(KINDS, 0)},
    )
    html = render.page(status(fresh), "t", "", "")
    words = shown(html)
    assert "Project 7" in words and "no tag yet" in words and "not compared yet" in words
    assert "<select" not in html and "None" not in words.replace("None yet.", "").replace(
        "None.", ""
    )


def test_buttons_that_may_not_be_pressed_are_off_and_the_page_says_why() -> None:
    html = render.page(status(project()), "", "Set BASIC_AUTH_USER.", "")
    buttons = Tags(html).all("button")
    assert len(buttons) == 3 and all("disabled" in one for one in buttons)
    assert {one["aria-describedby"] for one in buttons} == {"refused"}
    assert '<p class="note" id="refused">Set BASIC_AUTH_USER.</p>' in html
    on = Tags(render.page(status(project()), "t", "", "")).all("button")
    assert len(on) == 3 and not any("disabled" in one for one in on)


def test_a_paused_review_can_be_resumed_and_a_running_stage_is_shown() -> None:
    html = render.page(status(project(held=1e9, stage="40% c/ada")), "t", "", "Done.")
    assert "/resume" in html and "/pause" not in html and "/train" not in html
    words = shown(html)
    assert "paused by a person since 2001-09-09 01:46 UTC" in words
    assert "Stage running: 40% c/ada" in words and "Done." in words


@pytest.mark.parametrize(
    "html", [render.page(status(project()), "t", "", ""), render.without_redis()]
)
def test_no_script_no_other_host_and_only_the_style_that_the_policy_allows(html: str) -> None:
    tags = Tags(html)
    assert tags.all("script", "iframe", "object", "base") == []
    links = [one.get(name) for _, one in tags.found for name in ("href", "src", "action")]
    assert not [link for link in links if link and re.match(r"(?!data:)\w+:|//", link)]
    assert not [one for _, one in tags.found if "style" in one]
    (style,) = re.findall(r"<style>(.*?)</style>", html, re.S)
    allowed = b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{allowed}'" in _HEADERS["Content-Security-Policy"]


def test_every_field_has_a_label_and_every_id_is_one() -> None:
    tags = Tags(render.page(status(project(), project(id=8)), "t", "", ""))
    ids = [one["id"] for _, one in tags.found if "id" in one]
    assert len(ids) == len(set(ids))
    assert {one["for"] for one in tags.all("label")} == {one["id"] for one in tags.all("select")}
    assert [name for name, _ in tags.found if name in ("main", "h1")] == ["h1", "main"]
    assert tags.all("a")[0]["class"] == "skip"


def test_the_command_line_tells_of_pause_and_mending() -> None:
    told = as_text(status(project(held=1e9)))
    assert "python -m backend review resume --project 7" in told
    assert "mended so far: 3 predictions too many deleted" in told
