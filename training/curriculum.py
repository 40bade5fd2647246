"""The curriculum: what a stage learns from beside its fresh verdicts, and what each text counts.

Numbers and weights only; `plan.py` draws by them. `LOG.md` has what each was measured to be worth.
"""

from __future__ import annotations

from dataclasses import dataclass

from specialists.types import Verdict
from training import gate

PEOPLE_WEIGHT = 1.0  # of an answer that is certain, or that nobody's can be compared with
LLM_WEIGHT = 0.7  # where nobody knows how likely an LLM's verdict is right


@dataclass(frozen=True)
class Curriculum:
    """Shares of a stage's examples and the weight of its verdicts.

    `replay` is how many earlier verdicts there are a fresh one at most, or `least_replay` where
    that is more. `agreed` is how many texts a fresh verdict there are that nobody verified and that
    the served committee is sure of, by its own answer (learning without forgetting: Li and Hoiem,
    ECCV 2016), each with `agreed_weight`. `focus` (-1..1) turns weights to the verdicts that the
    served committee has wrong (above 0, the paper's reinforcement set) or away from them (below 0:
    small-loss selection, Han et al., "Co-teaching", NeurIPS 2018). `tuning` is the share of texts
    by which a training is ended and its weights are mixed (`loop.learn`); they are neither learned
    nor shown to the gate, which must not judge what was chosen by its own texts.
    """

    replay: float = 3.0
    least_replay: int = 50  # a small first pool still meets enough of what was learned before
    agreed: float = 0.0
    agreed_weight: float = 0.5
    focus: float = 0.0
    tuning: float = 0.0

    def tunes(self, text: str) -> bool:
        """Whether a text is kept for choosing; the same in every stage, and not held out."""
        share = gate.HELD_OUT_SHARE
        return gate.held_out(text, share + self.tuning) and not gate.held_out(text, share)

    def weight(self, verdict: Verdict, believed: float | None = None) -> float:
        """What a verdict counts; the served committee gives it the chance `believed` (0..1)."""
        if verdict.source == "human":
            weight = PEOPLE_WEIGHT * (1.0 if verdict.chance is None else verdict.chance)
        else:
            weight = LLM_WEIGHT if verdict.chance is None else verdict.chance
        return weight if believed is None else weight * (1 + self.focus * (1 - believed))


DEFAULT = Curriculum()
