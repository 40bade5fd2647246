"""How fast a committee reads texts, beside the pipeline of Label Studio's example backend.

    python -m benchmarks.throughput [--csv FILE | --data DIR] [--device cpu] [--runs 3]

Three classifiers of BERT-base's size, with random weights: those do not matter for speed. The
pipeline is `transformers.pipeline`, one text at a time, one member after the other, in a process
with the default environment, on a part of the texts. Ours is the product's own path in a process of
its own: prepared models, shared tokenizer, batcher. They take turns.

label_agreement   lowest share of equal labels between the served form and fp32, over the six
                  shipped, trained specialists, on texts of the same source
padding_waste     share of the tokens that went through the models and were padding
peak_share        with CUDA: our FLOP/s, padding not counted, over those of a large bf16 product

The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from backend.programs import child_environment
from backend.settings import Settings
from benchmarks import committee_speed as speed
from benchmarks.texts import Unusable, add_options, chosen

PIPELINE_TEXTS = 64  # on a CPU, where it needs seconds for each ten
PIPELINE_TEXTS_CUDA = 512
AGREEMENT_TEXTS = 2_000

_T = TypeVar("_T")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 2 when the CSV cannot serve."""
    options = parse(arguments)
    try:
        texts = [one.text for one in chosen(options).take(options.texts)]
        agreed = [one.text for one in chosen(options).take(AGREEMENT_TEXTS)]
    except Unusable as error:
        print(error, file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="aa-bench-") as name:
        report = measure(Path(name), texts, agreed, options.device, options.runs)
    for key, value in report.items():
        print(f"{key:<24}{value!s:>16}")
    print(json.dumps(report))
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.throughput",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_options(parser)
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default cpu)")
    parser.add_argument("--runs", type=int, default=3, help="of each way (default 3)")
    parser.add_argument("--texts", type=int, default=1024, help="for ours (default 1024)")
    return parser.parse_args(arguments)


def measure(
    folder: Path, texts: Sequence[str], agreed: Sequence[str], device: str, runs: int
) -> dict[str, Any]:
    """All figures."""
    members = alone({}, speed.make_members, folder / "members")
    ours_environment = _environment(folder)
    alone(ours_environment, speed.prepare, folder, members, texts, device)
    count = PIPELINE_TEXTS if device == "cpu" else PIPELINE_TEXTS_CUDA
    part = texts[:: max(1, len(texts) // count)][:count]  # of the same lengths as the whole
    pipeline: list[float] = []
    ours: list[speed.Speed] = []
    for number in range(runs):
        steps: list[Callable[[], None]] = [
            lambda: pipeline.append(alone({}, speed.by_pipeline, members, part, device)),
            lambda: ours.append(
                alone(ours_environment, speed.by_us, folder, members, texts, device)
            ),
        ]
        for step in steps[:: 1 if number % 2 == 0 else -1]:
            step()
        print(
            f"run {number}: pipeline {pipeline[-1]:.2f} texts/s, ours {ours[-1].texts_per_s:.2f}",
            flush=True,
        )
    rate = statistics.median(one.texts_per_s for one in ours)
    reference = statistics.median(pipeline)
    report = {
        "pipeline_texts_per_s": round(reference, 2),
        "ours_texts_per_s": round(rate, 2),
        "ratio": round(rate / reference, 2),
        "runtime": ours[-1].runtime,
        "padding_waste": round(statistics.median(one.padding_waste for one in ours), 4),
        "peak_rss_mb": round(max(one.peak_rss_mb for one in ours)),
        "device": device,
    }
    if device != "cpu":
        shares = [one.peak_share for one in ours if one.peak_share is not None]
        report["peak_share"] = round(statistics.median(shares), 4)
    found = alone(ours_environment, speed.agreement, folder, agreed, device)
    for name, (runtime, share) in found.items():
        print(f"{name:<28}{runtime:<16}{share:>8.4f}")
    report["label_agreement"] = round(min(share for _, share in found.values()), 4)
    report["agreement_runtimes"] = sorted({runtime for runtime, _ in found.values()})
    return report


def _environment(folder: Path) -> dict[str, str]:
    return child_environment(Settings.from_env({"DATA_DIR": str(folder)}), {})


def alone(environment: Mapping[str, str], work: Callable[..., _T], *arguments: Any) -> _T:
    """Run a function in a process of its own, begun with this environment besides ours."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, _begin, (dict(environment),)) as pool:
        return pool.submit(work, *arguments).result()


def _begin(environment: Mapping[str, str]) -> None:
    os.environ.update(environment)


if __name__ == "__main__":
    sys.exit(main())
