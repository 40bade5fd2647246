"""Who may ask: basic auth, and the webhook secret."""

from __future__ import annotations

import base64
import hmac

import falcon

from backend.settings import Settings


class Guard:
    """Basic auth on everything but /health; webhooks may carry the webhook secret instead.

    With the secret alone, only webhooks need it. Compared in constant time, user and password as
    one. Label Studio sends no auth with annotation hooks, so `connect` puts the header on the
    webhook.
    """

    def __init__(self, settings: Settings) -> None:
        pair = f"{settings.basic_auth_user}:{settings.basic_auth_pass}".encode()
        self._basic = b"Basic " + base64.b64encode(pair) if settings.basic_auth_user else b""
        self._secret = settings.webhook_secret.encode()

    def process_request(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Refuse what carries neither."""
        # The router leaves out slashes at the start, and so must whoever asks for whom it is.
        path = "/" + req.path.lstrip("/")
        if path == "/health" or not (self._basic or self._secret):
            return
        if self._basic and hmac.compare_digest(_header(req, "Authorization"), self._basic):
            return
        if path == "/webhook":
            sent = _header(req, "X-Webhook-Secret")
            if self._secret and hmac.compare_digest(sent, self._secret):
                return
        elif not self._basic:
            return
        raise falcon.HTTPUnauthorized(
            title="Not authorized",
            description="This backend is protected. Give Label Studio its basic auth user and "
            "password; for webhooks run: python -m backend connect --project ID",
            challenges=['Basic realm="AutoAnnotator"'] if self._basic else [],
        )


def _header(req: falcon.Request, name: str) -> bytes:
    """The bytes of a header; WSGI hands them over as Latin-1, whatever they were (PEP 3333)."""
    return (req.get_header(name) or "").encode("latin-1", "replace")
