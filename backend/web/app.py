"""The WSGI application: routes, who may ask, and errors, joined."""

from __future__ import annotations

from typing import Any

import falcon

from backend.committees import check_runtime
from backend.model import AutoAnnotator
from backend.web import problems
from backend.web.guard import Guard
from backend.web.metrics import Metrics, registry_of
from backend.web.observer import Observer
from backend.web.openapi import OpenApi
from backend.web.page.routes import Actions, Status, StatusPage
from backend.web.routes import Health, JobStatus, Predict, Setup, Versions, Webhook
from backend.wiring import Wiring


def create_app(wiring: Wiring) -> falcon.App[Any, Any]:
    """The WSGI application over the given parts."""
    check_runtime(wiring.settings)
    _ = wiring.models  # what runs them takes seconds to import: no request should wait for that
    AutoAnnotator.use(wiring)
    registry = registry_of(wiring)
    app = falcon.App(middleware=[Observer(registry)])
    app.add_middleware(Guard(wiring.settings))
    limit = int(wiring.settings.max_body_mb * 1_000_000)
    health = Health(wiring)
    app.add_route("/", StatusPage(wiring, health))
    app.add_route("/health", health)
    app.add_route("/metrics", Metrics(registry))
    app.add_route("/status", Status(wiring))
    app.add_route("/projects/{project_id:int}/{action}", Actions(wiring))
    app.add_route("/setup", Setup(limit))
    app.add_route("/predict", Predict(limit))
    app.add_route("/webhook", Webhook(wiring, limit))
    app.add_route("/versions", Versions(wiring))
    app.add_route("/job_status", JobStatus(wiring, limit))
    app.add_route("/openapi.json", OpenApi())
    problems.handle(app)
    return app
