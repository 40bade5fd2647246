"""All methods on one replay, each scored on the rows that stayed without a person's label."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.replay.baselines import Labelled, by_confidence
from benchmarks.replay.plot import Picture
from benchmarks.replay.recorded_llm import Answers
from benchmarks.replay.stream import Case, Indices, Mask, people_of, run

PAPER_SHARE = 0.2585  # of LLM-only's calls: 74.15 % less (arXiv 2506.16393)
_GRID = 0.05


@dataclass(frozen=True)
class Budget:
    """The value rule at one budget: means over seeds; `usd` is None where no price is known."""

    share: float
    spent: float
    accuracy: float
    spread: float
    usd: float | None


class Comparison:
    """A case, its seeds, and the rows that people answer under each."""

    def __init__(self, case: Case, answers: Answers, human: int, seeds: int) -> None:
        self._case, self._answers = case, answers
        self._people = [people_of(case, human, seed) for seed in range(seeds)]
        self._budgets: dict[float, Budget] = {}
        self.llm_only = self.score(case.llm)

    def score(self, labels: Indices) -> float:
        """Mean accuracy over seeds on the rows that people did not answer."""
        return float(np.mean([self._accuracy(labels, people) for people in self._people]))

    def ours(self, share: float) -> Budget:
        """The value rule at one budget; measured once."""
        if share not in self._budgets:
            self._budgets[share] = self._measure(share)
        return self._budgets[share]

    def share_to_match_llm(self, measured: Sequence[float]) -> float | None:
        """The least share at which the value rule reaches LLM-only, None when none does.

        The first of the `measured` shares that does, then steps of 0.05 before it (or, if none
        does, after them), then a straight line between the last two.
        """
        shares = sorted({0.0, *measured})
        reach = next((s for s in shares if self._reaches(s)), 1.0)
        under = max((s for s in shares if s < reach), default=0.0)
        between = [s for s in (round(i * _GRID, 2) for i in range(21)) if under < s < reach]
        before: float | None = None
        for share in (under, *between, reach):
            if self._reaches(share):
                return self._crossing(before, share)
            before = share
        return None

    def _reaches(self, share: float) -> bool:
        return self.ours(share).accuracy >= self.llm_only

    def _crossing(self, before: float | None, share: float) -> float:
        if before is None:
            return share
        low, high = self.ours(before).accuracy, self.ours(share).accuracy
        return before + (self.llm_only - low) / (high - low) * (share - before)

    def _accuracy(self, labels: Indices, people: Mask) -> float:
        return float((labels == self._case.gold)[~people].mean())

    def _measure(self, share: float) -> Budget:
        with threadpool_limits(1), ThreadPoolExecutor(os.cpu_count()) as threads:
            outcomes = list(
                threads.map(partial(run, self._case, share), self._people, range(len(self._people)))
            )
        accuracies = [
            self._accuracy(outcome.labels, people)
            for outcome, people in zip(outcomes, self._people, strict=True)
        ]
        asked = np.mean([outcome.asked for outcome in outcomes], axis=0)
        return Budget(
            share,
            float(asked.mean()),
            float(np.mean(accuracies)),
            float(np.std(accuracies)),
            self._answers.usd(asked),
        )


@dataclass(frozen=True, eq=False)
class Report:
    """What a replay found."""

    n: int
    llm_only: float
    llm_only_usd: float | None
    paper: tuple[float, float] | None  # share, accuracy
    paper_finetuned: tuple[float, float] | None
    confidence: Sequence[tuple[float, float]]
    ours: Sequence[Budget]
    share_to_match_llm: float | None

    def to_json(self) -> dict[str, Any]:
        """The figures; `ours_usd` is the price at the share nearest to the paper's."""
        nearest = min(self.ours, key=lambda budget: abs(budget.share - PAPER_SHARE))
        return {
            "n": self.n,
            "llm_only": _short(self.llm_only),
            "paper": _place(self.paper),
            "paper_finetuned": _place(self.paper_finetuned),
            "confidence": [
                {"share": _short(share), "accuracy": _short(accuracy)}
                for share, accuracy in self.confidence
            ],
            "ours": [
                {name: _short(getattr(budget, name)) for name in _BUDGET_FIELDS}
                for budget in self.ours
            ],
            "share_to_match_llm": _short(self.share_to_match_llm),
            "llm_only_usd": self.llm_only_usd,
            "ours_usd": nearest.usd,
        }

    def table(self) -> str:
        """The curve, for people."""
        lines = [f"LLM-only {self.llm_only:.4f} on {self.n} rows"]
        for name, place in (("paper", self.paper), ("paper, fine-tuned", self.paper_finetuned)):
            told = f"{place[1]:.4f} at {place[0]:.1%} of the calls" if place else "not measured"
            lines.append(f"{name} {told}")
        lines.append(f"{'share':>7} {'spent':>7} {'ours':>8} {'spread':>7} {'confidence':>11}")
        confidence = dict(self.confidence)
        for budget in self.ours:
            other = f"{confidence[budget.share]:.4f}" if budget.share in confidence else "-"
            lines.append(
                f"{budget.share:7.4f} {budget.spent:7.4f} {budget.accuracy:8.4f} "
                f"{budget.spread:7.4f} {other:>11}"
            )
        return "\n".join(lines)

    def picture(self, title: str) -> Picture:
        """The curve over the calls allowed: those really spent are fewer where few are worth it."""
        return Picture(
            title=title,
            llm_only=self.llm_only,
            ours=[(b.share, b.accuracy) for b in self.ours],
            band=[(b.share, b.accuracy - b.spread, b.accuracy + b.spread) for b in self.ours],
            confidence=self.confidence,
            paper=self.paper,
            paper_finetuned=self.paper_finetuned,
        )


def compare(
    comparison: Comparison,
    case: Case,
    answers: Answers,
    shares: Sequence[float],
    paper: Labelled | None,
    finetuned: Labelled | None,
) -> Report:
    """Measure at the shares that were asked for, and at those that the paper's rule happens on."""
    happened = [found for found in (paper, finetuned) if found is not None]
    every = sorted({*shares, *(found.share for found in happened)})
    votes = case.evidence.votes.shape[1] > 0
    confidence = [
        (share, comparison.score(by_confidence(case.evidence, case.llm, share).labels))
        for share in (every if votes else [])
    ]
    ours = [comparison.ours(share) for share in every]
    return Report(
        n=len(case),
        llm_only=comparison.llm_only,
        llm_only_usd=answers.usd(np.ones(len(case))),
        paper=_measured(comparison, paper),
        paper_finetuned=_measured(comparison, finetuned),
        confidence=confidence,
        ours=ours,
        share_to_match_llm=comparison.share_to_match_llm(every),
    )


_BUDGET_FIELDS = ("share", "spent", "accuracy", "spread")


def _measured(comparison: Comparison, found: Labelled | None) -> tuple[float, float] | None:
    return None if found is None else (found.share, comparison.score(found.labels))


def _place(place: tuple[float, float] | None) -> dict[str, float | None] | None:
    return None if place is None else {"accuracy": _short(place[1]), "share": _short(place[0])}


def _short(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
