"""A small line chart as SVG, drawn by hand: no plotting library is needed for one line.

Its colours are attributes, so that it can stand alone; where it stands in a page, the page's style
sheet may replace them by the classes of its parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from math import floor, log10

_WIDTH, _HEIGHT = 560, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 20, 40, 48
_LINE, _GRID, _BAND = "#1f5fbf", "#dddddd", "#d3e1f6"
_STEPS = 4  # of the grid
_MOST_NAMES = 12  # below the axis; more would overlap


def chart(
    title: str,
    points: Sequence[tuple[str, float]],
    form: str = "{:.2f}",
    band: Sequence[tuple[float, float]] = (),
) -> str:
    """Draw named values from left to right; the axis begins at 0, `form` writes its numbers.

    `band` has each value's interval, if it has one.
    """
    top = _top(max([*(value for _, value in points), *(high for _, high in band)], default=0.0))
    step = (_WIDTH - _LEFT - _RIGHT) / max(1, len(points) - 1)
    places = [(_LEFT + i * step, _y(value / top)) for i, (_, value) in enumerate(points)]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    every = -(-len(points) // _MOST_NAMES) or 1
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{escape(title)}" font-family="sans-serif" font-size="12">',
        f'<rect class="paper" width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        _text(_WIDTH / 2, 22, title, "middle"),
        _area([x for x, _ in places], [(_y(low / top), _y(high / top)) for low, high in band]),
        *(part for i in range(_STEPS + 1) for part in _level(i / _STEPS, top, form)),
        f'<polyline class="line" points="{path}" fill="none" stroke="{_LINE}" stroke-width="2"/>',
    ]
    for i, ((name, value), (x, y)) in enumerate(zip(points, places, strict=True)):
        told = escape(f"{name}: {form.format(value)}")
        parts.append(
            f'<circle class="point" cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{_LINE}">'
            f"<title>{told}</title></circle>"
        )
        if i % every == 0:
            parts.append(_text(x, _HEIGHT - _BOTTOM + 20, name, "middle"))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _top(most: float) -> float:
    """The least value of 1, 2, 4 or 8 times a power of ten that is not below: neat grid lines."""
    if most <= 0:
        return 1.0
    unit = 10.0 ** floor(log10(most))
    return next(unit * one for one in (1, 2, 4, 8, 10) if unit * one >= most * (1 - 1e-9))


def _area(xs: Sequence[float], sides: Sequence[tuple[float, float]]) -> str:
    """The band between the lower and the upper ends of intervals, places in the drawing."""
    if not sides:
        return ""
    lower = [f"{x:.1f},{low:.1f}" for x, (low, _) in zip(xs, sides, strict=True)]
    upper = [f"{x:.1f},{high:.1f}" for x, (_, high) in zip(xs, sides, strict=True)]
    outline = " ".join([*lower, *reversed(upper)])
    return f'<polygon class="band" points="{outline}" fill="{_BAND}"/>'


def _y(share: float) -> float:
    return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * share


def _level(share: float, top: float, form: str) -> list[str]:
    y, words = _y(share), form.format(top * share)
    ends = f'x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"'
    line = f'<line class="grid" {ends} stroke="{_GRID}"/>'
    return [line, _text(_LEFT - 8, y + 4, words, "end")]


def _text(x: float, y: float, words: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'
