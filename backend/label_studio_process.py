"""Label Studio as a child process, started without a person: for demos and tests.

Knows how Label Studio wants to be started (environment, command line, first account) and how to
make an access token through its login form. Knows nothing of projects, tasks or predictions:
that is `backend.label_studio`. A production Label Studio is run by whoever owns it, not by this.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import httpx

from backend.errors import LabelStudioError, Unauthorized, Unreachable

START_TIMEOUT_S = 300.0
"""A first start runs every migration: 26 to 43 s on two cores, several times that when loaded."""

STOP_TIMEOUT_S = 10.0

_OWN_PREFIXES = ("LABEL_STUDIO_", "DJANGO_", "POSTGRE_", "POSTGRES_")
"""Settings of another Label Studio that may lie in our environment and must not leak into this."""


def environment(
    base: Mapping[str, str], email: str, password: str, legacy_token: str = ""
) -> dict[str, str]:
    """Build the environment of a headless Label Studio whose backend may live on this machine.

    `ML_BLOCK_LOCAL_IP` and `SSRF_PROTECTION_ENABLED` must both be off: with only the first, a
    backend on a private address is half connected, without its webhook. `legacy_token` (40 hex
    digits) switches legacy tokens on; Label Studio reads that at the first start of a data folder.
    """
    kept = {name: value for name, value in base.items() if not name.startswith(_OWN_PREFIXES)}
    kept.update(
        LABEL_STUDIO_USERNAME=email,
        LABEL_STUDIO_PASSWORD=password,
        ML_BLOCK_LOCAL_IP="false",
        SSRF_PROTECTION_ENABLED="false",
        COLLECT_ANALYTICS="false",
        LATEST_VERSION_CHECK="false",
        SENTRY_DSN="",
        FRONTEND_SENTRY_DSN="",
    )
    if legacy_token:
        kept.update(
            LABEL_STUDIO_USER_TOKEN=legacy_token, LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN="true"
        )
    return kept


def command(executable: Path, data_dir: Path, port: int) -> list[str]:
    """Build the command line; Label Studio listens on the loopback address only."""
    url = f"http://127.0.0.1:{port}"
    options = ["--no-browser", "--internal-host", "127.0.0.1", "--host", url, "--port", str(port)]
    return [str(executable), "start", *options, "--data-dir", str(data_dir)]


class LabelStudioProcess:
    """One running Label Studio and its process group; use it as a context manager."""

    def __init__(self, executable: Path, data_dir: Path, port: int, env: Mapping[str, str]) -> None:
        """Start it; the log is `label-studio.log` in `data_dir`. `ready` waits for it."""
        data_dir.mkdir(parents=True, exist_ok=True)
        self.url = f"http://127.0.0.1:{port}"
        self.log = data_dir / "label-studio.log"
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command(executable, data_dir, port),
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def ready(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Wait until it answers; raise Unreachable when it ends or `timeout_s` pass before that."""
        deadline = time.monotonic() + timeout_s
        while not healthy(self.url):
            if self._process.poll() is not None:
                raise Unreachable(
                    f"Label Studio ended with status {self._process.returncode} while starting; "
                    f"read {self.log}"
                )
            if time.monotonic() > deadline:
                raise Unreachable(
                    f"Label Studio did not answer within {timeout_s:.0f} s; read {self.log}"
                )
            time.sleep(0.2)

    def stop(self) -> None:
        """End the whole process group: ask first, then kill."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGTERM)
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()

    def __enter__(self) -> LabelStudioProcess:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()


def login_for_token(url: str, email: str, password: str) -> str:
    """Log in through the form and make a personal access token (PAT).

    Raises Unauthorized when the account is refused, Unreachable when nobody answers.
    """
    try:
        with httpx.Client(base_url=url, timeout=30.0) as http:
            form = {"email": email, "password": password, **_csrf(http.get("/user/login/"))}
            answer = http.post("/user/login/", data=form, headers={"Referer": f"{url}/user/login/"})
            if answer.status_code != 302:
                raise Unauthorized(f"Label Studio refused the login of {email}; check the password")
            token = http.post("/api/token/", headers={"X-CSRFToken": http.cookies["csrftoken"]})
    except httpx.TransportError as error:
        raise Unreachable(f"Label Studio does not answer at {url}; is it running?") from error
    if token.status_code != 201:
        raise LabelStudioError(f"Label Studio made no token (status {token.status_code})")
    return str(token.json()["token"])


def _csrf(page: httpx.Response) -> dict[str, str]:
    """Read the form's CSRF field from the cookie that came with its page."""
    return {"csrfmiddlewaretoken": page.cookies.get("csrftoken") or ""}


def healthy(url: str) -> bool:
    """Whether Label Studio's own health check answers."""
    try:
        return httpx.get(f"{url}/health", timeout=5.0).status_code == 200
    except httpx.TransportError:
        return False
