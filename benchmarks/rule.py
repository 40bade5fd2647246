"""What the value rule costs: a refit over 5,000 verdicts, and a decision beside the votes it needs.

    python -m benchmarks.rule [--verdicts 5000] [--labels 2] [--texts 250]

Refits run on one core over random evidence of the shipped committee's shape (three members, two
views of 384 numbers each, and the frozen one). Decisions are timed after such a refit, on the same
texts and in the same run as the committee's own forward passes. Ends with one JSON line; times are
medians.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable

import numpy as np
from threadpoolctl import threadpool_limits

from specialists.committee import Committee
from specialists.evidence import Evidence
from specialists.registry import default_members
from specialists.types import Label, LabelSet
from specialists.value_rule import ValueRule
from training.refit import Known, Refit, refit
from training.reliability import Answers

MEMBERS, VIEWS, WIDTH = 3, 6, 384
VIEWS_FROZEN = 2  # side by side: what the live member learns on
RUNS = 5
_WORDS = (
    "the film food was is not very good bad slow kind they never again really service of".split()
)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--verdicts", type=int, default=5000, help="verdicts to refit on")
    parser.add_argument("--labels", type=int, default=2, help="labels of the refitted control")
    parser.add_argument("--texts", type=int, default=250, help="texts to vote and decide on")
    options = parser.parse_args()
    known = answered(options.verdicts, options.labels)
    with threadpool_limits(1):
        refit_s = median_s(lambda: refit(known))
    print(
        f"refit on {options.verdicts} verdicts, {options.labels} labels, one core: {refit_s:.2f} s"
    )
    votes_s, decisions_s = vote_and_decide(options.texts)
    print(f"{options.texts} texts: votes {votes_s:.3f} s, decisions {decisions_s:.4f} s")
    figures = {
        "verdicts": options.verdicts,
        "labels": options.labels,
        "refit_s": round(refit_s, 3),
        "votes_ms_per_text": round(1000 * votes_s / options.texts, 3),
        "decision_ms_per_text": round(1000 * decisions_s / options.texts, 4),
        "decision_overhead": round(decisions_s / votes_s, 4),
    }
    print(json.dumps(figures))


def answered(texts: int, labels: int) -> Known:
    """Random evidence whose members, and an LLM, are right more often than not."""
    draw = np.random.default_rng(13)
    truth = draw.integers(0, labels, texts)
    votes = draw.dirichlet(np.ones(labels), size=(texts, MEMBERS))
    votes[np.arange(texts), :, truth] += 0.5
    votes /= votes.sum(axis=2, keepdims=True)
    centres = draw.normal(size=(labels, WIDTH))
    views = tuple(
        (centres[truth] + 8 * draw.normal(size=(texts, WIDTH))).astype(np.float32)
        for _ in range(VIEWS)
    )
    frozen = np.concatenate(views[:VIEWS_FROZEN], axis=1)
    llm = np.where(draw.random(texts) < 0.88, truth, draw.integers(0, labels, texts))
    answers = Answers(llm, np.full(texts, -1), np.ones(texts, dtype=bool))
    return Known(Evidence(votes.astype(np.float32), views, frozen), answers)


def vote_and_decide(texts: int) -> tuple[float, float]:
    """Seconds that the shipped sentiment committee votes on texts, and that the rule decides."""
    labels = LabelSet((Label("negative"), Label("positive")))
    committee = Committee.load(default_members(labels), labels, {})
    draw = random.Random(13)
    given = [" ".join(draw.choices(_WORDS, k=draw.randint(4, 40))) for _ in range(texts)]
    evidence = committee.observe(given)
    rule = ValueRule(learned(evidence).state)
    votes_s = median_s(lambda: committee.observe(given))
    return votes_s, median_s(lambda: rule.decide(evidence, committee.names, labels))


def learned(evidence: Evidence) -> Refit:
    """A refit on the committee's own evidence, so that the rule has heads to evaluate."""
    llm = np.nanmean(evidence.votes, axis=1).argmax(axis=1)
    return refit(Known(evidence, Answers(llm, np.full(len(llm), -1), llm >= 0)))


def median_s(work: Callable[[], object]) -> float:
    """Median seconds of several runs, after one that does not count."""
    work()
    seconds = []
    for _ in range(RUNS):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


if __name__ == "__main__":
    main()
