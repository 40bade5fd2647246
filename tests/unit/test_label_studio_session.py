"""The line to Label Studio: tokens, and what each failure means to the caller.

The SDK and httpx run for real over an injected transport; no socket is opened.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import jwt
import pytest

from backend.errors import LabelStudioError, NotFound, Rejected, Unauthorized, Unreachable
from backend.label_studio_session import Session

# The SDK refreshes tokens with a pydantic call that pydantic has deprecated.
pytestmark = pytest.mark.filterwarnings(
    "ignore:The `parse_obj` method:DeprecationWarning:label_studio_sdk.tokens.client_ext"
)

LEGACY = "0123456789abcdef0123456789abcdef01234567"
Answer = Callable[[httpx.Request], httpx.Response]


def token(kind: str, lifetime_s: float = 300) -> str:
    claims = {"token_type": kind, "exp": time.time() + lifetime_s}
    return jwt.encode(claims, "a key that is long enough for HS256", "HS256")


def session(answer: Answer, api_key: str = LEGACY) -> Session:
    http = httpx.Client(transport=httpx.MockTransport(answer))
    return Session("http://studio.example/sub", api_key, timeout_s=5.0, http=http)


class Studio:
    """Answers token refreshes, and everything else with the statuses given, then with 200."""

    def __init__(self, *statuses: int, refresh: int = 200) -> None:
        self.statuses = list(statuses)
        self.refresh = refresh
        self.refreshes = 0
        self.seen: list[httpx.Request] = []
        self._lock = threading.Lock()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        with self._lock:
            if request.url.path == "/sub/api/token/refresh/":
                self.refreshes += 1
                body = {"access": token("access")} if self.refresh == 200 else {"detail": "no"}
                return httpx.Response(self.refresh, json=body)
            self.seen.append(request)
            status = self.statuses.pop(0) if self.statuses else 200
        return httpx.Response(status, json={"detail": "as told"})


def test_a_legacy_token_is_sent_as_it_is() -> None:
    studio = Studio()
    session(studio).call("GET", "api/x")
    assert studio.seen[0].headers["Authorization"] == f"Token {LEGACY}"
    assert studio.refreshes == 0


def test_a_personal_access_token_is_exchanged_once_by_many_threads() -> None:
    studio = Studio()
    line = session(studio, token("refresh"))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: line.call("GET", "api/x"), range(32)))
    assert studio.refreshes == 1 and len(studio.seen) == 32
    assert all(one.headers["Authorization"].startswith("Bearer ") for one in studio.seen)


def test_an_access_token_that_ran_out_on_its_way_is_replaced_once() -> None:
    studio = Studio(401)
    session(studio, token("refresh")).call("POST", "api/x", body=[1])
    assert studio.refreshes == 2 and len(studio.seen) == 2
    assert json.loads(studio.seen[1].content) == [1]


def test_a_sub_path_and_the_query_survive() -> None:
    studio = Studio()
    session(studio).call("GET", "api/x", params={"project": 3})
    assert str(studio.seen[0].url) == "http://studio.example/sub/api/x?project=3"


@pytest.mark.parametrize("status", [500, 502, 503, 429, 408])
def test_nothing_is_repeated_behind_the_callers_back(status: int) -> None:
    studio = Studio(status)
    with pytest.raises(Unreachable, match=str(status)):
        session(studio).call("POST", "api/x", body={})
    assert len(studio.seen) == 1


@pytest.mark.parametrize(
    ("status", "error"), [(400, Rejected), (403, Rejected), (409, Rejected), (404, NotFound)]
)
def test_each_status_is_named_by_what_the_caller_can_do(
    status: int, error: type[LabelStudioError]
) -> None:
    with pytest.raises(error, match=f"{status}: as told"):
        session(Studio(status)).call("GET", "api/x")


def transport_errors(root: type[httpx.RequestError]) -> list[type[httpx.RequestError]]:
    return [root, *(leaf for one in root.__subclasses__() for leaf in transport_errors(one))]


@pytest.mark.parametrize("kind", transport_errors(httpx.RequestError))
def test_every_transport_error_means_try_again_later(kind: type[httpx.RequestError]) -> None:
    def fail(request: httpx.Request) -> httpx.Response:
        raise kind("broken", request=request)

    for api_key in (LEGACY, token("refresh")):
        with pytest.raises(Unreachable, match="studio.example"):
            session(fail, api_key).call("GET", "api/x")


@pytest.mark.parametrize("status", [400, 401, 403])
def test_a_revoked_personal_access_token_is_named(status: int) -> None:
    with pytest.raises(Unauthorized, match="revoked"):
        session(Studio(refresh=status), token("refresh")).call("GET", "api/x")


def test_a_server_error_at_the_refresh_is_no_verdict_on_the_token() -> None:
    with pytest.raises(Unreachable, match="502"):
        session(Studio(refresh=502), token("refresh")).call("GET", "api/x")


def test_an_expired_personal_access_token_is_named_at_once() -> None:
    with pytest.raises(Unauthorized, match="expired"):
        session(Studio(), token("refresh", lifetime_s=-60))


@pytest.mark.parametrize(("url", "api_key"), [("studio.example", LEGACY), ("http://x", "")])
def test_settings_that_cannot_work_are_refused_at_once(url: str, api_key: str) -> None:
    with pytest.raises(LabelStudioError, match="LABEL_STUDIO_"):
        Session(url, api_key, timeout_s=1.0)


def test_a_page_that_is_not_label_studio_is_named() -> None:
    with pytest.raises(Rejected, match="LABEL_STUDIO_URL"):
        session(lambda _: httpx.Response(200, text="<html>")).call("GET", "api/x")


def test_a_redirect_tells_the_address_to_use() -> None:
    moved = httpx.Response(301, headers={"Location": "https://studio.example/"})
    with pytest.raises(Rejected, match="https://studio.example/"):
        session(lambda _: moved).call("GET", "api/x")


def test_a_blocked_address_comes_with_the_two_settings_that_open_it() -> None:
    blocked = {"detail": "URL resolves to a reserved network address (block: 127.0.0.0/8)"}
    with pytest.raises(Rejected, match="ML_BLOCK_LOCAL_IP.*SSRF_PROTECTION_ENABLED"):
        session(lambda _: httpx.Response(403, json=blocked)).call("POST", "api/ml/", body={})


def test_messages_leave_out_the_rows_that_label_studio_quotes() -> None:
    quoted = {"validation_errors": {"non_field_errors": ["{'text': 'my secret'} is invalid"]}}
    with pytest.raises(Rejected) as caught:
        session(lambda _: httpx.Response(400, json=quoted)).call("POST", "api/x", body={})
    assert "secret" not in f"{caught.value} {caught.value.detail}"
    assert "is invalid" in caught.value.detail


@pytest.mark.parametrize("body", [[], "text", None, {"validation_errors": ["bad"]}])
def test_an_error_of_any_shape_is_understood(body: object) -> None:
    with pytest.raises(Rejected):
        session(lambda _: httpx.Response(400, json=body)).call("GET", "api/x")


def test_no_error_or_repr_shows_the_token() -> None:
    for api_key in (LEGACY, token("refresh")):
        line = session(Studio(401, 401), api_key)
        with pytest.raises(Unauthorized) as caught:
            line.call("GET", "api/x")
        assert api_key not in f"{caught.value} {line!r} {line}"


def test_lists_and_objects_are_told_apart() -> None:
    with pytest.raises(Rejected, match="no list"):
        session(Studio()).rows("GET", "api/x")
    with pytest.raises(Rejected, match="no object"):
        session(lambda _: httpx.Response(200, json=[])).row("GET", "api/x")
