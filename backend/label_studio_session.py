"""One authenticated line to Label Studio: sends a request, returns JSON, names what went wrong.

Built on the SDK's own HTTP client, which turns a personal access token into short-lived access
tokens (one refresh at a time, safe among threads). Its typed calls are not used: they repeat a
POST after a server error, which stores things twice, and rebuild every row as an object. Knows
nothing of projects or tasks. Retrying is the caller's; messages never carry tokens or task text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import httpx
from label_studio_sdk.base_client import LabelStudioBase as Sdk
from label_studio_sdk.core.api_error import ApiError

from backend.errors import LabelStudioError, NotFound, Rejected, Unauthorized, Unreachable

Row = dict[str, Any]
OnWrite = Callable[[str, str, int], None]  # method, path, rows

SLOW_TIMEOUT_S = 600.0
"""For calls whose time grows with the project: 10,000 deletions take 30 s, 1,000 retrievals 150."""

_DETAIL_CHARACTERS = 300
_RETRY_LATER = frozenset({408, 425, 429})
_QUOTED_ROW = re.compile(r"\{.*\}", re.DOTALL)

_MAKE_PAT = (
    "make a personal access token in Label Studio (Account & Settings > Personal Access Token) "
    "and give it as LABEL_STUDIO_API_KEY"
)
_OPEN_NETWORK = (
    " Start Label Studio with ML_BLOCK_LOCAL_IP=false and SSRF_PROTECTION_ENABLED=false (both), "
    "or give this backend a public address."
)


class Session:
    """Authenticated JSON requests to one Label Studio; safe to share among threads."""

    def __init__(
        self,
        url: str,
        api_key: str,
        timeout_s: float,
        http: httpx.Client | None = None,
        on_write: OnWrite | None = None,
    ) -> None:
        """Prepare, without asking; `on_write` hears of requests that changed something.

        Raises Unauthorized for a key that cannot work.
        """
        if not url.startswith(("http://", "https://")):
            raise LabelStudioError(
                f"LABEL_STUDIO_URL is '{url}'; give it as http://host:port or https://host"
            )
        if not api_key:
            raise Unauthorized(f"LABEL_STUDIO_API_KEY is empty; {_MAKE_PAT}")
        # The SDK joins its refresh address to the URL: a sub-path survives only with the slash.
        self.url = url.rstrip("/")
        self._api_key = api_key
        self._is_pat = api_key.count(".") == 2
        self._http = http or httpx.Client(timeout=timeout_s)
        self._timeout_s = timeout_s
        self._on_write = on_write
        self._sdk = self._connect()

    def __repr__(self) -> str:
        return f"Session({self.url!r})"

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: Any = None,
        timeout_s: float | None = None,
    ) -> Any:
        """Send one request and return the JSON answer, None for an empty one.

        Raises Unreachable, Unauthorized, NotFound or Rejected.
        """
        response = self._send(method, path, params, body, timeout_s)
        if response.status_code == 401 and self._is_pat:
            # The access token ran out on its way; the request was not carried out.
            self._sdk = self._connect()
            response = self._send(method, path, params, body, timeout_s)
        if not response.is_success:
            raise self._error(f"{method} {path}", response)
        if self._on_write and method != "GET":
            self._on_write(method, path, len(body) if isinstance(body, list) else 1)
        if not response.content:
            return None
        try:
            return response.json()
        except ValueError as error:
            raise Rejected(
                f"{method} {path}: {self.url} answered something that is not JSON; "
                "check that LABEL_STUDIO_URL leads to Label Studio",
                response.status_code,
                "not JSON",
            ) from error

    def row(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: Any = None,
        timeout_s: float | None = None,
    ) -> Row:
        """Send one request that is answered with one object."""
        answer = self.call(method, path, params=params, body=body, timeout_s=timeout_s)
        if not isinstance(answer, dict):
            raise Rejected(f"{method} {path}: answered with no object", 200, "no object")
        return answer

    def rows(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        timeout_s: float | None = None,
    ) -> list[Row]:
        """Send one request that is answered with a list."""
        answer = self.call(method, path, params=params, timeout_s=timeout_s)
        if not isinstance(answer, list):
            raise Rejected(f"{method} {path}: answered with no list", 200, "no list")
        return answer

    def _connect(self) -> Sdk:
        """Build the SDK's client, which starts without an access token."""
        try:
            return Sdk(
                base_url=f"{self.url}/",
                api_key=self._api_key,
                timeout=self._timeout_s,
                max_retries=0,
                httpx_client=self._http,
            )
        except ApiError as error:
            raise Unauthorized(f"The personal access token has expired; {_MAKE_PAT}") from error

    def _send(
        self,
        method: str,
        path: str,
        params: Mapping[str, Any] | None,
        body: Any,
        timeout_s: float | None,
    ) -> httpx.Response:
        """Send one request through the SDK's client."""
        # Encoded here: the SDK's own encoder walks every value of every row in Python.
        content = None if body is None else json.dumps(body).encode()
        try:
            return self._sdk._client_wrapper.httpx_client.request(
                path,
                method=method,
                params=None if params is None else dict(params),
                content=content,
                headers={} if content is None else {"Content-Type": "application/json"},
                request_options={"timeout_in_seconds": int(timeout_s or self._timeout_s)},
            )
        except httpx.TimeoutException as error:
            raise Unreachable(f"{method} {path}: {self.url} did not answer in time") from error
        except httpx.RequestError as error:
            raise Unreachable(
                f"{method} {path}: {self.url} cannot be reached ({type(error).__name__}); "
                "is Label Studio running there?"
            ) from error
        except ApiError as error:
            raise self._refresh_error(error) from error
        except ValueError as error:
            raise Unreachable(f"{self.url} refreshed no token and gave no JSON") from error

    def _refresh_error(self, error: ApiError) -> LabelStudioError:
        """Name why no access token was made from the personal access token."""
        if error.status_code in (400, 401, 403):
            return Unauthorized(
                f"{self.url} refused the personal access token: it was revoked or comes from "
                f"another Label Studio; {_MAKE_PAT}"
            )
        return Unreachable(f"{self.url} refreshed no token (status {error.status_code})")

    def _error(self, what: str, response: httpx.Response) -> LabelStudioError:
        """Map a failed answer to what the caller can do about it."""
        status, detail = response.status_code, _detail(response)
        message = f"{what}: status {status}: {detail}"
        if status == 401:
            return Unauthorized(self._refusal(detail))
        if status == 404:
            return NotFound(message)
        if status >= 500 or status in _RETRY_LATER:
            return Unreachable(message)
        if response.is_redirect:
            target = response.headers.get("location", "another address")
            return Rejected(f"{what}: {self.url} redirects to {target}; use that", status, detail)
        hint = _OPEN_NETWORK if "reserved network address" in detail else ""
        return Rejected(message + hint, status, detail)

    def _refusal(self, detail: str) -> str:
        """Say which kind of token was refused and what helps."""
        if self._is_pat:
            return f"{self.url} refused the personal access token; {_MAKE_PAT}"
        if "disabled" in detail:
            return (
                "The legacy token is refused because Label Studio has legacy tokens switched off; "
                f"{_MAKE_PAT}, or let an owner allow legacy tokens under Organization > API Tokens"
            )
        return f"{self.url} does not know the legacy token; {_MAKE_PAT}"


def _detail(response: httpx.Response) -> str:
    """Extract Label Studio's own words, without the rows that it quotes back."""
    try:
        answer = response.json()
    except ValueError:
        return "no JSON"
    if not isinstance(answer, dict):
        return _shorten(str(answer))
    errors = answer.get("validation_errors") or {}
    named = errors.items() if isinstance(errors, dict) else [("", errors)]
    words = [str(answer.get("detail", "no detail"))]
    words += [f"{name}: {' '.join(map(str, _listed(value)))}" for name, value in named]
    return _shorten("; ".join(words))


def _listed(value: Any) -> list[Any]:
    """Wrap a single message in a list."""
    return value if isinstance(value, list) else [value]


def _shorten(text: str) -> str:
    """Leave out quoted rows, which carry people's texts, and cut what is long."""
    return _QUOTED_ROW.sub("{...}", text)[:_DETAIL_CHARACTERS]
