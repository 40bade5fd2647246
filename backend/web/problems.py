"""Errors as JSON: title, description and next step."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import falcon
import redis

from backend.errors import BackendError, BadRequest
from specialists.batcher import BatcherError, Busy, Closed, TooLate
from training.errors import BucketUnusable

logger = logging.getLogger(__name__)

_RETRY_S = 5

_NEXT_STEPS = {
    401: "Send the user and password that are set here, or the webhook's secret.",
    403: "Open the status page and press the button there.",
    404: "GET /openapi.json lists the addresses.",
    405: "GET /openapi.json lists the methods of each address.",
    413: "Send less at once, or raise MAX_BODY_MB.",
}


def handle(app: falcon.App[Any, Any]) -> None:
    """Answer every error of this app as JSON."""
    app.add_error_handler(Exception, _unexpected)
    app.add_error_handler(BackendError, _no_service)
    app.add_error_handler(BucketUnusable, _no_service)
    app.add_error_handler(BadRequest, _bad_request)
    app.add_error_handler(redis.RedisError, _no_redis)
    for busy in (Busy, TooLate, Closed):
        app.add_error_handler(busy, _busy)
    app.set_error_serializer(_serialize)


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
    req: falcon.Request,
    resp: falcon.Response,
    error: BackendError | BucketUnusable,
    params: Mapping[str, Any],
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
    resp.media = {
        "title": error.title,
        "description": error.description or f"{req.method} is not possible here.",
        "next_step": _NEXT_STEPS.get(error.status_code, "GET /openapi.json says what is expected."),
    }
