"""What one project may ask of the LLM now: LLM_SHARE and the budget's caps, paced over its tasks.

Reads counts only (ledger, record, evidence store), so that the scheduler can ask every second.
The arithmetic is pace.py's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backend.pace import Pace, budget_calls
from backend.project_settings import applied
from backend.projects import Project
from backend.settings import Settings
from backend.wiring import Wiring

if TYPE_CHECKING:
    from meta_controller.budget import Bound
    from meta_controller.ledger import Spend


@dataclass(frozen=True)
class Allowance:
    """Questions: that may be asked now (`calls`), asked so far (`spent`), and in all (`budget`).

    Several may share a call to the LLM; one that is asked again, by a stronger model or to see
    whether the answers agree, counts each time.

    `importing` while tasks still arrive; `tasks` is how many are expected. `limit` names the
    setting that allows least, `again` says when it allows more by itself, if ever.
    """

    calls: int
    spent: int
    budget: float
    importing: bool
    tasks: int
    limit: str
    again: str

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
    from meta_controller.batch_store import BatchStore
    from meta_controller.errors import NO_VERDICT_KINDS
    from meta_controller.ledger import Ledger

    settings = applied(wiring.redis, project.id, settings or wiring.settings)
    ledger = Ledger(wiring.redis, project.id, settings.llm_caps)
    spend = ledger.spend()
    # What was turned away or lost is asked again: it cost money, but not its turn.
    spent = spend.verdicts + spend.unsure
    spent += sum(spend.failures.get(kind, 0) for kind in NO_VERDICT_KINDS)
    spent += BatchStore(wiring.redis, project.id).size()
    seen, expected, importing = _tasks(wiring, project)
    calls_left, tightest = _questions_left(ledger.budget.bounds(), spend, spent)
    budget = budget_calls(expected, settings.llm_share, calls_left, spent)
    capped = tightest if budget < settings.llm_share * expected else None
    pace = Pace(budget)
    now = (
        pace.while_importing(seen / max(1, expected), spent)
        if importing
        else pace.when_complete(spent, round_number)
    )
    limit, again = (capped.setting, capped.again) if capped else ("LLM_SHARE", "")
    return Allowance(now, spent, budget, importing, expected, limit, again)


def _questions_left(
    bounds: Sequence[Bound], spend: Spend, spent: int
) -> tuple[float | None, Bound | None]:
    """How many mean questions of this project the tightest cap leaves; None before the first.

    Whatever was paid counts for the `spent` ones: failed calls, and what several shared.
    """
    tokens = spend.tokens.sent + spend.tokens.written
    mean = {"USD": spend.usd / spent, "tokens": tokens / spent} if spent else {}
    left = [(one.left / mean[one.unit], one) for one in bounds if mean.get(one.unit)]
    return min(left, key=lambda pair: pair[0], default=(None, None))


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


def expected_tasks(wiring: Wiring, project: Project) -> int:
    """How many tasks a project has or will have, as far as is known."""
    return _tasks(wiring, project)[1]
