"""What Label Studio calls.

`/health` and `/setup` never load a model: Label Studio waits 1 s and 3 s for them, before every
prediction.
"""

from __future__ import annotations

from collections.abc import Mapping

import falcon

from backend import __version__
from backend.errors import BadRequest
from backend.ids import project_number
from backend.model import AutoAnnotator
from backend.web import bodies
from backend.wiring import Wiring

_MAX_JOB_CHARS = 200  # those of RQ have 36, ours about as many


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
        body = bodies.read(req, self._limit)
        model = AutoAnnotator(bodies.needed(body, "project", "an id"), bodies.text(body, "schema"))
        tag = model.enroll(bodies.text(body, "hostname"), body.get("extra_params"))
        resp.media = {"model_version": tag}


class Predict:
    """`POST /predict`: one prediction a task."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer exactly one result a task, in order."""
        body = bodies.read(req, self._limit)
        tasks = bodies.tasks(body)
        config = bodies.text(body, "label_config")
        if not config:
            raise BadRequest(
                "No label config",
                "label_config is missing; expected the project's XML.",
                "Send the project's labeling interface as label_config.",
            )
        model = AutoAnnotator(bodies.needed(body, "project", "an id"), config)
        resp.media = {"results": model.predict(tasks) if tasks else []}


class Webhook:
    """`POST /webhook`: what happened in Label Studio; recorded, then done elsewhere."""

    def __init__(self, wiring: Wiring, limit_bytes: int) -> None:
        self._wiring = wiring
        self._limit = limit_bytes

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Record the event; events of unknown projects are counted and ignored."""
        body = bodies.read(req, self._limit)
        event = bodies.text(body, "action")
        project = body.get("project")
        if not event or not isinstance(project, Mapping) or "id" not in project:
            self._ignore(resp, "webhook without action or project")
            return
        number = project_number(project["id"])
        known = self._wiring.projects.get(number)
        if known is None:
            self._ignore(resp, "webhook of an unknown project")
            return
        resp.media = AutoAnnotator(number, known.label_config).fit(event, body)

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
        job_id = bodies.needed(bodies.read(req, self._limit), "job", "a job id")
        if not isinstance(job_id, str) or len(job_id) > _MAX_JOB_CHARS:
            raise BadRequest(
                "No job id",
                f"job is no text of at most {_MAX_JOB_CHARS} characters.",
                "Send a job's id as job.",
            )
        found = self._wiring.queues.job(job_id)
        resp.media = found or {"job_id": job_id, "status": "unknown"}
