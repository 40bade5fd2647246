"""The whole backend at work for a long time: what grows that should not.

    python -m benchmarks.soak [--minutes 30] [--annotators 10] [--csv FILE | --data DIR]

Web process, all workers and embedded Redis as `python -m backend run` starts them; annotators open
and answer new tasks, a local LLM with OpenAI's wire format is asked about hard ones, every 50
verdicts train a stage, and what passes its gate is promoted. Every 30 s a sample is taken.

Growth is a trend an hour over the samples after the first third, which is warm-up: the median of
the slopes between all pairs of samples (Theil and Sen's), so that what stages and promotions hold
for a minute does not count. Of that, what new data must take is left out:

rss_growth_mb_per_hour  by program; of redis what it allocated for data is taken off
keys_growth             Redis keys; data adds entries to keys, no keys of its own
files_growth            files under DATA_DIR; data adds none
files_mb_growth         bytes under DATA_DIR beside evidence, Redis's own file and logs
fd_growth, threads_growth   open files and threads of all programs together
redis_bytes_per_task    what Redis allocated, by tasks that came in the same time

The web process keeps what committees said of the last 14,000 texts (64 MB): until so many were
opened it grows. Finished jobs keep their keys for 600 s: in less than 30 minutes these show as
growth.
The last line is JSON.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scipy.stats import theilslopes

from benchmarks import local_llm
from benchmarks.annotators import Annotators, errors
from benchmarks.asked import answer, read
from benchmarks.processes import Held, held
from benchmarks.running import PROJECT, Backend, backend, report
from benchmarks.texts import Texts, add_options
from meta_controller.prompt import sendable

EVERY_S = 30.0
LEAST = 6
"""Samples after the warm-up of which a trend can be told."""
_DELAY_S = 0.5
_DATA = ("evidence", "redis", "logs")
_REASON = "The words leave little doubt about what the writer wants to say."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and print; 2 also when the time is too short, else as `report` does."""
    options = parse(arguments)
    least = 1.5 * LEAST * EVERY_S / 60
    if options.minutes < least:
        print(f"--minutes {options.minutes:g} is too few; give {least:g} or more.", file=sys.stderr)
        return 2
    return report(
        options, lambda folder, texts: soak(folder, texts, options.annotators, 60 * options.minutes)
    )


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.soak",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_options(parser)
    parser.add_argument("--minutes", type=float, default=30.0, help="of work (default 30)")
    parser.add_argument("--annotators", type=int, default=10, help="at once (default 10)")
    return parser.parse_args(arguments)


@dataclass(frozen=True)
class Look:
    """One sample; `files_bytes` leaves out evidence, Redis's own file and logs."""

    at_s: float
    programs: Mapping[str, Held] = field(repr=False)
    keys: int
    redis_bytes: int
    tasks: int
    files: int
    files_bytes: int


def look(running: Backend, folder: Path) -> Look:
    """Take a sample."""
    client = running.wiring.redis
    sizes = _sizes(folder)
    return Look(
        time.monotonic(),
        held(folder),
        int(client.dbsize()),
        int(client.info("memory")["used_memory"]),
        running.wiring.evidence.count(PROJECT),
        len(sizes),
        sum(size for name, size in sizes.items() if not name.startswith(_DATA)),
    )


def _sizes(folder: Path) -> dict[str, int]:
    """Bytes of all files by their path below a folder; what goes away meanwhile is left out."""
    found = {}
    for path in folder.rglob("*"):
        try:
            if path.is_file():
                found[str(path.relative_to(folder))] = path.stat().st_size
        except FileNotFoundError:
            continue
    return found


def soak(folder: Path, texts: Texts, annotators: int, seconds: float) -> dict[str, object]:
    """Let all of them work, and tell what grew."""
    with local_llm.serve(Answers(texts)) as url:
        llm = {
            "LLM_PROVIDER": "openai",
            "LLM_MODEL": "local",
            "LLM_BASE_URL": url,
            "LLM_PRICE": "0.1,0.4",
            "OPENAI_API_KEY": "local",
            "PROMOTE_EVERY": "60",
        }
        with backend(folder, **llm) as running:
            running.setup()
            running.predict(texts.take(1))
            people = Annotators(str(running.client.base_url), texts, annotators)
            looks: list[Look] = []
            with people.working():
                until = time.monotonic() + seconds
                while time.monotonic() < until:
                    looks.append(look(running, folder))
                    print(line(looks[-1], looks[0].at_s), flush=True)
                    time.sleep(EVERY_S)
            told = running.wiring.journal.errors()
            stages = len(running.wiring.promotions(PROJECT).history())
            verdicts = running.wiring.pool(PROJECT).counts()
    failed = errors(people.calls)
    for failure, times in failed.items():
        print(f"{failure}: {times} times", flush=True)
    for one in told:
        print(f"journal, {one['where']}: {one['message']} ({one['count']} times)", flush=True)
    return {
        "minutes": round(seconds / 60, 1),
        "requests": len(people.calls),
        "errors": sum(failed.values()),
        "journal": len(told),
        "stages": stages,
        "verdicts": verdicts,
        **grown(looks),
    }


class Answers:
    """The local LLM: it knows the label of each text, and takes its time."""

    def __init__(self, texts: Texts) -> None:
        self._labels = {sendable(one.text): one.label for one in texts.samples}

    def __call__(self, request: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The completion of a request; None for a text that nobody sent."""
        asked = read(request)
        # A text that is used again has a number behind it.
        plain = [re.sub(r" \(\d+\)$", "", text) for text in asked.texts]
        labels = [self._labels[text] for text in plain if text in self._labels]
        if not labels or len(labels) < len(plain):
            return None
        time.sleep(_DELAY_S)
        text = answer(asked, labels, _REASON)
        return local_llm.completion(request, text, len(asked.user) // 4, len(text) // 4)


def line(one: Look, began_s: float) -> str:
    """A sample, for people."""
    memory = ", ".join(f"{name} {program.rss_mb:.0f}" for name, program in one.programs.items())
    return (
        f"{one.at_s - began_s:6.0f} s: {one.tasks} tasks, {one.keys} keys, "
        f"{one.redis_bytes / 1e6:.1f} MB in Redis, {one.files} files; MB: {memory}"
    )


def grown(looks: Sequence[Look]) -> dict[str, object]:
    """Trends an hour after the warm-up, without what data takes."""
    warm = looks[len(looks) // 3 :]
    memory = {
        name: trend([(one.at_s, one.programs[name].rss_mb) for one in warm if name in one.programs])
        for name in warm[-1].programs
        if name != "stage"
    }
    if "redis" in memory:
        memory["redis"] -= trend([(one.at_s, one.redis_bytes / 1e6) for one in warm])
    tasks = warm[-1].tasks - warm[0].tasks
    return {
        "rss_growth_mb_per_hour": {name: round(mb, 1) for name, mb in memory.items()},
        "keys_growth": round(trend([(one.at_s, one.keys) for one in warm]), 1),
        "files_growth": round(trend([(one.at_s, one.files) for one in warm]), 1),
        "files_mb_growth": round(trend([(one.at_s, one.files_bytes / 1e6) for one in warm]), 1),
        "fd_growth": round(trend([(one.at_s, _all(one, "files")) for one in warm]), 1),
        "threads_growth": round(trend([(one.at_s, _all(one, "threads")) for one in warm]), 1),
        "redis_bytes_per_task": round((warm[-1].redis_bytes - warm[0].redis_bytes) / tasks, 1)
        if tasks
        else None,
    }


def _all(one: Look, what: str) -> int:
    """Open files or threads of all programs that do not come and go."""
    kept = [program for name, program in one.programs.items() if name != "stage"]
    return sum(int(getattr(program, what)) for program in kept)


def trend(points: Sequence[tuple[float, float]]) -> float:
    """Growth an hour of (seconds, value): the median of the slopes between all pairs."""
    if len(points) < 2:
        return 0.0
    seconds, values = zip(*points, strict=True)
    return 3600 * float(theilslopes(values, seconds)[0])


if __name__ == "__main__":
    sys.exit(main())
