"""The demo as tests see it: started as people start it, asked over its own doors."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from backend.label_studio import LabelStudio
from backend.settings import Settings
from backend.supervisor import end_leftovers
from backend.wiring import Wiring

ROOT = Path(__file__).parents[2]
START_S = 420.0


@dataclass
class Demo:
    """The running demo: its addresses, its Label Studio and its state."""

    data_dir: Path
    environ: dict[str, str] = field(repr=False)
    process: subprocess.Popen[bytes]
    record: dict[str, Any] = field(repr=False)

    @property
    def log(self) -> Path:
        """What the demo printed."""
        return self.data_dir / "demo.log"

    @cached_property
    def wiring(self) -> Wiring:
        """Our own view of its Redis."""
        return Wiring(Settings.from_env(self.environ))

    @cached_property
    def label_studio(self) -> LabelStudio:
        """Its Label Studio, as the account of the demo."""
        return LabelStudio(self.record["label_studio_url"], self.record["token"])

    def command(self, *arguments: str, timeout_s: float = 600) -> str:
        """Run `python -m backend ...` against it; fails the test when it fails."""
        done = subprocess.run(
            [sys.executable, "-m", "backend", *arguments],
            cwd=ROOT,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def eventually(check: Callable[[], object], timeout_s: float = 60, what: str = "") -> Any:
    """Wait until `check` gives something true, and return it."""
    deadline = time.monotonic() + timeout_s
    while True:
        found = check()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {timeout_s:.0f} s: {what or check}"
        time.sleep(0.3)


def start_demo(data_dir: Path, environ: dict[str, str]) -> Demo:
    """Start the demo and wait until it says that it is ready."""
    data_dir.mkdir(parents=True, exist_ok=True)
    record = data_dir / "demo.json"
    record.unlink(missing_ok=True)
    with (data_dir / "demo.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "backend", "demo"],
            cwd=ROOT,
            env=environ,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )

    def ready() -> bool:
        assert process.poll() is None, (data_dir / "demo.log").read_text()
        return record.exists()

    eventually(ready, START_S, "the demo to start")
    return Demo(data_dir, environ, process, json.loads(record.read_text()))


def stop_demo(demo: Demo) -> None:
    """Stop it as Ctrl-C does, and let go of its connections."""
    demo.label_studio.close()
    demo.wiring.redis.close()
    demo.wiring.raw_redis.close()
    del demo.label_studio, demo.wiring
    demo.process.terminate()
    try:
        demo.process.wait(120)
    finally:
        demo.process.kill()
        end_leftovers(demo.data_dir)
