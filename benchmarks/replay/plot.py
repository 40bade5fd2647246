"""Accuracy over the share of LLM calls, as an SVG drawn by hand: no plotting library is needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

Point = tuple[float, float]

_WIDTH, _HEIGHT = 640, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 16, 34, 74
_OURS, _OTHER, _PAPER, _LLM = "#1f5fbf", "#b8860b", "#b03030", "#444444"


@dataclass(frozen=True)
class Picture:
    """What is drawn: points are (share, accuracy); `band` holds (share, low, high)."""

    title: str
    llm_only: float
    ours: Sequence[Point]
    band: Sequence[tuple[float, float, float]]
    confidence: Sequence[Point] = ()
    paper: Point | None = None
    paper_finetuned: Point | None = None

    def svg(self) -> str:
        """The whole drawing."""
        scale = _Scale(self)
        parts = [*_frame(scale, self.title), *self._shapes(scale), *self._legend()]
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
            'font-family="sans-serif" font-size="12">'
        )
        ground = f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>'
        return "\n".join([head, ground, *parts, "</svg>"]) + "\n"

    def accuracies(self) -> list[float]:
        """Every accuracy that is drawn."""
        points = [*self.ours, *self.confidence, *self._papers()]
        edges = [edge for _, low, high in self.band for edge in (low, high)]
        return [self.llm_only, *edges, *(accuracy for _, accuracy in points)]

    def shares(self) -> list[float]:
        """Every share that is drawn."""
        points = [*self.ours, *self.confidence, *self._papers()]
        return [share for share, _ in points]

    def _papers(self) -> list[Point]:
        return [point for point in (self.paper, self.paper_finetuned) if point]

    def _shapes(self, scale: _Scale) -> list[str]:
        edge = [(s, low) for s, low, _ in self.band] + [(s, h) for s, _, h in self.band[::-1]]
        level = scale.y(self.llm_only)
        shapes = [
            f'<polygon points="{scale.path(edge)}" fill="{_OURS}" opacity="0.15"/>',
            f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{level:.1f}" y2="{level:.1f}" '
            f'stroke="{_LLM}" stroke-dasharray="6 4"/>',
            _line(scale, self.confidence, _OTHER),
            _line(scale, self.ours, _OURS),
        ]
        if self.paper:
            x, y = scale.at(self.paper)
            shapes.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{_PAPER}"/>')
        if self.paper_finetuned:
            x, y = scale.at(self.paper_finetuned)
            box = f'x="{x - 5:.1f}" y="{y - 5:.1f}" width="10" height="10"'
            shapes.append(f'<rect {box} fill="none" stroke="{_PAPER}" stroke-width="2"/>')
        return shapes

    def _legend(self) -> list[str]:
        named = [("● value (ours)", _OURS), ("● mean confidence", _OTHER), ("- - LLM only", _LLM)]
        named += [("● paper", _PAPER)] if self.paper else []
        named += [("□ paper, fine-tuned", _PAPER)] if self.paper_finetuned else []
        step = (_WIDTH - _LEFT - _RIGHT) / len(named)
        return [
            _text(_LEFT + i * step, _HEIGHT - 12, name, f'fill="{colour}"')
            for i, (name, colour) in enumerate(named)
        ]


class _Scale:
    """From shares and accuracies to places on the drawing."""

    def __init__(self, picture: Picture) -> None:
        accuracies = picture.accuracies()
        self.low = int(min(accuracies) * 50) / 50
        self.high = (int(max(accuracies) * 50) + 1) / 50
        self.right = max([0.1, *picture.shares()])

    def x(self, share: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * share / self.right

    def y(self, accuracy: float) -> float:
        part = (accuracy - self.low) / (self.high - self.low)
        return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * part

    def at(self, point: Point) -> Point:
        return self.x(point[0]), self.y(point[1])

    def path(self, points: Sequence[Point]) -> str:
        return " ".join(f"{x:.1f},{y:.1f}" for x, y in map(self.at, points))


def _frame(scale: _Scale, title: str) -> list[str]:
    """Title, grid, and both axes' words."""
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts = [
        _text(middle, 20, title, 'text-anchor="middle" font-size="14"'),
        _text(middle, _HEIGHT - 36, "LLM calls allowed per text", 'text-anchor="middle"'),
        _text(14, _TOP - 8, "accuracy"),
    ]
    steps = round((scale.high - scale.low) / 0.02)
    for i in range(0, steps + 1, max(1, steps // 8)):
        y = scale.y(scale.low + i * 0.02)
        parts.append(f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" '
                     'stroke="#dddddd"/>')  # fmt: skip
        words = f"{scale.low + i * 0.02:.2f}"
        parts.append(_text(_LEFT - 6, y + 4, words, 'text-anchor="end"'))
    for i in range(int(scale.right * 10 + 1e-9) + 1):
        parts.append(
            _text(scale.x(i / 10), _HEIGHT - _BOTTOM + 18, f"{i * 10} %", 'text-anchor="middle"')
        )
    return parts


def _line(scale: _Scale, points: Sequence[Point], colour: str) -> str:
    dots = "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>'
        for x, y in map(scale.at, points)
    )
    path = scale.path(points)
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>{dots}'


def _text(x: float, y: float, words: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {more}>{escape(words)}</text>'
