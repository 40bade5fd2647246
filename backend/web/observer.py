"""What is told of each request: an id, a line in the log, a counter and a histogram."""

from __future__ import annotations

import logging
import re
import time
import uuid

import falcon
from prometheus_client import CollectorRegistry, Counter, Histogram

from backend import logs

logger = logging.getLogger(__name__)

ID_HEADER = "X-Request-ID"

_SANE = re.compile(r"[A-Za-z0-9-]{1,64}")
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
# Label Studio asks the first two before every prediction, Prometheus the third every few seconds.
_QUIET = frozenset(("/", "/health", "/metrics"))
# Seconds: hooks must be answered within 1, /setup within 3, predictions within 100.
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100)


class Observer:
    """Middleware around all others, so that it sees what they refuse.

    A route is its template, never a path: "unmatched" where there is none, or where a request was
    refused before it was looked up.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "autoannotator_http_requests",
            "Requests answered, by status class.",
            ("route", "method", "status"),
            registry=registry,
        )
        self._seconds = Histogram(
            "autoannotator_http_request_duration_seconds",
            "Seconds until a request was answered.",
            ("route",),
            buckets=_BUCKETS,
            registry=registry,
        )

    def process_request(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Start the clock; take over the caller's id if it is sane."""
        req.context.started = time.perf_counter()
        given = req.get_header(ID_HEADER) or ""
        request_id = given if _SANE.fullmatch(given) else uuid.uuid4().hex
        resp.set_header(ID_HEADER, request_id)
        logs.tell(request_id=request_id)

    def process_response(
        self, req: falcon.Request, resp: falcon.Response, resource: object, succeeded: bool
    ) -> None:
        """Count, and write the line; the thread's next one is about another request."""
        took_s = time.perf_counter() - req.context.started
        route = req.uri_template or "unmatched"
        method = req.method if req.method in _METHODS else "other"
        self._requests.labels(route, method, f"{resp.status_code // 100}xx").inc()
        self._seconds.labels(route).observe(took_s)
        if route not in _QUIET:
            ms = round(took_s * 1000, 1)
            told = {"method": method, "route": route, "status": resp.status_code, "ms": ms}
            logger.info("%s %s %d %s ms", *told.values(), extra={"fields": told})
        logs.tell()
