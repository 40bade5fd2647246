"""A local Hugging Face Hub: a real HTTP server for the endpoints that its client uses.

Serves folders as model repositories: list with filters, info, tree, files with the headers that
the client checks. Point HF_ENDPOINT (or `Hub(endpoint)`) at `url`. Used by the tests and by
`benchmarks.selection`; what it serves are real models, made for them.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from safetensors import safe_open


@dataclass(frozen=True)
class Repository:
    """One published model: its folder and what the Hub tells of it."""

    id: str
    folder: Path
    downloads: int = 0
    licence: str = "mit"
    language: str = "en"
    tags: tuple[str, ...] = ()
    gated: bool = False

    @property
    def sha(self) -> str:
        """The commit: 40 hex digits, from the content."""
        found = hashlib.sha1(self.id.encode())
        for name, path in sorted(self.files.items()):
            found.update(name.encode() + path.read_bytes())
        return found.hexdigest()

    @property
    def files(self) -> dict[str, Path]:
        """Its files by their names."""
        return {path.name: path for path in self.folder.iterdir() if path.is_file()}

    def info(self) -> dict[str, Any]:
        """What the API says of it; of the config, as the real one, its kind only."""
        config = json.loads(self.files["config.json"].read_text())
        told = {name: config[name] for name in ("architectures", "model_type") if name in config}
        if "auto_map" in config:
            told["auto_map"] = config["auto_map"]
        parameters = sum(_parameters(one) for one in self.folder.glob("*.safetensors"))
        return {
            "_id": self.sha[:24],
            "id": self.id,
            "modelId": self.id,
            "sha": self.sha,
            "private": False,
            "gated": "auto" if self.gated else False,
            "downloads": self.downloads,
            "likes": 0,
            "pipeline_tag": "text-classification",
            "tags": ["text-classification", f"license:{self.licence}", self.language, *self.tags],
            "config": told,
            "cardData": {"license": self.licence, "language": self.language},
            "siblings": [{"rfilename": name} for name in sorted(self.files)],
            **({"safetensors": _safetensors(parameters)} if parameters else {}),
        }

    def tree(self) -> list[dict[str, Any]]:
        """Its files as the API lists them."""
        return [
            {
                "type": "file",
                "path": name,
                "size": path.stat().st_size,
                "oid": hashlib.sha1(path.read_bytes()).hexdigest(),
            }
            for name, path in sorted(self.files.items())
        ]


class LocalHub:
    """The server; use it as a context manager. `requests` keeps method and path of each one."""

    def __init__(self, repositories: list[Repository]) -> None:
        self.repositories = repositories
        self.requests: list[str] = []
        self.broken = False
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                owner.serve(self)

            do_HEAD = do_GET

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def __enter__(self) -> LocalHub:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        """What HF_ENDPOINT is set to."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def serve(self, http: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        self.requests.append(f"{http.command} {http.path}")
        address = urlsplit(http.path)
        path, query = unquote(address.path), parse_qs(address.query)
        if self.broken:
            _send(http, 200, b"<html>Down for maintenance</html>", {"content-type": "text/html"})
        elif path == "/api/models":
            _send_json(http, self._list(query))
        elif path.startswith("/api/models/"):
            self._api(http, path.removeprefix("/api/models/").split("/"))
        else:
            self._file(http, path.strip("/").split("/"))

    def _list(self, query: Mapping[str, list[str]]) -> list[dict[str, Any]]:
        term = query.get("search", [""])[0].lower()
        fits = [one.info() for one in self.repositories if term in one.id.lower()]
        fits.sort(key=lambda info: -info["downloads"])
        return fits[: int(query.get("limit", ["1000"])[0])]

    def _api(self, http: BaseHTTPRequestHandler, parts: list[str]) -> None:
        """`org/name`, and `revision/REV`, `tree/REV` or `discussions` behind it."""
        found = self._repository(parts)
        what = parts[2] if len(parts) > 2 else "revision"
        if found is None:
            _send(http, 404, b"{}", {"X-Error-Code": "RepoNotFound"})
        elif what == "tree":
            _send_json(http, found.tree())
        elif what == "discussions":
            _send_json(http, {"discussions": [], "count": 0, "start": 0})
        else:
            _send_json(http, found.info())

    def _file(self, http: BaseHTTPRequestHandler, parts: list[str]) -> None:
        """`org/name/resolve/REV/FILE`."""
        found = self._repository(parts)
        path = found.files.get("/".join(parts[4:])) if found else None
        if found is None or path is None:
            _send(http, 404, b"", {"X-Error-Code": "EntryNotFound" if found else "RepoNotFound"})
            return
        content = path.read_bytes()
        headers = {
            "X-Repo-Commit": found.sha,
            "ETag": f'"{hashlib.sha1(content).hexdigest()}"',
            "content-type": "application/octet-stream",
        }
        _send(http, 200, content, headers)

    def _repository(self, parts: list[str]) -> Repository | None:
        hub_id = "/".join(parts[:2])
        return next((one for one in self.repositories if one.id == hub_id), None)


def _safetensors(parameters: int) -> dict[str, Any]:
    return {"parameters": {"F32": parameters}, "total": parameters}


def _parameters(file: Path) -> int:
    total = 0
    with safe_open(file, framework="np") as weights:
        for name in weights.keys():  # noqa: SIM118  safe_open is no mapping
            size = 1
            for length in weights.get_slice(name).get_shape():
                size *= length
            total += size
    return total


def _send_json(http: BaseHTTPRequestHandler, data: Any) -> None:
    _send(http, 200, json.dumps(data).encode(), {"content-type": "application/json"})


def _send(
    http: BaseHTTPRequestHandler, status: int, payload: bytes, headers: Mapping[str, str]
) -> None:
    http.send_response(status)
    for name, value in headers.items():
        http.send_header(name, value)
    http.send_header("content-length", str(len(payload)))
    http.end_headers()
    if http.command != "HEAD":
        http.wfile.write(payload)
