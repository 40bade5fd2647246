"""What one project may ask of the LLM now: LLM_SHARE and LLM_BUDGET_USD, paced over its tasks.

Reads counts only (ledger, record, evidence store), so that the scheduler can ask every second.
The arithmetic is pace.py's.
"""

from __future__ import annotations

from dataclasses import dataclass

from backend.pace import Pace, budget_calls
from backend.projects import Project
from backend.settings import Settings
from backend.wiring import Wiring


@dataclass(frozen=True)
class Allowance:
    """Calls: that may start now (`calls`), made so far (`spent`), and in all (`budget`).

    `importing` while tasks still arrive; `tasks` is how many are expected.
    """

    calls: int
    spent: int
    budget: float
    importing: bool
    tasks: int

    @property
    def used_up(self) -> bool:
        """Whether nothing is left for the tasks that are known."""
        return self.budget - self.spent < 1


def allowance(
    wiring: Wiring, project: Project, round_number: int = 0, settings: Settings | None = None
) -> Allowance:
    """What may be asked now; `round_number` counts the rounds once all tasks are seen.

    `settings` are those of the review workers where this process may have others.
    """
    from meta_controller.errors import NO_VERDICT_KINDS
    from meta_controller.ledger import Ledger

    settings = settings or wiring.settings
    ledger = Ledger(wiring.redis, project.id, settings.llm_budget_usd)
    spend = ledger.spend()
    # Calls that were turned away or lost are made again: they cost money, but not their turn.
    spent = spend.verdicts + spend.unsure
    spent += sum(spend.failures.get(kind, 0) for kind in NO_VERDICT_KINDS)
    seen, expected, importing = _tasks(wiring, project)
    money = settings.llm_budget_usd
    usd_left = None if money is None else money - ledger.backend_usd()
    mean_usd = spend.usd / spend.calls if spend.calls else None
    budget = budget_calls(expected, settings.llm_share, usd_left, mean_usd, spent)
    pace = Pace(budget)
    now = (
        pace.while_importing(seen / max(1, expected), spent)
        if importing
        else pace.when_complete(spent, round_number)
    )
    return Allowance(now, spent, budget, importing, expected)


def _tasks(wiring: Wiring, project: Project) -> tuple[int, int, bool]:
    """Tasks decided, tasks expected, and whether some of those still come.

    A live project's tasks come one by one as people open them.
    """
    waiting = wiring.projects.desk(project.id).waiting()
    seen = wiring.evidence.count(project.id)
    if not seen:  # decided elsewhere, with a DATA_DIR that is not shared
        seen = waiting["hard"] + wiring.pool(project.id).size()
    expected = max(project.tasks, seen + waiting["to_predict"])
    coming = waiting["to_predict"] if project.push else expected - seen
    return seen, expected, coming > 0
