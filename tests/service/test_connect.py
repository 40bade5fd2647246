"""Connecting to a Label Studio as it is by default: it refuses private addresses."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from label_studio_server import EMAIL, EXECUTABLE, PASSWORD, first_start, free_port
from machine import CONFIG, ROOT, Machine

from backend.label_studio import LabelStudio
from backend.label_studio_process import LabelStudioProcess, environment


def test_a_label_studio_that_refuses_private_addresses_gets_the_exact_fix(tmp_path: Path) -> None:
    env = environment(os.environ, EMAIL, PASSWORD)
    del env["ML_BLOCK_LOCAL_IP"], env["SSRF_PROTECTION_ENABLED"]
    token = first_start(tmp_path / "ls")
    with LabelStudioProcess(EXECUTABLE, tmp_path / "ls", free_port(), env) as process:
        process.ready()
        settings = {"LABEL_STUDIO_URL": process.url, "LABEL_STUDIO_API_KEY": token}
        with Machine(tmp_path, **settings) as machine, LabelStudio(process.url, token) as client:
            machine.start("web")
            project_id = str(client.create_project("Private", CONFIG)["id"])
            done = subprocess.run(
                [sys.executable, "-m", "backend", "connect", "--project", project_id],
                cwd=ROOT,
                env=machine.environ,
                capture_output=True,
                text=True,
                timeout=120,
            )
        assert done.returncode == 1
        assert "ML_BLOCK_LOCAL_IP=false" in done.stderr
        assert "SSRF_PROTECTION_ENABLED=false" in done.stderr
        assert "Traceback" not in done.stderr
        assert token not in done.stderr + done.stdout
