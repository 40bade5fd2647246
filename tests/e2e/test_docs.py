"""The commands of README and docs, run as they stand: every block that has no comment above it.

All pages are run against the demo, but connect.md, which starts a backend of its own for a project
of the demo's Label Studio. There `--project 1` is that project: nothing else is changed.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from label_studio_server import free_port
from running_demo import Demo, eventually

from backend.demo.projects import named
from tests.doc_blocks import ROOT, Block, blocks, pages

OWN = "docs/connect.md"
BLOCKS = [
    block
    for page in sorted(pages(), key=lambda page: page.name != "getting-started.md")
    for block in blocks(page)
    if block.how != "not run"
]
TASKS = 40
# What the tests run in is installed: its marks may be older than the checkout.
MAKE = 'make() { command make -o .venv/.installed -o .venv-label-studio/.installed "$@"; }\n'


@dataclass
class Place:
    """Where a page's blocks run: an environment, the number of the project, what was started."""

    environ: Mapping[str, str] = field(repr=False)
    project_id: int
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def run(self, block: Block) -> subprocess.CompletedProcess[str]:
        """Run a block to its end."""
        return subprocess.run(
            self._argv(block),
            cwd=ROOT,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=900,
        )

    def start(self, block: Block, log: Path) -> None:
        """Start a block that runs until it is stopped, and wait until it says so."""
        with log.open("wb") as out:
            process = subprocess.Popen(
                self._argv(block), cwd=ROOT, env=self.environ, stdout=out, stderr=out
            )
        self.started.append(process)

        def says() -> bool:
            printed = log.read_text("utf-8")
            assert process.poll() is None, printed
            return block.said in printed

        eventually(says, 180, f"{block} to say {block.said!r}")

    def _argv(self, block: Block) -> list[str]:
        text = block.text.replace("--project 1", f"--project {self.project_id}")
        return ["bash", "-euo", "pipefail", "-c", MAKE + text]

    def stop(self) -> None:
        """Stop what was started, by the command that the pages name."""
        if self.started:
            subprocess.run(["bash", "-c", f"{MAKE}make down"], cwd=ROOT, env=self.environ)
        for process in self.started:
            process.send_signal(signal.SIGTERM)
            process.wait(120)


@pytest.fixture(scope="module")
def of_the_demo(demo: Demo) -> Place:
    """The demo and its first project."""
    return Place(demo.environ, int(demo.record["projects"]["sentiment"]))


@pytest.fixture(scope="module")
def of_its_own(demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A new project in the demo's Label Studio, and settings for a backend that is not started."""
    sentiment = named("sentiment")
    project = demo.label_studio.create_project("Docs", sentiment.label_config)
    texts = [{"text": row["text"]} for row in sentiment.key("task")[:TASKS]]
    demo.label_studio.import_tasks(int(project["id"]), texts)
    environ = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "DATA_DIR": str(tmp_path_factory.mktemp("docs") / "data"),
        "PORT": str(free_port()),
        "LABEL_STUDIO_URL": demo.record["label_studio_url"],
        "LABEL_STUDIO_API_KEY": demo.record["token"],
    }
    place = Place(environ, int(project["id"]))
    yield place
    place.stop()


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_a_block_does_what_the_page_says(
    block: Block, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    place: Place = request.getfixturevalue("of_its_own" if block.page == OWN else "of_the_demo")
    if block.how == "started":
        place.start(block, tmp_path / "log")
        return
    done = place.run(block)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip(), "it says nothing"
    assert "Traceback" not in done.stderr
