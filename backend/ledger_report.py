"""What the LLM was paid for, by project and model: `python -m backend ledger [--csv]`.

Sums are exact; the rows by model count the entries that are kept, 100,000 a project.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, Any

from backend.allowance import expected_tasks
from backend.wiring import Wiring
from meta_controller.batch_store import RUN
from meta_controller.language_model import Tokens
from meta_controller.ledger import KEEP_ENTRIES, Ledger, Spend
from meta_controller.prices import NANO, PRICES_SEEN, cheapest_batch


@dataclass
class Row:
    """The calls of one project to one model; `questions` are the texts they were about."""

    project: int
    provider: str
    model: str
    price_known: bool = True
    calls: int = 0
    in_batches: int = 0
    questions: int = 0
    tokens_sent: int = 0
    tokens_written: int = 0
    tokens_cached: int = 0
    tokens_stored: int = 0
    usd: float = 0.0

    def add(self, entry: Mapping[str, Any]) -> None:
        """Count one entry; those from before caches were counted lack their fields."""
        self.price_known &= bool(entry["price_known"])
        self.calls += 1
        self.in_batches += str(entry["run"]).startswith(RUN)
        self.questions += len(entry.get("task_ids", ()))
        self.tokens_sent += entry["tokens_in"]
        self.tokens_written += entry["tokens_out"]
        self.tokens_cached += entry.get("tokens_cached", 0)
        self.tokens_stored += entry.get("tokens_stored", 0)
        self.usd += entry["usd"]


@dataclass(frozen=True)
class Account:
    """One project: its sums, its rows by model, and what asking about every task would cost.

    `usd_everything` is at what a question cost here, `usd_cheapest` (with `cheapest`'s name) at
    the cheapest batch price of our list; None before an LLM answered a question.
    """

    project: int
    title: str
    spend: Spend
    rows: Sequence[Row] = field(default_factory=list)
    tasks: int = 0
    usd_everything: float | None = None
    usd_cheapest: float | None = None
    cheapest: str = ""


def collect(wiring: Wiring, project_id: int | None = None) -> list[Account]:
    """The accounts of all projects that ever asked, or of one."""
    ids = wiring.projects.ids() if project_id is None else [project_id]
    found = [_account(wiring, one) for one in ids]
    return [one for one in found if one.spend.calls or project_id is not None]


def _account(wiring: Wiring, project_id: int) -> Account:
    project, ledger = wiring.projects.get(project_id), Ledger(wiring.redis, project_id)
    spend, title = ledger.spend(), project.title if project else ""
    rows = _rows(project_id, ledger.entries(KEEP_ENTRIES))
    answered = spend.verdicts + spend.unsure
    if project is None or not answered or not spend.tokens.sent:  # a script takes no tokens
        return Account(project_id, title, spend, rows)
    tasks = expected_tasks(wiring, project)
    mean = Tokens(round(spend.tokens.sent / answered), round(spend.tokens.written / answered))
    name, price = cheapest_batch(mean)
    return Account(
        project_id,
        title,
        spend,
        rows,
        tasks,
        usd_everything=tasks * spend.usd / answered,
        usd_cheapest=tasks * price.nano_usd(mean) / NANO,
        cheapest=name,
    )


def _rows(project_id: int, entries: Iterable[Mapping[str, Any]]) -> list[Row]:
    rows: dict[tuple[str, str], Row] = {}
    for entry in entries:
        key = (str(entry["provider"]), str(entry["model"]))
        rows.setdefault(key, Row(project_id, *key)).add(entry)
    return [rows[key] for key in sorted(rows)]


def write_csv(accounts: Sequence[Account], out: IO[str]) -> None:
    """One line for each project and model, with a head."""
    writer = csv.DictWriter(out, list(Row.__dataclass_fields__), lineterminator="\n")
    writer.writeheader()
    for account in accounts:
        for row in account.rows:
            writer.writerow({**vars(row), "usd": f"{row.usd:.9f}"})


def render(accounts: Sequence[Account]) -> str:
    """The accounts as text for a terminal."""
    if not accounts:
        return "The LLM was never asked."
    lines = [line for account in accounts for line in (*_lines(account), "")]
    total = sum(account.spend.usd for account in accounts)
    return "\n".join([*lines, f"All together: {total:.4f} USD"])


def _lines(account: Account) -> list[str]:
    spend = account.spend
    lines = [
        f"Project {account.project} {account.title!r}: {spend.usd:.4f} USD, {spend.calls} calls; "
        f"{spend.verdicts} verdicts, {spend.unsure} unsure, {spend.cached} from stored answers",
        f"  tokens: {_tokens(spend.tokens)}",
    ]
    lines += [f"  {_row(row)}" for row in account.rows]
    if spend.failures:
        failed = ", ".join(f"{count} {kind}" for kind, count in spend.failures.items())
        lines.append(f"  failed calls: {failed}")
    if account.usd_everything is not None:
        lines.append(
            f"  asking about all {account.tasks} tasks: {account.usd_everything:.4f} USD at what "
            f"a question cost here, about {account.usd_cheapest:.4f} USD by {account.cheapest} in "
            f"batches (list prices of {PRICES_SEEN})"
        )
    return lines


def _row(row: Row) -> str:
    usd = f"{row.usd:.4f} USD" if row.price_known else "price unknown"
    tokens = Tokens(row.tokens_sent, row.tokens_written, row.tokens_cached, row.tokens_stored)
    return (
        f"{row.provider} {row.model}: {usd}, {row.calls} calls ({row.in_batches} in batches) about "
        f"{row.questions} texts; {_tokens(tokens)}"
    )


def _tokens(tokens: Tokens) -> str:
    return (
        f"{tokens.sent} sent ({tokens.cached_share:.1%} read from the provider's cache, "
        f"{tokens.stored} written to it), {tokens.written} written"
    )
