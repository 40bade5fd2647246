"""The demo, started once, and a browser that is logged in to its Label Studio."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from chromium import chromium_page
from label_studio_server import free_port
from playwright.sync_api import Page
from running_demo import Demo, start_demo, stop_demo


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """One demo for all stories; they run in the order of the files."""
    data_dir = tmp_path_factory.mktemp("demo") / "data"
    environ = {
        **os.environ,
        "DATA_DIR": str(data_dir),
        "PORT": str(free_port()),
        "LABEL_STUDIO_PORT": str(free_port()),
        "OMP_NUM_THREADS": "2",
    }
    started = start_demo(data_dir, environ)
    yield started
    stop_demo(started)


@pytest.fixture(scope="session")
def browser_page(demo: Demo) -> Iterator[Page]:
    """A page of a real Chromium, logged in."""
    with chromium_page(width=1400, timeout_s=60) as page:
        page.goto(f"{demo.record['label_studio_url']}/user/login/")
        page.fill("input[name=email]", demo.record["email"])
        page.fill("input[name=password]", demo.record["password"])
        page.click("button[type=submit]")
        page.wait_for_url(lambda url: "/user/login" not in url)
        yield page


@pytest.fixture
def page(browser_page: Page, request: pytest.FixtureRequest, demo: Demo) -> Iterator[Page]:
    """The page; a picture of it is kept when the test fails."""
    failed = request.session.testsfailed
    yield browser_page
    if request.session.testsfailed > failed:
        browser_page.screenshot(path=str(demo.data_dir / f"{request.node.name}.png"))
