"""Connect a Label Studio project: backend, webhook, predictions, tag; and say what was done.

Safe to run again: what is there is kept and mended.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from typing import Any

from backend import project_settings
from backend.errors import BackendError, LabelStudioError
from backend.jobs.push import TITLE
from backend.jobs.refit import refit_key
from backend.label_changes import serve_labels
from backend.label_config import guideline_of, left_alone
from backend.label_studio import UNCERTAINTY
from backend.projects import Project
from backend.settings import Settings
from backend.wiring import Wiring
from specialists import registry
from specialists.errors import SpecialistUnavailable
from specialists.types import LabelSet, SpecialistRef
from training.label_change import knows
from training.model_store import ControlCommittee

EVENTS = (
    "ANNOTATION_CREATED",
    "ANNOTATIONS_CREATED",
    "ANNOTATION_UPDATED",
    "ANNOTATIONS_DELETED",
    "TASKS_CREATED",
    "TASKS_DELETED",
)
"""The webhook actions that we use; PROJECT_UPDATED would echo our own changes."""

_WORKER_S = 30.0
_QUEUE = (
    "Annotators get the tasks first whose answers teach most (uncertainty sampling); to end that, "
    "choose another order under Settings, Annotation."
)
_LISTED = 10  # labels in one sentence
_RULES = {
    "value": "measured reliability, and the LLM where a call is worth it",
    "paper": "majority vote, and the LLM wherever not all agree",
}


class ConnectError(BackendError):
    """The project could not be connected; the message says what to do."""


def connect(
    wiring: Wiring,
    project_id: int,
    say: Callable[[str], None],
    rule: str = "",
    *,
    active_learning: bool = False,
) -> None:
    """Connect a project and wait until its tasks have predictions.

    `rule` is what it decides by from now on, `value` or `paper`; empty keeps what it has. With
    `active_learning` Label Studio serves the most useful tasks first; without, as it did.

    Raises:
        LabelConfigError: The project has nothing that classifies a text.
        LabelStudioError: Label Studio refused something; the message has the fix.
        ConnectError: No push worker runs.
    """
    label_studio = wiring.label_studio
    remote = label_studio.project(project_id)
    rule_before = _rule_before(wiring, project_id)
    tag = serve_labels(wiring, project_id, remote["label_config"])
    empty = not remote.get("task_number")
    backend_id = _backend(wiring, project_id, tag if empty else TITLE, say)
    project = wiring.projects.update(
        project_id,
        label_config=remote["label_config"],
        title=remote.get("title", ""),
        guideline=project_settings.guideline(wiring.redis, project_id, guideline_of(remote)),
        push=True,
        empty=empty,
        backend_id=backend_id,
        active_learning=active_learning or remote.get("sampling") == UNCERTAINTY,
        **({"rule": rule} if rule else {}),
    )
    for line in coverage(wiring, project_id, tag):
        say(line)
    for line in left_alone(remote["label_config"]):
        say(f"Left alone: {line}.")
    say(_decides(rule_before, rule))
    ensure_webhook(wiring, project_id, say)
    if project.active_learning:
        label_studio.update_project(project_id, sampling=UNCERTAINTY)
        say(_QUEUE)
    if empty:
        say(f"The project is empty: it is live under {tag} and switches after its first import.")
        return
    _predict_all(wiring, project, say)
    label_studio.update_project(project_id, model_version=tag)
    wiring.projects.update(project_id, shown=tag)
    say(f"Annotators of project {project_id} see the predictions of {tag}.")


def _rule_before(wiring: Wiring, project_id: int) -> str:
    """The rule that decided so far, noted so that the review job sees when it is another one."""
    known = wiring.projects.get(project_id)
    general = wiring.queues.told("review").get("decision_rule", wiring.settings.decision_rule)
    before = (known.rule if known else "") or general
    wiring.redis.hsetnx(refit_key(project_id), "rule", before)
    return before


def _decides(before: str, rule: str) -> str:
    now = rule or before
    again = "" if now == before else f" It was {before}: open tasks are decided again."
    return f"It decides by the rule {now}: {_RULES[now]}.{again}"


def coverage(wiring: Wiring, project_id: int, tag: str) -> list[str]:
    """Sentences on who answers for which labels, and which labels nobody knows."""
    lines = []
    for name, part in wiring.committees.manifest(tag).controls.items():
        members = ", ".join(ref.name for ref in part.members)
        if all(registry.is_similarity(ref.source) for ref in part.members):
            lines.append(_unknown(wiring, project_id, name, part))
            continue
        lines.append(f"Control {name}: committee of {members}.")
        known: set[str] = set()
        for ref in part.members:
            try:
                known |= labels_of(ref, part.labels)
            except SpecialistUnavailable as error:
                lines.append(f"Control {name}: {error}")
        unknown = [label for label in part.labels.names if label not in known]
        if unknown:
            lines.append(f"Control {name}: no specialist knows {', '.join(unknown)}.")
    return lines


def _unknown(wiring: Wiring, project_id: int, control: str, part: ControlCommittee) -> str:
    """What becomes of a control of whose labels nobody was taught anything."""
    names = part.labels.names
    listed = ", ".join(names[:_LISTED])
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    learns = wiring.rules.name(project_id, part.labels) == "value"
    does = f"it abstains{' until verdicts have taught it' if learns else ''}"
    if part.members and learns:
        does += ", and meanwhile only compares texts with what the labels are called"
    elif part.members:
        does = "texts are compared with what they are called, and all are hard"
    told = f"Control {control}: no specialist knows {listed}{more}; {does}."
    return f"{told} SPECIALISTS names models for new projects."


def labels_of(ref: SpecialistRef, labels: LabelSet) -> set[str]:
    """The project's labels that a member knows; a member of the Hub is asked for its config."""
    if ref.label_map:
        return knows(ref, labels)
    from specialists.loading import own_labels  # imports torch

    return set(registry.member(ref.source, labels, own_labels(ref.source)).label_map.values())


def _backend(wiring: Wiring, project_id: int, title: str, say: Callable[[str], None]) -> int:
    """Create our ML backend in the project, or mend the one that is there."""
    label_studio, settings = wiring.label_studio, wiring.settings
    there = label_studio.backends(project_id)
    fields: dict[str, Any] = {"url": settings.own_url, "title": title}
    if settings.basic_auth_user:
        fields |= {
            "auth_method": "BASIC_AUTH",
            "basic_auth_user": settings.basic_auth_user,
            "basic_auth_pass": settings.basic_auth_pass,
        }
    ours = next((one for one in there if same_url(one["url"], settings.own_url)), None)
    if ours:
        label_studio.update_backend(int(ours["id"]), project=project_id, **fields)
        say(f"The backend {settings.own_url} was connected already; its title is {title!r}.")
        return int(ours["id"])
    if there:
        say(
            f"Warning: the project has another ML backend ({there[0]['url']}); Label Studio asks "
            "only the first one. Remove it under Settings, Model."
        )
    created = label_studio.create_backend(project=project_id, **fields)
    say(f"Connected {settings.own_url} as ML backend {title!r}.")
    return int(created["id"])


def ensure_webhook(wiring: Wiring, project_id: int, say: Callable[[str], None]) -> None:
    """One webhook to us with our headers and events; Label Studio makes one without headers."""
    label_studio = wiring.label_studio
    url = f"{wiring.settings.own_url.rstrip('/')}/webhook"
    there = [h for h in label_studio.webhooks(project_id) if same_url(h["url"], url)]
    headers = webhook_headers(wiring.settings)
    if there:
        label_studio.update_webhook(int(there[0]["id"]), url=url, actions=EVENTS, headers=headers)
        for extra in there[1:]:
            label_studio.delete_webhook(int(extra["id"]))
    else:
        label_studio.create_webhook(project_id, url=url, actions=EVENTS, headers=headers)
    kind = " with its auth header" if headers else ""
    say(f"The webhook {url}{kind} sends {len(EVENTS)} kinds of events.")


def webhook_headers(settings: Settings) -> dict[str, str]:
    """The headers that annotation hooks must carry; Label Studio adds no auth of its own."""
    headers = {}
    if settings.basic_auth_user:
        pair = f"{settings.basic_auth_user}:{settings.basic_auth_pass}"
        headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
    if settings.webhook_secret:
        headers["X-Webhook-Secret"] = settings.webhook_secret
    return headers


def _predict_all(wiring: Wiring, project: Project, say: Callable[[str], None]) -> None:
    """Let the push worker predict every task and wait for it."""
    desk = wiring.projects.desk(project.id)
    desk.want_predictions(wiring.label_studio.task_ids(project.id))
    total = left = desk.waiting()["to_predict"]
    wiring.queues.wake("push", project.id)
    quiet_since = time.monotonic()
    while left:
        time.sleep(0.3)
        now = desk.waiting()["to_predict"]
        if now != left or wiring.queues.workers()["push"]:
            quiet_since = time.monotonic()
        if time.monotonic() - quiet_since > _WORKER_S:
            raise ConnectError(
                f"{now} tasks wait for predictions, but no push worker runs: start the backend "
                "(make run) or a worker (python -m backend worker push)."
            )
        left = now
    say(f"{total} tasks have a prediction.")


def same_url(one: str, other: str) -> bool:
    """Whether two addresses differ in nothing but a slash at the end."""
    return one.rstrip("/") == other.rstrip("/")


def explain(error: LabelStudioError) -> str:
    """The error with the fix for the trap that most users hit first."""
    text = str(error)
    if "reserved network address" in text or "block" in text and "127." in text:
        return (
            f"{text}\nFix: start Label Studio with both ML_BLOCK_LOCAL_IP=false and "
            "SSRF_PROTECTION_ENABLED=false in its environment (it refuses private addresses by "
            "default), then run connect again."
        )
    return text
