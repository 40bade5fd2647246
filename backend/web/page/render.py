"""The status as HTML: templates filled with the plain JSON that `status.collect` gives.

Whatever comes from a project (titles, labels, tags, messages) is escaped by the templates.
"""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from backend import __version__, stages
from backend.mended import KINDS
from backend.meter import Point
from backend.status import project_lines

_TEMPLATES = Path(__file__).parent / "templates"
_STYLE = (_TEMPLATES / "style.css").read_text("utf-8")
STYLE_HASH = f"sha256-{base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()}"
"""What the page's Content-Security-Policy allows: this style sheet and no other."""
_BASIS = {
    "both": "audits of people and the LLM",
    "audits": "audits",
    "people": "answers, no random sample",
    "committee": "its own word, checked by nobody",
}
"""What an accuracy rests on, short; `report.BASIS` says it in full."""


def page(status: Mapping[str, Any], token: str, refused: str, told: str) -> str:
    """The whole page; `refused` says why its buttons are off, `told` what the last one did."""
    return _page.render(
        status=status, token=token, refused=refused, told=told, now=time.time(), problem=""
    )


def without_redis() -> str:
    """The page while nothing can be known."""
    problem = "Redis does not answer. Check REDIS_URL and the Redis server; make run starts one."
    return _page.render(
        status=None, token="", refused="", told="", now=time.time(), problem=problem
    )


def _percent(value: float | None, digits: int = 1) -> str:
    return "unknown" if value is None else f"{value:.{digits}%}".replace("%", "\u202f%")


def _usd(value: float) -> str:
    return f"{value:,.2f}" if value >= 1 else f"{value:.4f}"


def _when(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(at))


def _charts(project: Mapping[str, Any]) -> list[str]:
    """The project's lines over its stages, from the second on; their words are escaped."""
    points = [Point(**one) for one in project["meter"]["stages"]]
    return [svg for _, svg in stages.charts(points)] if len(points) > 1 else []


def _details(project: Mapping[str, Any]) -> list[str]:
    """All that `python -m backend status` tells, but for its first line."""
    return [line.strip() for line in project_lines(dict(project))[1:]]


def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"percent": _percent, "usd": _usd, "when": _when}
    made.globals |= {
        "style": _STYLE,
        "version": __version__,
        "kinds": KINDS,
        "basis": _BASIS,
        "charts": _charts,
        "details": _details,
    }
    return made


_page = _environment().get_template("page.html")
