"""`GET /` in a browser, `GET /status`, and the buttons: `POST /projects/{id}/{action}`."""

from __future__ import annotations

import threading
from collections.abc import Callable

import falcon
import redis

from backend import actions
from backend.errors import BackendError
from backend.projects import Project
from backend.status import collect
from backend.web.page import render
from backend.web.page.forms import Forms, why_not
from backend.web.routes import Health
from backend.wiring import Wiring
from training.errors import TrainingError

_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        f"default-src 'none'; style-src '{render.STYLE_HASH}'; img-src data:; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Not no-referrer: with that, browsers send `Origin: null` with the page's own forms.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Vary": "Accept",
}


class StatusPage:
    """`GET /`: the status page for browsers; Label Studio and scripts get `/health`'s answer."""

    def __init__(self, wiring: Wiring, health: Health) -> None:
        self._wiring = wiring
        self._health = health
        self._forms = Forms(wiring.redis)

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer in the form that the caller prefers."""
        resp.set_header("Vary", "Accept")
        if req.client_prefers((falcon.MEDIA_JSON, falcon.MEDIA_HTML)) != falcon.MEDIA_HTML:
            self._health.on_get(req, resp)
            return
        resp.content_type = falcon.MEDIA_HTML
        resp.set_headers(_HEADERS)
        try:
            resp.text = self._page(req, resp)
        except redis.RedisError:
            resp.status = falcon.HTTP_503
            resp.text = render.without_redis()

    def _page(self, req: falcon.Request, resp: falcon.Response) -> str:
        refused, session, token = why_not(req, self._wiring.settings), "", ""
        if not refused:
            session = self._forms.session(req, resp)
            token = self._forms.token(session)
        told = self._forms.told(session) if session else ""
        return render.page(collect(self._wiring), token, refused, told)


class Status:
    """`GET /status`: what `python -m backend status --json` prints."""

    def __init__(self, wiring: Wiring) -> None:
        self._wiring = wiring

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Everything as JSON; reads Redis only."""
        resp.media = collect(self._wiring)
        resp.set_header("Cache-Control", "no-store")


class Actions:
    """The page's buttons; each does what the command of its name does."""

    def __init__(self, wiring: Wiring) -> None:
        self._wiring = wiring
        self._forms = Forms(wiring.redis)
        self._one_at_a_time = threading.Lock()  # a process notes for one project why it writes

    def on_post(
        self, req: falcon.Request, resp: falcon.Response, project_id: int, action: str
    ) -> None:
        """Act, and lead back to the page, which tells what was done or why it was not."""
        refused = why_not(req, self._wiring.settings)
        if refused:
            raise falcon.HTTPForbidden(title="Not allowed", description=refused)
        session, fields = self._forms.read(req)
        act = self._known(action, fields)
        if act is None:
            raise falcon.HTTPNotFound(
                title="Unknown action",
                description=f"{action[:40]!r} is none; one of train, rollback, pause, resume.",
            )
        try:
            with self._one_at_a_time:
                self._wiring.writes.because(project_id, f"somebody pressed {action} on the page")
                told = act(actions.known(self._wiring, project_id))
        except (BackendError, TrainingError) as error:
            told = f"Not done: {error}"
        self._forms.tell(session, told)
        resp.status = falcon.HTTP_303
        resp.location = "../../"  # relative: a proxy may serve us under a path
        resp.set_header("Cache-Control", "no-store")

    def _known(self, action: str, fields: dict[str, str]) -> Callable[[Project], str] | None:
        wiring = self._wiring
        found: dict[str, Callable[[Project], str]] = {
            "train": lambda project: actions.train_now(wiring, project.id),
            "rollback": lambda project: actions.roll_back(wiring, project, fields.get("to")),
            "pause": lambda project: actions.pause_review(wiring, project.id),
            "resume": lambda project: actions.resume_review(wiring, project.id),
        }
        return found.get(action)
