"""The status page in a real Chromium: by keyboard alone, on a phone, and without other hosts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from chromium import chromium_page
from machine import Machine
from playwright.sync_api import Page
from test_status_page import PROJECT, furnish


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with Machine(tmp_path_factory.mktemp("browser")) as one:
        one.start("web")
        furnish(one)
        yield one


class Watched:
    """A page, every request it made and every line of its console."""

    def __init__(self, page: Page, machine: Machine) -> None:
        self.page = page
        self.url = f"http://127.0.0.1:{machine.settings.port}/"
        self.requests: list[str] = []
        self.console: list[str] = []
        page.on("request", lambda one: self.requests.append(one.url))
        page.on("console", lambda one: self.console.append(one.text))
        page.on("pageerror", lambda one: self.console.append(str(one)))

    def focused(self) -> str:
        """The text of what has the focus."""
        return str(self.page.evaluate("document.activeElement.innerText || ''")).strip()

    def tab_to(self, text: str) -> None:
        for _ in range(30):
            self.page.keyboard.press("Tab")
            if self.focused() == text:
                return
        pytest.fail(f"The keyboard does not reach {text!r}.")


@pytest.fixture
def watched(machine: Machine) -> Iterator[Watched]:
    with chromium_page(width=1200, timeout_s=120) as page:
        yield Watched(page, machine)


def test_the_keyboard_alone_reaches_and_presses_a_button(
    watched: Watched, machine: Machine
) -> None:
    page = watched.page
    page.goto(watched.url)
    page.keyboard.press("Tab")
    assert watched.focused() == "Skip to the content"
    page.keyboard.press("Enter")
    watched.tab_to("Train now")
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid", "the focus is seen"
    page.keyboard.press("Enter")
    page.get_by_role("status").wait_for()
    assert page.url == watched.url
    assert machine.wiring.projects.desk(PROJECT).stage()["now"] == "1"
    watched.tab_to("Pause review")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Resume review").wait_for()
    page.locator("details.card summary").first.focus()
    page.keyboard.press("Enter")
    assert page.get_by_text("Promoted: for the test.", exact=True).is_visible()
    assert watched.console == []
    assert all(one.startswith((watched.url, "data:")) for one in watched.requests)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_all_of_it_without_scrolling_sideways(watched: Watched, scheme: str) -> None:
    page = watched.page
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    page.set_viewport_size({"width": 375, "height": 800})
    page.goto(watched.url)
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(20, 23, 28)") == (scheme == "dark")
    assert watched.console == []
