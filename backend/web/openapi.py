"""The OpenAPI 3.1 description of the backend, and its route.

Built here and not kept as a file: bounds come from the code that keeps them. A route of another
module is described by one entry in `PATHS`; tests compare them with the routes of the app.
"""

from __future__ import annotations

from typing import Any

import falcon

from backend import __version__
from backend.config_xml import MAX_CONFIG_BYTES
from backend.ids import MAX_ID
from backend.web.bodies import MAX_TASKS

Schema = dict[str, Any]


def _ref(kind: str, name: str) -> Schema:
    return {"$ref": f"#/components/{kind}/{name}"}


def _object(properties: Schema, *required: str) -> Schema:
    """An object that may have more: Label Studio sends more than we read."""
    return {"type": "object", "properties": properties, "required": list(required)}


def _json(schema: Schema) -> Schema:
    return {"application/json": {"schema": schema}}


def _operation(
    name: str,
    summary: str,
    answer: Schema,
    body: Schema | None = None,
    security: list[Schema] | None = None,
    media: str = "application/json",
) -> Schema:
    """One method of one address; every answer but 200 is an `Error`."""
    answers: Schema = {
        "200": {"description": "Done.", "content": {media: {"schema": answer}}},
        "401": _ref("responses", "Error"),
        "503": _ref("responses", "Error"),
    }
    described: Schema = {"operationId": name, "summary": summary, "responses": answers}
    if body is not None:
        described["requestBody"] = {"required": True, "content": _json(body)}
        answers.update({status: _ref("responses", "Error") for status in ("400", "413")})
    if security is not None:
        described["security"] = security
    return described


_TEXT: Schema = {"type": "string"}
_WHOLE: Schema = {"type": "integer", "minimum": 0}
_ID: Schema = {**_WHOLE, "maximum": MAX_ID}
_PROJECT: Schema = {
    "description": "An id, or Label Studio's id.created_at.",
    "anyOf": [_ID, {"type": "string", "pattern": r"^[0-9]{1,18}(\.[0-9]{1,20})?$"}],
}
_CONFIG: Schema = {
    "type": "string",
    "minLength": 1,
    "maxLength": MAX_CONFIG_BYTES,
    "description": "The project's labeling interface, XML.",
}
_TASK = _object({"id": _ID, "data": {"type": "object"}})

_SCHEMAS: Schema = {
    "Error": _object(
        {"title": _TEXT, "description": _TEXT, "next_step": _TEXT},
        *("title", "description", "next_step"),
    ),
    "Health": _object(
        {
            "status": {"const": "UP"},
            "model_class": _TEXT,
            "version": _TEXT,
            "runtimes": {"type": "array", "items": _TEXT},
            "models_mb": {"type": "number", "minimum": 0},
            "waiting_tokens": _WHOLE,
            "padding_waste": {"type": "number", "minimum": 0, "maximum": 1},
        },
        *("status", "model_class", "version"),
    ),
    "SetupRequest": _object(
        {
            "project": _PROJECT,
            "schema": _CONFIG,
            "hostname": {**_TEXT, "description": "Label Studio's own address."},
            "access_token": {**_TEXT, "description": "Not read."},
            "extra_params": {
                "description": "Settings of the project may be among them (an object).",
                "type": ["object", "string", "null"],
            },
        },
        *("project", "schema"),
    ),
    "Setup": _object({"model_version": _TEXT}, "model_version"),
    "PredictRequest": _object(
        {
            "project": _PROJECT,
            "label_config": _CONFIG,
            "tasks": {"type": "array", "maxItems": MAX_TASKS, "items": _TASK},
            "params": {"type": ["object", "null"], "description": "Not read."},
        },
        *("project", "label_config", "tasks"),
    ),
    "Region": _object(
        {
            "id": _TEXT,
            "from_name": _TEXT,
            "to_name": _TEXT,
            "type": {"enum": ["choices", "taxonomy", "rating", "textarea"]},
            "value": {"type": "object"},
            "score": {"type": "number", "minimum": 0, "maximum": 1},
            "meta": {"type": "object", "description": "Who voted what, how sure, and why."},
        },
        *("id", "from_name", "to_name", "type", "value"),
    ),
    "Prediction": _object(
        {
            "model_version": _TEXT,
            "score": {"type": "number", "minimum": 0, "maximum": 1},
            "result": {"type": "array", "items": _ref("schemas", "Region")},
        },
        *("model_version", "score", "result"),
    ),
    "Predictions": _object(
        {
            "results": {
                "description": "One a task, in order; `result` is empty where there is no text.",
                "type": "array",
                "items": _ref("schemas", "Prediction"),
            }
        },
        "results",
    ),
    "Hook": _object(
        {
            "action": {**_TEXT, "description": "Such as ANNOTATION_CREATED or START_TRAINING."},
            "project": _object({"id": _PROJECT, "label_config": _TEXT}, "id"),
            "annotation": {"description": "One, or a list of them.", "type": ["object", "array"]},
            "annotations": {"description": "With their ids.", "type": ["object", "array"]},
            "task": {"description": "One, or a list of them.", "type": ["object", "array"]},
            "tasks": {"description": "With their ids.", "type": ["object", "array"]},
        }
    ),
    "HookAnswer": {
        "anyOf": [
            _object({"recorded": _WHOLE, "retracted": _WHOLE}, "recorded", "retracted"),
            _object({"ignored": _TEXT}, "ignored"),
        ]
    },
    "Versions": _object({"versions": {"type": "array", "items": _TEXT}}, "versions"),
    "JobRequest": _object({"job": {"type": "string", "minLength": 1, "maxLength": 200}}, "job"),
    "Job": _object(
        {
            "job_id": _TEXT,
            "status": {**_TEXT, "description": "RQ's, or `unknown`."},
            "description": {"type": ["string", "null"]},
            "meta": {"type": "object"},
        },
        *("job_id", "status"),
    ),
}

_OPEN: list[Schema] = []
_BASIC: Schema = {"basic": []}

PATHS: Schema = {
    "/health": {
        "get": _operation(
            "health", "The process answers; what it holds.", _ref("schemas", "Health"), None, _OPEN
        )
    },
    "/": {
        "get": _operation(
            "root",
            "The status page in browsers, else as /health.",
            _ref("schemas", "Health"),
        )
    },
    "/status": {
        "get": _operation("status", "What `backend status --json` prints.", {"type": "object"})
    },
    "/metrics": {
        "get": _operation("metrics", "Figures for Prometheus.", _TEXT, media="text/plain")
    },
    "/projects/{project_id}/{action}": {
        "parameters": [
            {"name": "project_id", "in": "path", "required": True, "schema": _ID},
            {
                "name": "action",
                "in": "path",
                "required": True,
                "schema": {"enum": ["train", "rollback", "pause", "resume"]},
            },
        ],
        "post": {
            "operationId": "act",
            "summary": "A button of the status page, which alone knows the form's token.",
            "responses": {
                "303": {"description": "Done or not done, which the page tells."},
                **{status: _ref("responses", "Error") for status in ("401", "403", "404", "503")},
            },
        },
    },
    "/setup": {
        "post": _operation(
            "setup",
            "The tag that a project is served; its label config is remembered.",
            _ref("schemas", "Setup"),
            _ref("schemas", "SetupRequest"),
        )
    },
    "/predict": {
        "post": _operation(
            "predict",
            "One prediction a task, in order.",
            _ref("schemas", "Predictions"),
            _ref("schemas", "PredictRequest"),
        )
    },
    "/webhook": {
        "post": _operation(
            "webhook",
            "What happened in Label Studio; recorded, done later.",
            _ref("schemas", "HookAnswer"),
            _ref("schemas", "Hook"),
            [_BASIC, {"webhook_secret": []}],
        )
    },
    "/versions": {
        "get": _operation("versions", "The kept tags of all projects.", _ref("schemas", "Versions"))
    },
    "/job_status": {
        "post": _operation(
            "job_status",
            "The state of one queued job.",
            _ref("schemas", "Job"),
            _ref("schemas", "JobRequest"),
        )
    },
    "/openapi.json": {"get": _operation("openapi", "This description.", {"type": "object"})},
}
"""What is served at each address; see `_operation`."""


def document() -> Schema:
    """The description of the whole backend."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "AutoAnnotator for Label Studio",
            "version": __version__,
            "description": "The ML backend that Label Studio calls. Bodies are JSON in UTF-8, "
            "bounded by MAX_BODY_MB. Basic auth is asked for when BASIC_AUTH_USER is set, the "
            "header X-Webhook-Secret of webhooks when WEBHOOK_SECRET is.",
        },
        "security": [_BASIC],
        "paths": PATHS,
        "components": {
            "schemas": _SCHEMAS,
            "responses": {
                "Error": {
                    "description": "What is wrong, and what to do.",
                    "content": _json(_ref("schemas", "Error")),
                }
            },
            "securitySchemes": {
                "basic": {"type": "http", "scheme": "basic"},
                "webhook_secret": {"type": "apiKey", "in": "header", "name": "X-Webhook-Secret"},
            },
        },
    }


class OpenApi:
    """`GET /openapi.json`: the description, for tools and people."""

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer the description."""
        resp.media = document()
