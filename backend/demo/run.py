"""The demo: a Label Studio of its own, two projects, and the whole loop on texts that we ship.

The reviewer is scripted (no LLM) unless LLM_PROVIDER is set, and says so in every reason it gives.
It errs on purpose now and then, as an LLM does (script.py).
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from backend import label_studio_process, programs
from backend.allowance import allowance
from backend.connect import connect
from backend.demo.errors import DemoError
from backend.demo.projects import PROJECTS, DemoProject
from backend.demo.record import Account, account_of, keep_account, record_of, write_private
from backend.demo.script import write_script
from backend.environment import replaced
from backend.errors import LabelStudioError
from backend.label_studio import LabelStudio
from backend.settings import Settings
from backend.supervisor import Program, Supervisor
from backend.wiring import Wiring

Say = Callable[[str], None]

_REVIEW_S = 300.0


def run(settings: Settings, environ: Mapping[str, str], say: Say) -> None:
    """Start everything, fill the projects, say where to look, and keep running until stopped.

    Raises:
        CannotStart: It runs already, a port is taken, or Label Studio is not installed.
        LabelStudioError: Label Studio refused something.
    """
    executable = _label_studio()
    programs.prepare(
        settings, {"PORT": settings.port, "LABEL_STUDIO_PORT": settings.label_studio_port}
    )
    record = settings.data_dir / "demo.json"
    account = account_of(settings.data_dir)
    record.unlink(missing_ok=True)
    supervisor = Supervisor(settings.data_dir)
    programs.stop_on_signals(supervisor)
    started = time.monotonic()
    try:
        say("Starting Label Studio (the first start takes about a minute) ...")
        supervisor.start(
            [
                *programs.redis_program(settings),
                _label_studio_program(settings, executable, account),
            ]
        )
        settings, account = _log_in(settings, account, supervisor)
        say("Starting the backend and its workers ...")
        environment = _environment(settings, environ)
        settings = Settings.from_env(environment)
        supervisor.start(programs.backend_programs(settings, environment))
        programs.wait_for_redis(settings, supervisor)
        programs.wait_for_web(settings, supervisor)
        wiring = Wiring(settings)
        ids = {one.name: _fill(wiring, one, say) for one in PROJECTS}
        _wait_for_reviews(wiring, list(ids.values()), supervisor, say)
        write_private(record, record_of(settings, account, ids))
        say(_welcome(settings, account, ids, time.monotonic() - started))
        supervisor.wait()
    finally:
        say("Stopping ...")
        supervisor.stop()
        record.unlink(missing_ok=True)


def _label_studio() -> Path:
    """Label Studio's command, from the environment that `make demo` installs."""
    default = Path(sys.prefix).parent / ".venv-label-studio" / "bin" / "label-studio"
    path = Path(os.environ.get("LABEL_STUDIO_COMMAND", default))
    if not path.exists():
        raise programs.CannotStart(f"Label Studio is not installed at {path}: run make demo.")
    return path


def _label_studio_program(settings: Settings, executable: Path, account: Account) -> Program:
    folder = (settings.data_dir / "label-studio").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    env = label_studio_process.environment(os.environ, account.email, account.password)
    argv = label_studio_process.command(executable, folder, settings.label_studio_port)
    return Program("label-studio", argv, env)


def _log_in(
    settings: Settings, account: Account, supervisor: Supervisor
) -> tuple[Settings, Account]:
    """Wait for Label Studio and get a token that works."""
    url = f"http://127.0.0.1:{settings.label_studio_port}"
    deadline = time.monotonic() + label_studio_process.START_TIMEOUT_S
    while not label_studio_process.healthy(url):
        if supervisor.wait(0.3):
            raise DemoError("Stopped before everything was up.")
        if time.monotonic() > deadline:
            raise DemoError(f"Label Studio does not answer; see {settings.data_dir}/logs")
    token = account.token
    if not token or not _accepted(url, token):
        token = label_studio_process.login_for_token(url, account.email, account.password)
        account = replace(account, token=token)
        keep_account(settings.data_dir, account)
    return replace(settings, label_studio_url=url, label_studio_api_key=token), account


def _environment(settings: Settings, environ: Mapping[str, str]) -> dict[str, str]:
    """Ours for the demo: its Label Studio, the scripted reviewer, short waits."""
    # One stage over all answers of `--annotate 50`: with 50 it would start half-way through them.
    defaults = {"PROMOTE_EVERY": "0", "RECONCILE_EVERY": "10", "STAGE_SIZE": "100"}
    # Every task is to be pre-annotated, and no call costs anything.
    defaults |= {"AUDIT_SHARE": "0", "LLM_SHARE": "0.5"}
    if not settings.llm_provider:
        script = settings.data_dir.resolve() / "demo-script.jsonl"
        write_script(script)
        defaults |= {"LLM_PROVIDER": "scripted", "LLM_SCRIPT": str(script)}
    own = {
        "LABEL_STUDIO_URL": settings.label_studio_url,
        "LABEL_STUDIO_API_KEY": settings.label_studio_api_key,
    }
    return {**defaults, **replaced(environ, own)}


def _fill(wiring: Wiring, demo: DemoProject, say: Say) -> int:
    """Create, fill and connect one project; what is there already is kept."""
    label_studio = wiring.label_studio
    there = {one["title"]: int(one["id"]) for one in label_studio.projects()}
    project_id = there.get(demo.title)
    if project_id is None:
        created = label_studio.create_project(demo.title, demo.label_config)
        project_id = int(created["id"])
    if not label_studio.project(project_id).get("task_number"):
        label_studio.import_tasks(project_id, [{"text": r["text"]} for r in demo.key("task")])
    known = wiring.projects.get(project_id)
    if known is None or not known.push or known.backend_id is None:
        connect(wiring, project_id, lambda line: say(f"  {demo.name}: {line}"))
    return project_id


def _wait_for_reviews(
    wiring: Wiring, project_ids: list[int], supervisor: Supervisor, say: Say
) -> None:
    """Wait until the LLM was asked what it may be asked, and its verdicts are in Label Studio."""
    say("The reviewer is asked, and its verdicts are written back ...")
    deadline = time.monotonic() + _REVIEW_S
    while time.monotonic() < deadline and not supervisor.wait(0.5):
        if all(_is_settled(wiring, one) for one in project_ids):
            return
    say("Not all verdicts are written back yet; python -m backend status tells more.")


def _is_settled(wiring: Wiring, project_id: int) -> bool:
    """Nothing is to be done but by people: what LLM_SHARE does not allow to ask waits for them."""
    waiting = wiring.projects.desk(project_id).waiting()
    if waiting["to_predict"] or waiting["to_patch"]:
        return False
    project = wiring.projects.get(project_id)
    return not waiting["to_review"] or project is None or not allowance(wiring, project).calls


def _accepted(url: str, token: str) -> bool:
    try:
        LabelStudio(url, token).whoami()
    except LabelStudioError:
        return False
    return True


def _welcome(settings: Settings, account: Account, ids: Mapping[str, int], took_s: float) -> str:
    first = next(iter(ids))
    lines = [
        "",
        f"The demo is ready ({took_s:.0f} s).",
        f"  Label Studio  {settings.label_studio_url}",
        f"  login         {account.email}   password {account.password}",
    ]
    lines += [
        f"  {name:<13} {settings.label_studio_url}/projects/{one}/data" for name, one in ids.items()
    ]
    lines += [
        "",
        "Tasks are pre-annotated; those that the reviewer was asked about show its reason.",
        "Try next, in a second terminal:",
        f"  .venv/bin/python -m backend demo --annotate 50   answer 50 {first} tasks; a stage runs",
        "  .venv/bin/python -m backend status               what it does at the moment",
        "  make down                                        stop (or Ctrl-C here)",
    ]
    return "\n".join(lines)
