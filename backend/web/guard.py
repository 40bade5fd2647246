"""Who may ask: basic auth, and the webhook secret."""

from __future__ import annotations

import base64
import hmac

import falcon

from backend.settings import Settings


class Guard:
    """Basic auth on everything but /health; webhooks may carry the webhook secret instead.

    Compared in constant time. Label Studio sends no auth with annotation hooks, so `connect` puts
    the header on the webhook.
    """

    def __init__(self, settings: Settings) -> None:
        pair = f"{settings.basic_auth_user}:{settings.basic_auth_pass}".encode()
        self._basic = b"Basic " + base64.b64encode(pair) if settings.basic_auth_user else b""
        self._secret = settings.webhook_secret.encode()

    def process_request(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Refuse what carries neither."""
        if req.path == "/health" or not (self._basic or self._secret):
            return
        given = (req.get_header("Authorization") or "").encode()
        if self._basic and hmac.compare_digest(given, self._basic):
            return
        if req.path == "/webhook":
            sent = (req.get_header("X-Webhook-Secret") or "").encode()
            if self._secret and hmac.compare_digest(sent, self._secret):
                return
        elif not self._basic:
            return
        raise falcon.HTTPUnauthorized(
            title="Not authorized",
            description="This backend is protected. Give Label Studio its basic auth user and "
            "password; for webhooks run: python -m backend connect --project ID",
            challenges=['Basic realm="AutoAnnotator"'],
        )
