"""The HTTP door: what Label Studio calls, on Falcon.

`/health` and `/setup` never load a model (Label Studio waits 1 s and 3 s for them, before every
prediction). Errors are JSON with title, description and next step.
"""

from __future__ import annotations

import base64
import hmac
import json
import logging
from collections.abc import Mapping
from typing import Any

import falcon
import redis

from backend import __version__
from backend.committees import check_runtime
from backend.errors import BackendError, BadRequest
from backend.model import AutoAnnotator, project_number
from backend.settings import Settings
from backend.wiring import Wiring
from specialists.batcher import BatcherError, Busy, Closed, TooLate

logger = logging.getLogger(__name__)

_RETRY_S = 5


def create_app(wiring: Wiring) -> falcon.App[Any, Any]:
    """The WSGI application over the given parts."""
    check_runtime(wiring.settings)
    AutoAnnotator.use(wiring)
    app = falcon.App(middleware=[_Guard(wiring.settings)])
    limit = int(wiring.settings.max_body_mb * 1_000_000)
    health = Health(wiring)
    app.add_route("/", health)
    app.add_route("/health", health)
    app.add_route("/setup", Setup(limit))
    app.add_route("/predict", Predict(limit))
    app.add_route("/webhook", Webhook(wiring, limit))
    app.add_route("/versions", Versions(wiring))
    app.add_route("/job_status", JobStatus(wiring, limit))
    app.add_error_handler(Exception, _unexpected)
    app.add_error_handler(BackendError, _no_service)
    app.add_error_handler(BadRequest, _bad_request)
    app.add_error_handler(redis.RedisError, _no_redis)
    for busy in (Busy, TooLate, Closed):
        app.add_error_handler(busy, _busy)
    app.set_error_serializer(_serialize)
    return app


class Health:
    """`GET /` and `/health`: the process answers, and how much it has to do."""

    def __init__(self, wiring: Wiring) -> None:
        self._wiring = wiring

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Say that the backend is up; figures are of this process since it started."""
        load, loaded = self._wiring.batcher.load(), self._wiring.committees.loaded
        resp.media = {
            "status": "UP",
            "model_class": "AutoAnnotator",
            "version": __version__,
            "runtimes": loaded.runtimes,
            "models_mb": round(loaded.size_bytes / 1e6, 1),
            "waiting_tokens": load.waiting_tokens,
            "padding_waste": round(load.padding_waste, 4),
        }


class Setup:
    """`POST /setup`: the tag that a project is served."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Remember the project and answer its tag."""
        body = _body(req, self._limit)
        model = AutoAnnotator(_needed(body, "project", "an id"), _text(body, "schema"))
        tag = model.enroll(_text(body, "hostname"), body.get("extra_params"))
        resp.media = {"model_version": tag}


class Predict:
    """`POST /predict`: one prediction a task."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer exactly one result a task, in order."""
        body = _body(req, self._limit)
        tasks = _tasks(body)
        config = _text(body, "label_config")
        if not config:
            raise BadRequest(
                "No label config",
                "label_config is missing; expected the project's XML.",
                "Send the project's labeling interface as label_config.",
            )
        model = AutoAnnotator(_needed(body, "project", "an id"), config)
        resp.media = {"results": model.predict(tasks) if tasks else []}


class Webhook:
    """`POST /webhook`: what happened in Label Studio; recorded, then done elsewhere."""

    def __init__(self, wiring: Wiring, limit_bytes: int) -> None:
        self._wiring = wiring
        self._limit = limit_bytes

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Record the event; events of unknown projects are counted and ignored."""
        body = _body(req, self._limit)
        event = _text(body, "action")
        project = body.get("project")
        if not event or not isinstance(project, Mapping) or "id" not in project:
            self._ignore(resp, "webhook without action or project")
            return
        number = project_number(project["id"])
        if self._wiring.projects.get(number) is None:
            self._ignore(resp, "webhook of an unknown project")
            return
        resp.media = AutoAnnotator(number).fit(event, body)

    def _ignore(self, resp: falcon.Response, why: str) -> None:
        self._wiring.journal.count(why)
        resp.media = {"ignored": why}


class Versions:
    """`GET /versions`: every tag that can be served; Label Studio sends no project with it."""

    def __init__(self, wiring: Wiring) -> None:
        self._wiring = wiring

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """List the kept tags of all projects."""
        keep = self._wiring.settings.keep_tags
        kept = [
            tag
            for project_id in self._wiring.projects.ids()
            for tag in self._wiring.promotions(project_id).kept(keep)
        ]
        resp.media = {"versions": list(dict.fromkeys(kept))}


class JobStatus:
    """`POST /job_status` with `{"job": id}`: the state of one queued job."""

    def __init__(self, wiring: Wiring, limit_bytes: int) -> None:
        self._wiring = wiring
        self._limit = limit_bytes

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer the job's status; an unknown job is `unknown`, as it may be long done."""
        job_id = str(_needed(_body(req, self._limit), "job", "a job id"))
        found = self._wiring.queues.job(job_id)
        resp.media = found or {"job_id": job_id, "status": "unknown"}


class _Guard:
    """Basic auth on everything but /health; webhooks may carry the webhook secret instead.

    Compared in constant time. Label Studio sends no auth with annotation hooks, so `connect` puts
    the header on the webhook.
    """

    def __init__(self, settings: Settings) -> None:
        pair = f"{settings.basic_auth_user}:{settings.basic_auth_pass}".encode()
        self._basic = b"Basic " + base64.b64encode(pair) if settings.basic_auth_user else b""
        self._secret = settings.webhook_secret.encode()

    def process_request(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Refuse what carries neither."""
        if req.path == "/health" or not (self._basic or self._secret):
            return
        given = (req.get_header("Authorization") or "").encode()
        if self._basic and hmac.compare_digest(given, self._basic):
            return
        if req.path == "/webhook":
            sent = (req.get_header("X-Webhook-Secret") or "").encode()
            if self._secret and hmac.compare_digest(sent, self._secret):
                return
        elif not self._basic:
            return
        raise falcon.HTTPUnauthorized(
            title="Not authorized",
            description="This backend is protected. Give Label Studio its basic auth user and "
            "password; for webhooks run: python -m backend connect --project ID",
            challenges=['Basic realm="AutoAnnotator"'],
        )


def _body(req: falcon.Request, limit_bytes: int) -> dict[str, Any]:
    if (req.content_length or 0) > limit_bytes:
        raise falcon.HTTPContentTooLarge(
            title="Body too large",
            description=f"It has {req.content_length} bytes; allowed are {limit_bytes} "
            "(MAX_BODY_MB). Send fewer tasks at once: python -m backend connect imports in parts.",
        )
    raw = req.bounded_stream.read(limit_bytes + 1)
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        raise BadRequest(
            "Not JSON", f"The body ({len(raw)} bytes) is not JSON.", "Send a JSON object."
        ) from None
    if not isinstance(body, dict):
        raise BadRequest(
            "Not an object", f"The body is a JSON {type(body).__name__}.", "Send a JSON object."
        )
    return body


def _needed(body: Mapping[str, Any], name: str, expected: str) -> Any:
    if body.get(name) in (None, ""):
        raise BadRequest(
            "Missing field", f"{name} is missing; expected {expected}.", f"Send {name}."
        )
    return body[name]


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    return value if isinstance(value, str) else ""


def _tasks(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The tasks; one without `data` among good ones costs only its own result."""
    tasks = body.get("tasks")
    if not isinstance(tasks, list):
        raise BadRequest(
            "No tasks",
            "tasks is missing or no list; expected a list of objects with data.",
            "Send tasks as Label Studio does.",
        )
    if tasks and not any(isinstance(t, dict) and isinstance(t.get("data"), dict) for t in tasks):
        raise BadRequest(
            "No data",
            "tasks[0].data is missing; expected an object such as {'text': '...'}.",
            "Send each task with its data.",
        )
    return [task if isinstance(task, dict) else {} for task in tasks]


def _bad_request(
    req: falcon.Request, resp: falcon.Response, error: BadRequest, params: Mapping[str, Any]
) -> None:
    resp.status = falcon.HTTP_400
    resp.media = {
        "title": error.title,
        "description": error.description,
        "next_step": error.next_step,
    }


def _no_service(
    req: falcon.Request, resp: falcon.Response, error: BackendError, params: Mapping[str, Any]
) -> None:
    logger.error("%s: %s", req.path, error)
    resp.status = falcon.HTTP_503
    resp.media = {
        "title": "Not available",
        "description": str(error),
        "next_step": "python -m backend status shows what is wrong.",
    }


def _no_redis(
    req: falcon.Request, resp: falcon.Response, error: redis.RedisError, params: Mapping[str, Any]
) -> None:
    logger.warning("%s: Redis does not answer: %s", req.path, type(error).__name__)
    resp.status = falcon.HTTP_503
    resp.set_header("Retry-After", "5")
    resp.media = {
        "title": "Redis does not answer",
        "description": "Nothing was recorded; annotations are read from Label Studio again later.",
        "next_step": "Check REDIS_URL and the Redis server.",
    }


def _busy(
    req: falcon.Request, resp: falcon.Response, error: BatcherError, params: Mapping[str, Any]
) -> None:
    logger.warning("%s: %s", req.path, error)
    resp.status = falcon.HTTP_503
    resp.set_header("Retry-After", str(getattr(error, "retry_after_s", _RETRY_S)))
    resp.media = {
        "title": "Too busy",
        "description": str(error),
        "next_step": "Ask again later; for many tasks run: python -m backend prelabel --project ID",
    }


def _unexpected(
    req: falcon.Request, resp: falcon.Response, error: Exception, params: Mapping[str, Any]
) -> None:
    if isinstance(error, falcon.HTTPError | falcon.HTTPStatus):
        raise error
    logger.exception("%s %s failed", req.method, req.path)
    resp.status = falcon.HTTP_500
    resp.media = {
        "title": "Internal error",
        "description": f"{type(error).__name__}; the log of the web process has the trace.",
        "next_step": "Please report it with that trace.",
    }


def _serialize(req: falcon.Request, resp: falcon.Response, error: falcon.HTTPError) -> None:
    resp.media = {"title": error.title, "description": error.description or "", "next_step": ""}
