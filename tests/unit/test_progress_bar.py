"""What the bar says, on a terminal and elsewhere."""

from __future__ import annotations

import io

import pytest

from backend.progress_bar import ProgressBar, span


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_elsewhere_it_prints_a_line_now_and_then() -> None:
    seconds = iter([0.0, 2.0, 10.0])
    out = io.StringIO()
    bar = ProgressBar(out, clock=lambda: next(seconds))
    bar.show((100, 0, 1_000))
    bar.show((120, 0, 1_000))
    bar.show((300, 250, 1_000))
    bar.end()
    assert out.getvalue().splitlines() == [
        "100 of 1,000 tasks predicted (10%), 0 imported",
        # 200 in 10 s since the first look; what was there before is no rate.
        "300 of 1,000 tasks predicted (30%), 250 imported, 20 tasks/s, 35 s left",
    ]


def test_on_a_terminal_it_draws_over_itself() -> None:
    seconds = iter([0.0, 1.0, 5.0])
    out = Terminal()
    bar = ProgressBar(out, clock=lambda: next(seconds))
    bar.show((0, 0, 10))
    bar.show((5, 0, 10))
    bar.end()
    bar.end()
    first, second = out.getvalue().split("\r")[1:]
    assert first.startswith(f"[{'.' * 30}] 0 of 10")
    assert second.startswith(f"[{'#' * 15}{'.' * 15}] 5 of 10")
    assert second.endswith("5 tasks/s, 1 s left\n"), "the line is left once"


def test_it_tells_what_it_saw() -> None:
    seconds = iter([0.0, 0.0, 125.0, 125.0])
    bar = ProgressBar(io.StringIO(), clock=lambda: next(seconds))
    bar.show((1_000, 0, 3_000))
    bar.show((3_000, 0, 3_000))
    assert bar.seen() == "2,000 in 2 min 5 s: 16 tasks/s"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (185, "3 min 5 s"), (7_440, "2 h 4 min")],
)
def test_times_are_told_for_people(seconds: float, said: str) -> None:
    assert span(seconds) == said
