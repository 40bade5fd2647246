"""The OpenAPI description names every route of the app, with its methods, and no other."""

from __future__ import annotations

import re
from pathlib import Path

import falcon.inspect
from machine import Machine

from backend.web.app import create_app
from backend.web.openapi import PATHS


def test_every_route_is_described_and_everything_described_is_a_route(tmp_path: Path) -> None:
    with Machine(tmp_path) as machine:
        routes = falcon.inspect.inspect_routes(create_app(machine.wiring))
    served = {
        re.sub(r":\w+}", "}", route.path): {
            one.method.lower() for one in route.methods if not one.internal
        }
        for route in routes
    }
    described = {path: set(methods) - {"parameters"} for path, methods in PATHS.items()}
    assert described == {path.replace(":int", ""): methods for path, methods in served.items()}
