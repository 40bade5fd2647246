"""A small line chart as SVG, drawn by hand: no plotting library is needed for one line."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

_WIDTH, _HEIGHT = 560, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 20, 40, 48
_LINE, _GRID = "#1f5fbf", "#dddddd"
_STEPS = 4  # of the grid
_MOST_NAMES = 12  # below the axis; more would overlap


def chart(title: str, points: Sequence[tuple[str, float]], form: str = "{:.2f}") -> str:
    """Draw named values from left to right; the axis begins at 0, `form` writes its numbers."""
    top = max([value for _, value in points], default=0.0) or 1.0
    step = (_WIDTH - _LEFT - _RIGHT) / max(1, len(points) - 1)
    places = [(_LEFT + i * step, _y(value / top)) for i, (_, value) in enumerate(points)]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    every = -(-len(points) // _MOST_NAMES) or 1
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{escape(title)}" font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        _text(_WIDTH / 2, 22, title, "middle"),
        *(part for i in range(_STEPS + 1) for part in _level(i / _STEPS, top, form)),
        f'<polyline points="{path}" fill="none" stroke="{_LINE}" stroke-width="2"/>',
    ]
    for i, ((name, value), (x, y)) in enumerate(zip(points, places, strict=True)):
        told = escape(f"{name}: {form.format(value)}")
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{_LINE}"><title>{told}</title>'
                     "</circle>")  # fmt: skip
        if i % every == 0:
            parts.append(_text(x, _HEIGHT - _BOTTOM + 20, name, "middle"))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _y(share: float) -> float:
    return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * share


def _level(share: float, top: float, form: str) -> list[str]:
    y, words = _y(share), form.format(top * share)
    line = f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="{_GRID}"/>'
    return [line, _text(_LEFT - 8, y + 4, words, "end")]


def _text(x: float, y: float, words: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'
