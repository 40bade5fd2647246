"""What labeling 1,000 texts takes, from the first request to the last settled verdict.

    python -m benchmarks.paper_cost [--csv FILE | --data DIR] [--texts 1000] [--delay 0.8]

The product as it is run: web process, review worker and embedded Redis, default settings (LLM_SHARE
0.25). A local server stands for the LLM: each call takes `--delay` seconds and answers the gold
label. Tasks come as Label Studio sends them, 250 a request. The paper (arXiv 2506.16393) needed
1,065 s for 1,000 texts on an A100.

seconds_per_1000   the models were prepared before, once a machine
llm_calls          some questions share one: LLM_PACK
llm_share          questions to the LLM per text
usd, usd_llm_only  at --price, GPT-3.5-turbo's by default, which the paper used; asking about every
                   text costs the mean price of a question that was asked, for each

Prints one line a stage, and last one JSON line.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from backend import pauses
from backend.allowance import allowance
from backend.jobs import lease_name, refit
from backend.lease import Lease
from backend.projects import Project
from backend.wiring import Wiring
from benchmarks.running import (
    CONFIG,
    PROJECT,
    Backend,
    NotRunning,
    backend,
    report,
    wait_until,
)
from benchmarks.slow_llm import serve
from benchmarks.texts import Sample, Texts, add_options
from meta_controller.ledger import Ledger
from meta_controller.prompt import sendable

BATCH = 250  # tasks in one request
PAPER_S = 1065.0
_REVIEWED_S = 600.0
_QUIET_S = 3.0  # three ticks of the scheduler without anything to do
_GPT_35_TURBO = "0.50,1.50"  # OpenAI's last price, USD per million tokens in and out

Figures = dict[str, float]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; returns the exit status, as `report` does."""
    options = parse(arguments)

    def told(folder: Path, texts: Texts) -> Figures:
        figures = run(folder, texts.take(options.texts), options.delay, options.price)
        for key, value in figures.items():
            print(f"{key:<20}{value:>12.4f}")
        return figures

    return report(options, told)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.paper_cost",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_options(parser)
    parser.add_argument("--texts", type=int, default=1000, help="how many (default 1000)")
    parser.add_argument("--delay", type=float, default=0.8, help="seconds a call (default 0.8)")
    parser.add_argument(
        "--price",
        default=_GPT_35_TURBO,
        metavar="IN,OUT",
        help=f"USD per million tokens (default {_GPT_35_TURBO})",
    )
    return parser.parse_args(arguments)


def run(folder: Path, samples: Sequence[Sample], delay_s: float, price: str) -> Figures:
    """Send all tasks, wait until nothing is left to ask, and read the ledger."""
    answers = {sendable(one.text): one.label for one in samples}
    with serve(answers, delay_s) as url:
        llm = {
            "LLM_PROVIDER": "openai",
            "LLM_MODEL": "gpt-3.5-turbo",
            "LLM_BASE_URL": url,
            "LLM_PRICE": price,
            "OPENAI_API_KEY": "local",
        }
        with backend(folder, **llm) as running:
            return label(running, samples)


def label(running: Backend, samples: Sequence[Sample]) -> Figures:
    """Label everything once."""
    wiring = running.wiring
    wiring.projects.put(Project(PROJECT, CONFIG, tasks=len(samples)))  # as `connect` counts them
    running.setup()
    started = time.time()
    for start in range(0, len(samples), BATCH):
        running.predict(samples[start : start + BATCH])
    predicted_s = time.time() - started
    print(f"{len(samples)} texts predicted in {predicted_s:.1f} s", flush=True)
    _wait_until_settled(running)
    verdicts = [one for one in wiring.pool(PROJECT).verdicts() if one.source == "llm"]
    spend = Ledger(wiring.redis, PROJECT).spend()
    asked = spend.verdicts + spend.unsure
    if not asked:
        raise NotRunning("The LLM was never asked; see the log of the review worker.")
    seconds = max(one.at for one in verdicts) - started
    return {
        "seconds_per_1000": round(seconds * 1000 / len(samples), 2),
        "predict_s": round(predicted_s, 2),
        "llm_calls": spend.calls,
        "llm_share": round(asked / len(samples), 4),
        "tokens": spend.tokens.sent + spend.tokens.written,
        "usd": round(spend.usd, 6),
        "usd_llm_only": round(spend.usd / asked * len(samples), 6),
        "times_the_paper": round(PAPER_S * len(samples) / 1000 / seconds, 1),
    }


def _wait_until_settled(running: Backend) -> None:
    """Wait until no call may start, none is in flight, and it stays so."""
    wiring = running.wiring
    quiet_since = time.monotonic()

    def settled() -> bool:
        nonlocal quiet_since
        if _busy(wiring):
            quiet_since = time.monotonic()
        return time.monotonic() - quiet_since > _QUIET_S

    wait_until(settled, _REVIEWED_S, "everything is settled")


def _busy(wiring: Wiring) -> bool:
    """Whether the review worker works, or finds something to do at the scheduler's next tick."""
    if Lease.is_held(wiring.redis, lease_name("review", PROJECT)):
        return True
    if refit.is_due(wiring, PROJECT) or wiring.redis.exists(pauses.paused_key(PROJECT)):
        return True
    project = wiring.projects.get(PROJECT)
    waiting = wiring.projects.desk(PROJECT).waiting()["to_review"]
    return bool(waiting and project and allowance(wiring, project).calls)


if __name__ == "__main__":
    sys.exit(main())
