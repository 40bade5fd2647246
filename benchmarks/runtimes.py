"""Every runtime that this machine has, beside fp32 torch: same labels, same probabilities, speed.

    python -m benchmarks.runtimes [--csv FILE | --data DIR] [--texts 2000] [--runtime NAME ...]

Makes each shipped specialist for each runtime, as a worker does, and compares it on the texts.

agreement     lowest share of texts with the label of fp32, over the specialists
difference    highest mean absolute difference of probabilities
texts_per_s   of one caller, median over the specialists

The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.texts import Unusable, add_options, chosen
from specialists import threads
from specialists.encoder import Encoder
from specialists.evidence import Floats
from specialists.loading import find_parts, open_model, projection
from specialists.preparation import make_files, open_files
from specialists.registry import EMBEDDED_PREFIX, embedded_labels, embedded_names, member
from specialists.runtime import REFERENCE, RuntimeUnavailable, candidates
from specialists.transformer import Specialist, Transformer
from specialists.types import Label, LabelSet


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 2 when the CSV or a runtime cannot serve."""
    options = _parse(arguments)
    try:
        texts = [one.text for one in chosen(options).take(options.texts)]
        for name in options.runtime:
            candidates("cpu", name)
    except (Unusable, RuntimeUnavailable) as error:
        print(error, file=sys.stderr)
        return 2
    threads.limit()  # torch too: as many threads a pass as the others, which is how it is served
    report = measure(texts, options.runtime)
    print(json.dumps(report))
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Parity and speed of all runtimes.")
    add_options(parser)
    parser.add_argument("--texts", type=int, default=2000, help="how many (default 2000)")
    parser.add_argument(
        "--runtime",
        nargs="*",
        default=[name for name in candidates("cpu") if name != REFERENCE],
        help="which (default: all that this machine has)",
    )
    return parser.parse_args(arguments)


def measure(texts: Sequence[str], runtimes: Sequence[str]) -> dict[str, dict[str, float]]:
    """The figures of each runtime, over all shipped specialists."""
    rows: dict[str, list[tuple[float, float, float]]] = {name: [] for name in runtimes}
    for specialist in embedded_names():
        wanted, _ = _answers(specialist, REFERENCE, texts)
        for name in runtimes:
            found, texts_per_s = _answers(specialist, name, texts)
            same = (found.argmax(axis=1) == wanted.argmax(axis=1)).mean()
            rows[name].append((float(same), float(np.abs(found - wanted).mean()), texts_per_s))
            agreement, difference, _ = rows[name][-1]
            print(
                f"{specialist:<20}{name:<18}{agreement:8.4f}{difference:8.4f}{texts_per_s:9.1f}/s",
                flush=True,
            )
    return {
        name: {
            "agreement": round(min(one[0] for one in found), 4),
            "difference": round(max(one[1] for one in found), 4),
            "texts_per_s": round(float(np.median([one[2] for one in found])), 1),
        }
        for name, found in rows.items()
    }


def _opened(name: str, folder: Path, runtime: str) -> Specialist:
    """A shipped specialist in a runtime, whether it would pass or not."""
    own = embedded_labels(name)
    labels = LabelSet(tuple(Label(one) for one in own))
    ref = member(EMBEDDED_PREFIX + name, labels, own)
    model, tokenizer = open_model(find_parts(ref.source, None))
    files = folder / runtime
    make_files(runtime, model, files)
    return Transformer(
        open_files(runtime, files, lambda: model, "cpu"),
        Encoder(tokenizer, model.config),
        projection(model.config, ref, labels),
    )


def _answers(name: str, runtime: str, texts: Sequence[str]) -> tuple[Floats, float]:
    """Probabilities (texts, labels), and texts a second."""
    with tempfile.TemporaryDirectory(prefix="aa-bench-") as folder:
        specialist = _opened(name, Path(folder), runtime)
        specialist.observe(texts[:8])
        started = time.perf_counter()
        votes = specialist.observe(texts).votes[:, 0]
        return votes, len(texts) / (time.perf_counter() - started)


if __name__ == "__main__":
    sys.exit(main())
