"""`GET /metrics`: figures in the text format of Prometheus, of this process and of the backend."""

from __future__ import annotations

import falcon
from prometheus_client import (
    CollectorRegistry,
    Gauge,
    GCCollector,
    Info,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import choose_encoder

from backend import __version__
from backend.state_metrics import StateCollector
from backend.wiring import Wiring


def registry_of(wiring: Wiring) -> CollectorRegistry:
    """What `/metrics` shows but for requests, which count themselves (observer.py)."""
    disable_created_metrics()  # type: ignore[no-untyped-call]  # a series more for each
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    Info("autoannotator_build", "The version that runs.", registry=registry).info(
        {"version": __version__}
    )
    Gauge(
        "autoannotator_web_waiting_tokens", "Tokens that wait for a model.", registry=registry
    ).set_function(lambda: wiring.batcher.load().waiting_tokens)
    Gauge(
        "autoannotator_web_models_bytes", "Weights that are loaded.", registry=registry
    ).set_function(lambda: wiring.committees.loaded.size_bytes)
    registry.register(StateCollector(wiring))
    return registry


class Metrics:
    """`GET /metrics`, behind basic auth where that is set."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer in the text format, or as OpenMetrics where that is asked for."""
        encode, resp.content_type = choose_encoder(req.get_header("Accept") or "")
        resp.data = encode(self._registry)
