"""The demo: a Label Studio of its own, two projects, and the whole loop on texts that we ship.

`run` starts everything and keeps it running; `annotate` answers tasks as an annotator would, from
the answer key, so that a stage runs. The reviewer is scripted (no LLM) unless LLM_PROVIDER is set,
and says so in every reason it gives.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx

from backend import label_studio_process, programs
from backend.connect import connect
from backend.errors import BackendError, LabelStudioError
from backend.label_studio import LabelStudio
from backend.settings import Settings
from backend.supervisor import Program, Supervisor
from backend.wiring import Wiring

Say = Callable[[str], None]

EMAIL = "demo@example.com"
_DATA = Path(__file__).parent / "demo_data"
_REVIEW_S = 300.0
_STAGE_S = 1200.0

_CONFIG = """<View>
  <Text name="text" value="$text"/>
  <Choices name="{name}" toName="text" choice="single" showInline="true">
{choices}
  </Choices>
  <Header value="Why this answer" size="6"/>
  <TextArea name="rationale" toName="text" editable="false" maxSubmissions="1"/>
</View>"""


class DemoError(BackendError):
    """The demo cannot do this; the message says what to do."""


@dataclass(frozen=True)
class DemoProject:
    """One project of the demo: its title, control and answer key."""

    name: str
    title: str
    control: str
    labels: tuple[str, ...]

    @property
    def label_config(self) -> str:
        """Its labeling interface."""
        choices = "\n".join(f'    <Choice value="{label}"/>' for label in self.labels)
        return _CONFIG.format(name=self.control, choices=choices)

    def key(self, role: str) -> list[dict[str, str]]:
        """Rows of the answer key: role `task` or `held_out`."""
        rows = (json.loads(line) for line in _key_file(self.name).read_text("utf-8").splitlines())
        return [row for row in rows if row["role"] == role]


PROJECTS = (
    DemoProject("sentiment", "Sentiment (demo)", "sentiment", ("positive", "neutral", "negative")),
    DemoProject("toxicity", "Toxicity (demo)", "toxicity", ("toxic", "non-toxic")),
)


@dataclass(frozen=True)
class Account:
    """The demo's Label Studio login."""

    email: str
    password: str = field(repr=False)
    token: str = field(default="", repr=False)


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
    account = _account(settings.data_dir)
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
        supervisor.start(programs.backend_programs(settings, _environment(settings, environ)))
        programs.wait_for_redis(settings, supervisor)
        programs.wait_for_web(settings, supervisor)
        wiring = Wiring(settings)
        ids = {one.name: _fill(wiring, one, say) for one in PROJECTS}
        _wait_for_reviews(wiring, list(ids.values()), supervisor, say)
        _write_private(record, _record(settings, account, ids))
        say(_welcome(settings, account, ids, time.monotonic() - started))
        supervisor.wait()
    finally:
        say("Stopping ...")
        supervisor.stop()
        record.unlink(missing_ok=True)


def reach_demo(settings: Settings) -> Settings:
    """Settings that speak to the running demo's Label Studio, unless they name another."""
    if settings.label_studio_url or not (settings.data_dir / "demo.json").exists():
        return settings
    record = _read_record(settings)
    return replace(
        settings,
        label_studio_url=record["label_studio_url"],
        label_studio_api_key=record["token"],
        backend_url=record["backend_url"],
    )


def annotate(settings: Settings, count: int, name: str, say: Say) -> None:
    """Answer `count` tasks from the answer key, wait for the stage, and compare accuracies.

    Raises:
        DemoError: The demo does not run, has no such project, or has nothing left to answer.
    """
    demo, record = _demo_project(name), _read_record(settings)
    project_id = int(record["projects"][demo.name])
    wiring = Wiring(reach_demo(settings))
    promotions = wiring.promotions(project_id)
    before = _accuracy(record["backend_url"], project_id, demo)
    stages, texts = len(promotions.history()), len(demo.key("held_out"))
    say(f"Committee {promotions.served()}: accuracy {before:.3f} on {texts} held-out texts.")
    done = _submit(wiring.label_studio, project_id, demo, count)
    say(f"{done} answers submitted to project {project_id}; a stage starts.")
    backend = wiring.projects.get(project_id)
    if backend is None or backend.backend_id is None:
        raise DemoError(f"Project {project_id} is not connected; start the demo again: make demo")
    wiring.label_studio.start_training(backend.backend_id)
    _wait_for_stage(wiring, project_id, stages, say)
    after = _accuracy(record["backend_url"], project_id, demo)
    say(promotions.history()[0].reason)
    say(
        f"Committee {promotions.served()}: accuracy {after:.3f} on the held-out texts, "
        f"{before:.3f} before."
    )


def _label_studio() -> Path:
    """Label Studio's command, from the environment that `make demo` installs."""
    default = Path(sys.prefix).parent / ".venv-label-studio" / "bin" / "label-studio"
    path = Path(os.environ.get("LABEL_STUDIO_COMMAND", default))
    if not path.exists():
        raise programs.CannotStart(f"Label Studio is not installed at {path}: run make demo.")
    return path


def _account(data_dir: Path) -> Account:
    """The login of this data folder's Label Studio; made once."""
    path = data_dir / "demo-account.json"
    if not path.exists():
        _write_private(path, {"email": EMAIL, "password": secrets.token_urlsafe(12)})
    return Account(**json.loads(path.read_text()))


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
    while not _healthy(url):
        if supervisor.wait(0.3):
            raise DemoError("Stopped before everything was up.")
        if time.monotonic() > deadline:
            raise DemoError(f"Label Studio does not answer; see {settings.data_dir}/logs")
    token = account.token
    if not token or not _accepted(url, token):
        token = label_studio_process.login_for_token(url, account.email, account.password)
        account = replace(account, token=token)
        _write_private(settings.data_dir / "demo-account.json", account.__dict__)
    return replace(settings, label_studio_url=url, label_studio_api_key=token), account


def _environment(settings: Settings, environ: Mapping[str, str]) -> dict[str, str]:
    """Ours for the demo: its Label Studio, the scripted reviewer, short waits."""
    # The stage waits for answers of a person, though the reviewer's verdicts alone make 50.
    defaults = {"PROMOTE_EVERY": "0", "RECONCILE_EVERY": "10", "STAGE_SIZE": "100"}
    if not settings.llm_provider:
        script = settings.data_dir.resolve() / "demo-script.jsonl"
        rows = [row for one in PROJECTS for row in one.key("task")]
        script.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
        defaults |= {"LLM_PROVIDER": "scripted", "LLM_SCRIPT": str(script)}
    return {
        **defaults,
        **environ,
        "LABEL_STUDIO_URL": settings.label_studio_url,
        "LABEL_STUDIO_API_KEY": settings.label_studio_api_key,
    }


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
    """Wait until hard samples are reviewed and their verdicts are in Label Studio."""
    say("Hard samples are reviewed and written back ...")
    deadline = time.monotonic() + _REVIEW_S
    while time.monotonic() < deadline and not supervisor.wait(0.5):
        waiting = [wiring.projects.desk(one).waiting() for one in project_ids]
        left = sum(w["to_review"] + w["to_patch"] + w["to_predict"] for w in waiting)
        if not left:
            return
    say("Not all verdicts are written back yet; python -m backend status tells more.")


def _submit(label_studio: LabelStudio, project_id: int, demo: DemoProject, count: int) -> int:
    answers = {row["text"]: row["label"] for row in demo.key("task")}
    tasks = [t for t in label_studio.tasks(project_id) if not t.get("total_annotations")]
    chosen = [task for task in tasks if task["data"].get("text") in answers][:count]
    if not chosen:
        raise DemoError(
            f"Every task of the {demo.name} project is answered; choose another with --project."
        )
    for task in chosen:
        label = answers[task["data"]["text"]]
        region = {
            "from_name": demo.control,
            "to_name": "text",
            "type": "choices",
            "value": {"choices": [label]},
        }
        label_studio.create_annotation(int(task["id"]), [region], lead_time=4.0)
    return len(chosen)


def _wait_for_stage(wiring: Wiring, project_id: int, stages: int, say: Say) -> None:
    """Wait until a stage that saw the answers ended: promoted and shown, or refused."""
    desk, promotions = wiring.projects.desk(project_id), wiring.promotions(project_id)
    shown = ""
    deadline = time.monotonic() + _STAGE_S
    while time.monotonic() < deadline:
        stage = desk.stage()
        idle = stage.get("now") != "1" and not stage.get("running") and not desk.candidate()
        if idle and len(promotions.history()) > stages:
            return
        progress = stage.get("progress", "").split(" loss")[0]
        if progress and progress.split("%")[0][:-1] != shown:
            shown = progress.split("%")[0][:-1]
            say(f"  stage: {progress}")
        time.sleep(0.3)
    raise DemoError("No stage ended in time; python -m backend status tells more.")


def _accuracy(backend_url: str, project_id: int, demo: DemoProject) -> float:
    """Share of the held-out key that the served committee labels right, asked over HTTP."""
    rows = demo.key("held_out")
    body = {
        "project": str(project_id),
        "label_config": demo.label_config,
        "tasks": [{"data": {"text": row["text"]}} for row in rows],
    }
    answer = httpx.post(f"{backend_url}/predict", json=body, timeout=120, auth=_auth())
    answer.raise_for_status()
    right = 0
    for row, prediction in zip(rows, answer.json()["results"], strict=True):
        regions = [r for r in prediction["result"] if r["from_name"] == demo.control]
        right += bool(regions) and regions[0]["value"]["choices"] == [row["label"]]
    return right / len(rows)


def _auth() -> tuple[str, str] | None:
    user = os.environ.get("BASIC_AUTH_USER")
    return (user, os.environ.get("BASIC_AUTH_PASS", "")) if user else None


def _demo_project(name: str) -> DemoProject:
    for one in PROJECTS:
        if one.name == name:
            return one
    names = ", ".join(one.name for one in PROJECTS)
    raise DemoError(f"The demo has no project {name!r}; choose one of {names}.")


def _read_record(settings: Settings) -> dict[str, Any]:
    path = settings.data_dir / "demo.json"
    try:
        record: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        raise DemoError(f"The demo does not run ({path} is not there): make demo") from None
    return record


def _record(settings: Settings, account: Account, ids: Mapping[str, int]) -> dict[str, Any]:
    return {
        "label_studio_url": settings.label_studio_url,
        "backend_url": settings.own_url,
        "email": account.email,
        "password": account.password,
        "token": account.token,
        "projects": dict(ids),
    }


def _write_private(path: Path, data: Mapping[str, Any]) -> None:
    aside = path.with_suffix(".tmp")
    with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(data, file, indent=2)
    aside.replace(path)


def _healthy(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def _accepted(url: str, token: str) -> bool:
    try:
        LabelStudio(url, token).whoami()
    except LabelStudioError:
        return False
    return True


def _key_file(name: str) -> Path:
    return _DATA / f"{name}.jsonl"


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
        "Every task is pre-annotated; hard ones show the reviewer's verdict and its reason.",
        "Try next, in a second terminal:",
        f"  .venv/bin/python -m backend demo --annotate 50   answer 50 {first} tasks; a stage runs",
        "  .venv/bin/python -m backend status               what it does at the moment",
        "  make down                                        stop (or Ctrl-C here)",
    ]
    return "\n".join(lines)
