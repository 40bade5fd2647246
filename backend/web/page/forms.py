"""Who may press the page's buttons, and how a form proves that it comes from the page.

Covered: other sites' forms (the Origin must be our own host, and a form carries a token that only
the page tells), DNS rebinding (without basic auth the host must be this machine's own name), and
whoever reaches an unprotected backend over the network (no buttons for them). Not covered: a proxy
on this machine that passes others' requests on without a Forwarded header; set BASIC_AUTH_USER.
"""

from __future__ import annotations

import hmac
import re
import secrets
from ipaddress import ip_address
from urllib.parse import parse_qsl, urlsplit

import falcon
import redis

from backend.settings import Settings

_COOKIE = "autoannotator_session"
_SESSION = re.compile(r"[0-9a-f]{32}")
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP", "Via")
_BODY_MAX = 4096
_TOLD_S = 60


def why_not(req: falcon.Request, settings: Settings) -> str:
    """Why this request may not act, with the next step; empty when it may."""
    if settings.basic_auth_user or _is_local(req):
        return ""
    return (
        "The buttons work after BASIC_AUTH_USER and BASIC_AUTH_PASS are set for the web process, "
        f"or on its own machine under http://localhost:{settings.port}/."
    )


class Forms:
    """The tokens of the page's forms, and what a pressed button told; both lie in Redis."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client  # made with decode_responses=True

    @property
    def secret_key(self) -> str:
        """The secret that all web processes sign forms with."""
        return "aa:page:secret"

    @staticmethod
    def told_key(session: str) -> str:
        """What the last button told, until the page has shown it."""
        return f"aa:page:told:{session}"

    def session(self, req: falcon.Request, resp: falcon.Response) -> str:
        """This browser's session; a browser without one gets a cookie."""
        known = _session(req)
        if known:
            return known
        new = secrets.token_hex(16)
        https = req.forwarded_scheme == "https"
        resp.set_cookie(_COOKIE, new, secure=https, http_only=True, same_site="Lax", path="/")
        return new

    def token(self, session: str) -> str:
        """What a form of this session must carry."""
        self._redis.set(self.secret_key, secrets.token_hex(32), nx=True)
        secret = str(self._redis.get(self.secret_key))
        return hmac.digest(secret.encode(), session.encode(), "sha256").hex()

    def read(self, req: falcon.Request) -> tuple[str, dict[str, str]]:
        """The session and the fields of a form that the page made.

        Raises:
            falcon.HTTPForbidden: It comes from elsewhere, or from a page of another session.
            falcon.HTTPContentTooLarge: It is no form of ours.
        """
        if not _same_origin(req):
            raise falcon.HTTPForbidden(
                title="Not from this page",
                description="The form's Origin is not this host. Open the status page and press "
                "the button there; a proxy in between must pass the Host header on.",
            )
        fields, session = _fields(req), _session(req)
        given = fields.get("token", "").encode()
        if not session or not hmac.compare_digest(given, self.token(session).encode()):
            raise falcon.HTTPForbidden(
                title="Not from this page",
                description="The form carries no token of this session. Open the status page "
                "again and press the button there; it needs cookies.",
            )
        return session, fields

    def tell(self, session: str, message: str) -> None:
        """Keep a message for the session's next page."""
        self._redis.set(self.told_key(session), message, ex=_TOLD_S)

    def told(self, session: str) -> str:
        """The message for this page, once."""
        return str(self._redis.getdel(self.told_key(session)) or "")


def _session(req: falcon.Request) -> str:
    given = (req.get_cookie_values(_COOKIE) or [""])[0]
    return given if _SESSION.fullmatch(given) else ""


def _fields(req: falcon.Request) -> dict[str, str]:
    raw = req.bounded_stream.read(_BODY_MAX + 1)
    if len(raw) > _BODY_MAX:
        raise falcon.HTTPContentTooLarge(
            title="Body too large", description=f"A form has {_BODY_MAX} bytes at most."
        )
    return dict(parse_qsl(raw.decode("utf-8", "replace")))


def _is_local(req: falcon.Request) -> bool:
    """Whether the other end is this machine, and speaks to it by its own name."""
    if any(req.get_header(name) for name in _FORWARDED):
        return False
    try:
        address = ip_address(req.remote_addr)
        host = urlsplit(f"//{req.get_header('Host') or ''}").hostname
    except ValueError:
        return False
    return address.is_loopback and host in _LOOPBACK


def _same_origin(req: falcon.Request) -> bool:
    """Whether a browser says that the form was on a page of this host; all send it with a POST."""
    try:
        origin = urlsplit(req.get_header("Origin") or "").netloc.lower()
    except ValueError:
        return False
    # A page elsewhere cannot make a form send X-Forwarded-Host; a proxy sets it for itself.
    hosts = {req.get_header("Host"), req.get_header("X-Forwarded-Host")}
    return bool(origin) and origin in {host.lower() for host in hosts if host}
