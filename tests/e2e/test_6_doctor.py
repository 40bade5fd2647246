"""Story 6: the doctor finds what is wrong and prints the command that mends it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from running_demo import ROOT, Demo, eventually

from backend.label_studio import UNCERTAINTY
from backend.lease import Lease, LeaseHeld


def doctor(demo: Demo, **environ: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "backend", "doctor"],
        cwd=ROOT,
        env={**demo.environ, **environ},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout


@contextmanager
def held(demo: Demo, name: str) -> Iterator[None]:
    """Keep a job from running: as soon as nobody holds its lease, hold it."""
    lease = Lease(demo.wiring.redis, name)
    eventually(lambda: taken(lease), 30, f"the lease {name}")
    try:
        yield
    finally:
        lease.__exit__(None, None, None)


def taken(lease: Lease) -> bool:
    try:
        lease.__enter__()
    except LeaseHeld:
        return False
    return True


def test_the_demo_is_healthy_and_its_reviewer_is_told_to_be_scripted(demo: Demo) -> None:
    status, printed = doctor(demo)
    assert status == 0, printed
    assert "[fail]" not in printed
    assert "scripted" in printed
    assert "push mode" in printed


def test_a_lost_webhook_is_found_and_connect_mends_it(demo: Demo) -> None:
    project_id = demo.record["projects"]["toxicity"]
    (hook,) = demo.label_studio.webhooks(project_id)
    demo.label_studio.delete_webhook(int(hook["id"]))
    status, printed = doctor(demo)
    assert status == 1
    assert "no webhook" in printed and "SSRF_PROTECTION_ENABLED=false" in printed
    demo.command("connect", "--project", str(project_id))
    assert doctor(demo)[0] == 0


def test_a_webhook_without_its_auth_header_is_found(demo: Demo) -> None:
    status, printed = doctor(demo, WEBHOOK_SECRET="s3cret")
    assert status == 1
    assert "lacks our auth header" in printed
    assert "s3cret" not in printed


def test_versions_that_disagree_are_found_and_reconcile_mends_them(demo: Demo) -> None:
    project_id = demo.record["projects"]["toxicity"]
    tag = demo.wiring.promotions(project_id).served()
    with held(demo, f"reconcile:{project_id}"):
        wrong = {"model_version": "AutoAnnotator", "sampling": UNCERTAINTY}
        demo.label_studio.update_project(project_id, **wrong)
        _, printed = doctor(demo)
    assert "live mode" in printed and "connect --project" in printed
    assert "serves tasks at random" in printed and "--active-learning" in printed
    shown = demo.label_studio.project
    eventually(lambda: shown(project_id)["model_version"] == tag, 60, "the tag to be shown again")
    assert "the lowest scores of" in doctor(demo)[1]
    demo.label_studio.update_project(project_id, sampling="Sequential sampling")


def test_a_wrong_token_and_a_wrong_address_get_the_next_step(demo: Demo) -> None:
    url = demo.record["label_studio_url"]
    status, printed = doctor(demo, LABEL_STUDIO_URL=url, LABEL_STUDIO_API_KEY="f" * 40)
    assert status == 1 and "LABEL_STUDIO_API_KEY" in printed and "f" * 40 not in printed
    status, printed = doctor(
        demo,
        LABEL_STUDIO_URL=url,
        LABEL_STUDIO_API_KEY=demo.record["token"],
        BACKEND_URL="http://127.0.0.1:9",
    )
    assert status == 1 and "BACKEND_URL" in printed
