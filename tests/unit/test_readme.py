"""The README says only what is true: its settings, its commands and its files exist."""

from __future__ import annotations

import re
from pathlib import Path

from backend.__main__ import _parser
from backend.settings import file_note, table

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")


def settings_table() -> str:
    """The table that stands in the README between its two marks."""
    rows = [
        f"| `{name}` | {f'`{default}`' if default else ''} | {doc} |"
        for name, default, doc in table()
    ]
    return "\n".join(["| variable | default | meaning |", "|---|---|---|", *rows])


def test_the_settings_table_is_that_of_the_code() -> None:
    found = README.split("<!-- settings -->")[1].split("<!-- /settings -->")[0].strip()
    assert found == settings_table()


def test_the_readme_says_which_settings_may_lie_in_files() -> None:
    assert file_note() in README


def test_every_command_of_the_readme_exists() -> None:
    helped = _parser().format_help()
    for command in set(re.findall(r"python -m backend (\w+)", README)):
        assert re.search(rf"^    {command}\s", helped, re.MULTILINE), command


def test_every_make_target_of_the_readme_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"^make (\w+)|`make (\w+)`", README, re.M)):
        name = target[0] or target[1]
        assert re.search(rf"^{name}:", makefile, re.M), name


def test_every_link_into_the_repository_leads_somewhere() -> None:
    for link in re.findall(r"\]\(((?!http)[^)#]+)\)", README):
        assert (ROOT / link).exists(), link
