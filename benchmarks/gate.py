"""How often the gate promotes stages that are truly better or worse, over simulated stages.

    python -m benchmarks.gate [--runs 200] [--changed 0.1]

A stage changes the answers to a share of all texts, so that the truth about them moves by -5, -2,
0, +2 or +5 points; the gate sees only its held-out verdicts. The first table has the share of such
stages that it promotes. The second follows projects over ten stages of all these effects, drawn at
random and measured each time by the same verdicts, as in a real project: how many promoted stages
were truly worse by more than the margin that their card tells, how many projects ended worse than
they began, and how much more was right at their end. Besides people's verdicts there may be those
of an LLM that is right in 85 %, always wrong about the same texts. Other rules stand beside the
gate. Prints tables and, last, one JSON line.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean

import numpy as np
import numpy.typing as npt

from training.judgement import Trial, judge, margin

Ints = npt.NDArray[np.int_]
Trials = list[Trial]
Rule = Callable[[Trials, Trials], bool]

EFFECTS = (-0.05, -0.02, 0.0, 0.02, 0.05)
SIZES = ((30, 0), (100, 0), (300, 0), (10, 100), (30, 100))  # verdicts of people, of the LLM
STAGES = 10
LABELS, SHARES = ("common", "some", "rare"), (0.6, 0.3, 0.1)
FIRST = 0.75  # of the first committee's answers are right
LLM = 0.85

RULES: dict[str, Rule] = {
    "gate": lambda people, llm: judge(people, "human", llm).passed,
    "gate, people alone": lambda people, llm: judge(people, "human").passed,
    "surely better": lambda people, llm: margin(people) == 0.0,
    "surely not 5 points worse": lambda people, llm: margin(people) <= 0.05,
    "no gate": lambda people, llm: True,
}


@dataclass(frozen=True)
class Stage:
    """What a committee becomes: the chances to lose a right answer and to right a wrong one."""

    loses: float
    gains: float

    @classmethod
    def of(cls, effect: float, changed: float, right: float) -> Stage:
        """The stage that changes so many answers and moves the truth by `effect` (shares)."""
        loses, gains = (changed - effect) / 2 / right, (changed + effect) / 2 / (1 - right)
        return cls(min(loses, 1.0), min(gains, 1.0))

    def after(self, right: float) -> float:
        """The share of all texts that is right after it."""
        return right * (1 - self.loses) + (1 - right) * self.gains


class Slice:
    """Held-out verdicts, and which label each committee says to them; all arrays (verdicts,)."""

    def __init__(self, rng: np.random.Generator, people: int, llm: int) -> None:
        self._rng, self._people, n = rng, people, people + llm
        self._truth = rng.choice(len(LABELS), n, p=SHARES)
        trusted = (np.arange(n) < people) | (rng.random(n) < LLM)
        self._verdicts = np.where(trusted, self._truth, self._others())
        self._said = np.where(rng.random(n) < FIRST, self._truth, self._others())

    def _others(self) -> Ints:
        """A wrong label for each text."""
        turn = self._rng.integers(1, len(LABELS), len(self._truth))
        return np.asarray((self._truth + turn) % len(LABELS))

    def try_stage(self, stage: Stage) -> tuple[Trials, Trials, Ints]:
        """What the gate sees of a stage, by people's and by the LLM's verdicts; its answers."""
        right, dice = self._said == self._truth, self._rng.random(len(self._truth))
        wrong = np.where(right, self._others(), self._said)
        after = np.where(np.where(right, dice >= stage.loses, dice < stage.gains),
                         self._truth, wrong)  # fmt: skip
        trials = [
            Trial(*((LABELS[one],) for one in row), at=float(i))
            for i, row in enumerate(zip(self._verdicts, self._said, after, strict=True))
        ]
        return trials[: self._people], trials[self._people :], after

    def promote(self, answers: Ints) -> None:
        """Go on from the new committee's answers."""
        self._said = answers


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description="How often the gate is right.")
    parser.add_argument("--runs", type=int, default=200, help="of each effect, size and rule")
    parser.add_argument("--changed", type=float, default=0.1, help="share of answers a stage moves")
    options = parser.parse_args()
    rows = []
    print(f"{'people + LLM':34}promoted, by true effect         over ten stages")
    print(" " * 34 + "".join(f"{effect:+6.0%}" for effect in EFFECTS), end="")
    print("  promoted  beyond margin  ended worse  gain")
    for rule in RULES:
        for size in SIZES:
            rates = [
                promoted(RULES[rule], size, effect, options.runs, options.changed)
                for effect in EFFECTS
            ]
            ended = follow(RULES[rule], size, options.runs, options.changed)
            rows.append({"rule": rule, "people": size[0], "llm": size[1],
                         "promoted_by_effect": rates, **ended})  # fmt: skip
            print(f"{rule:26}{size[0]:3} +{size[1]:3}" + "".join(f"{one:6.0%}" for one in rates),
                  f"{ended['promoted']:9.1f}{ended['beyond_margin']:15.1%}"
                  f"{ended['ended_worse']:13.1%}{ended['gain']:+6.3f}")  # fmt: skip
    print(json.dumps({"changed": options.changed, "effects": EFFECTS, "rows": rows}))


def promoted(rule: Rule, size: tuple[int, int], effect: float, runs: int, changed: float) -> float:
    """The share of stages of one true effect that a rule promotes."""
    stage, passed = Stage.of(effect, changed, FIRST), 0
    for seed in range(runs):
        people, llm, _ = Slice(np.random.default_rng((0, seed)), *size).try_stage(stage)
        passed += rule(people, llm)
    return passed / runs


def follow(rule: Rule, size: tuple[int, int], runs: int, changed: float) -> dict[str, float]:
    """What becomes of projects under a rule, on average."""
    served = beyond = 0
    gains = []
    for seed in range(runs):
        rng, right = np.random.default_rng((1, seed)), FIRST
        measures = Slice(rng, *size)
        for effect in rng.choice(EFFECTS, STAGES):
            stage = Stage.of(float(effect), changed, right)
            people, llm, answers = measures.try_stage(stage)
            if rule(people, llm):
                served += 1
                beyond += right - stage.after(right) > margin(people)
                right = stage.after(right)
                measures.promote(answers)
        gains.append(right - FIRST)
    return {
        "promoted": served / runs,
        "beyond_margin": beyond / max(served, 1),
        "ended_worse": fmean(gain < 0 for gain in gains),
        "gain": fmean(gains),
    }


if __name__ == "__main__":
    main()
