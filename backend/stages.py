"""The stages of a project as people look at them: a table, one card whole, plots."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from backend.chart import chart
from backend.errors import BackendError
from backend.meter import Point, points
from training.card import Card

_HEAD = ("stage", "tag", "", "when (UTC)", "accuracy", "measured on", "learned", "hard", "LLM USD")


class UnknownStage(BackendError):
    """No card of the project has this tag; the message lists those that there are."""


def table(cards: Sequence[Card]) -> str:
    """All cards, newest first, one a line."""
    rows = [_HEAD, *(_row(card) for card in cards)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(_HEAD))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def whole(cards: Sequence[Card], tag: str) -> str:
    """Everything that a tag's newest card tells; raises UnknownStage."""
    for card in cards:
        if card.tag == tag:
            return card.to_markdown()
    known = ", ".join(dict.fromkeys(card.tag for card in cards)) or "none yet"
    raise UnknownStage(f"{tag!r} is no stage of this project; its tags are: {known}.")


def plot(cards: Sequence[Card], folder: Path) -> list[Path]:
    """Write accuracy, hard share and LLM spend by stage as SVG files; returns those written."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    for name, svg in charts(points(cards)):
        path = folder / f"{name}.svg"
        path.write_text(svg, encoding="utf-8")
        drawn.append(path)
    return drawn


def charts(stages: Sequence[Point]) -> Iterator[tuple[str, str]]:
    """Accuracy (with its interval), hard share and LLM spend by stage: a name, and its SVG.

    Accuracies are those of each promotion on what was held out then: a rising line is progress,
    but its points rest on different verdicts. What nobody counted is left out.
    """
    measured = [one for one in stages if one.accuracy is not None]
    band = [(one.low, one.high) for one in measured if one.low is not None and one.high is not None]
    for name, title, form, values in (
        (
            "accuracy",
            "Accuracy on held-out verdicts, by stage",
            "{:.2f}",
            _values(stages, "accuracy"),
        ),
        ("hard", "Share of hard tasks, by stage", "{:.0%}", _values(stages, "hard")),
        ("spend", "LLM spend until each stage, USD", "{:.3f}", _values(stages, "llm_usd")),
    ):
        whole = name == "accuracy" and len(band) == len(values)
        if values:
            yield name, chart(title, values, form, band if whole else ())


def _values(stages: Sequence[Point], name: str) -> list[tuple[str, float]]:
    values = [(str(one.stage), getattr(one, name)) for one in stages]
    return [(stage, value) for stage, value in values if value is not None]


def _row(card: Card) -> tuple[str, ...]:
    before, after = (_share(value) for value in (card.before, card.after))
    learned = ", ".join(f"{count} {source}" for source, count in card.samples.items() if count)
    return (
        str(card.stage),
        card.tag,
        card.decision,
        datetime.fromtimestamp(card.at, UTC).strftime("%Y-%m-%d %H:%M"),
        f"{before} -> {after}" if after else "",
        f"{card.held_out} {card.held_out_source}" if card.held_out else "",
        learned,
        _share(card.hard_share),
        "" if card.llm_usd is None else f"{card.llm_usd:.4f}",
    )


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"
