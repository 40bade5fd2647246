"""Requests that the OpenAPI description allows, and some that it does not, to the web process.

Answers are as the description says.
"""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from hypothesis import strategies as st
from machine import Machine
from runs import fuzz
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from served import HANG_S, INPUTS, Answer, check

from backend.web.openapi import PATHS

CHECKS = [
    content_type_conformance,
    not_a_server_error,
    response_schema_conformance,
    status_code_conformance,
]


@pytest.mark.parametrize(
    ("path", "method"),
    [(path, one) for path, of in PATHS.items() for one in of if one in ("get", "post")],
)
def test_description(machine: Machine, path: str, method: str) -> None:
    url = f"http://127.0.0.1:{machine.settings.port}"
    operation = schemathesis.openapi.from_url(f"{url}/openapi.json")[path][method.upper()]
    modes = list(GenerationMode) if "requestBody" in PATHS[path][method] else [*GenerationMode][:1]

    @fuzz(
        share=0.25, case=st.one_of(*(operation.as_strategy(generation_mode=mode) for mode in modes))
    )
    def target(case: Any) -> None:
        INPUTS[f"description: {path}"] += 1
        answer = case.call_and_validate(checks=CHECKS, timeout=HANG_S)
        check(case.method, Answer(answer.status_code, dict(answer.headers), answer.content))

    target()
