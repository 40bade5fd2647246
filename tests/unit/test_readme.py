"""README and docs say only what is true: their commands, settings, files and pages exist."""

from __future__ import annotations

import re
from io import StringIO
from pathlib import Path

import pytest
from dotenv import dotenv_values

from backend.__main__ import _parser
from backend.reference import reference
from backend.settings import Settings, table
from tests import deployment
from tests.doc_blocks import BLOCK, ROOT, Block, blocks, pages

PAGES = pages()
TARGETS = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
KINDS = {"sh", "ini", "xml", "text"}
CHECK = re.compile(r"<!-- check: .*?-->\n.*?\n\n|<!-- check: .*", re.DOTALL)
"""What is said of parts that are not there yet; the comment goes when they are."""
OTHERS = {".venv/bin/pip", "apt-get", "cp", "docker", "export", "kubectl", "label-studio"}
"""Programs that are not ours and of which a block that is not run may speak."""


def shells() -> list[Block]:
    return [one for page in PAGES for one in blocks(page)]


def anchors(path: Path) -> set[str]:
    """What a page's headings are called in links, as GitHub makes them."""
    heads = re.findall(r"^#+ (.+)$", path.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


def check_ours(arguments: list[str]) -> None:
    """Parse a call of our command line; stands in for ID where a number is needed."""
    _parser().parse_args(["1" if one == "ID" else one for one in arguments])


def test_the_reference_is_what_the_code_says() -> None:
    written = (ROOT / "docs" / "reference.md").read_text("utf-8")
    assert written == reference(_parser()), "make reference"


def test_the_reference_has_every_setting_and_every_command() -> None:
    page = (ROOT / "docs" / "reference.md").read_text("utf-8")
    for name, _, meaning in table():
        assert f"| `{name}` |" in page and meaning in page
    for command in re.findall(r"^    (\w+) ", _parser().format_help(), re.MULTILINE):
        assert f"\n### {command}\n" in page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_has_a_kind_that_is_checked(page: Path) -> None:
    found = [one["kind"] for one in BLOCK.finditer(page.read_text("utf-8"))]
    assert set(found) <= KINDS
    assert page.read_text("utf-8").count("```") == 2 * len(found)
    assert {one.how for one in blocks(page)} <= {"", "not run", "started"}


@pytest.mark.parametrize("block", [b for b in shells() if b.how == "not run"], ids=str)
def test_what_is_not_run_names_what_exists(block: Block) -> None:
    for words in block.commands:
        if words[1:3] == ["-m", "backend"]:
            check_ours(words[3:])
        elif words[0] == "make":
            assert {one for one in words[1:] if "=" not in one} <= TARGETS
        elif words[:2] == ["docker", "compose"]:
            check_compose(words[2:])
        else:
            assert words[0] in OTHERS, words


def check_compose(words: list[str]) -> None:
    """The services that it names exist, and what it runs in one of them is ours."""
    if words[0] in ("exec", "logs"):
        service, *inner = [one for one in words[1:] if not one.startswith("-") or one == "-m"]
        assert service in deployment.services()
        if inner and "build" in deployment.services()[service]:
            assert inner[:3] == ["python", "-m", "backend"]
            check_ours(words[words.index("backend") + 1 :])
    else:
        assert words[0] in ("up", "down", "ps", "stop", "--profile"), words


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_setting_in_a_page_exists_and_is_allowed(page: Path) -> None:
    for block in blocks(page, "ini"):
        given = {n: v or "" for n, v in dotenv_values(stream=StringIO(block.text)).items()}
        assert set(given) <= {name for name, _, _ in table()} | deployment.variables(), block
        Settings.from_env(given)


def test_every_make_target_and_command_in_running_text_exists() -> None:
    helped = _parser().format_help()
    for page in PAGES:
        text = CHECK.sub("", page.read_text("utf-8"))
        for target in re.findall(r"`make ([a-z-]+)", text):
            assert target in TARGETS, f"{page.name}: make {target}"
        for command in re.findall(r"python -m backend ([a-z]\w+)", text):
            assert re.search(rf"^    {command}\s", helped, re.MULTILINE), f"{page.name}: {command}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    text = page.read_text("utf-8")
    for link in re.findall(r"\]\(((?!http)[^)]+)\)", re.sub(r"<!--.*?-->", "", text, flags=re.S)):
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link
