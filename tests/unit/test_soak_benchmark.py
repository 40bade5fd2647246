"""The arithmetic of benchmarks.soak: trends after the warm-up, and what data takes left out."""

from __future__ import annotations

import json
from typing import Any

import pytest

from benchmarks import soak
from benchmarks.processes import Held
from benchmarks.soak import Answers, Look, grown, main, trend
from benchmarks.texts import Sample, Texts


def looks(count: int = 30, **changes: Any) -> list[Look]:
    """A sample every 30 s: web grows by 60 MB/h, redis by what its data takes, and by nothing."""
    found = []
    for number in range(count):
        hours = number * 30 / 3600
        programs = {
            "web": Held(300 + 60 * hours, 20, 30),
            "redis": Held(20 + 120 * hours, 10, 5),
        }
        if number % 7 == 0:
            programs["stage"] = Held(900, 99, 99)
        one = {
            "at_s": number * 30.0,
            "programs": programs,
            "keys": 40,
            "redis_bytes": int(1e6 * 120 * hours),
            "tasks": round(1200 * hours),
            "files": 12,
            "files_bytes": 5_000_000,
        }
        found.append(Look(**{**one, **{name: f(number) for name, f in changes.items()}}))
    return found


def test_what_grows_beyond_the_data_is_told_by_program() -> None:
    found = grown(looks())
    assert found["rss_growth_mb_per_hour"] == {"web": 60.0, "redis": 0.0}
    assert found["redis_bytes_per_task"] == pytest.approx(100_000, rel=0.02)
    for name in ("keys_growth", "files_growth", "files_mb_growth", "fd_growth", "threads_growth"):
        assert found[name] == 0, name


def test_a_leak_of_keys_and_files_is_seen_and_a_warm_up_is_not() -> None:
    found = grown(looks(keys=lambda n: 40 + n, files=lambda n: min(n, 9)))
    assert found["keys_growth"] == 120.0
    assert found["files_growth"] == 0.0


def test_a_peak_that_goes_away_is_no_trend() -> None:
    assert trend([(s, 100.0 + 500.0 * (s == 150)) for s in range(0, 300, 30)]) == 0.0
    assert trend([(0.0, 1.0)]) == 0.0


def test_the_local_llm_knows_texts_that_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = Answers(Texts("made", [Sample("fine", "positive"), Sample("bad", "negative")]))

    def body(text: str) -> dict[str, Any]:
        fenced = f"<sample-0123456789abcdef>\n{text}\n</sample-0123456789abcdef>"
        messages = [{"role": "system", "content": ""}, {"role": "user", "content": fenced}]
        return {"model": "local", "messages": messages}

    monkeypatch.setattr(soak, "_DELAY_S", 0.0)
    for text in ("bad", "bad (2)"):
        reply = answers(body(text))
        assert reply is not None
        assert json.loads(reply["choices"][0]["message"]["content"])["label"] == "negative"
    assert answers(body("unheard of")) is None


def test_too_short_a_time_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--minutes", "1"]) == 2
    assert "4.5 or more" in capsys.readouterr().err
