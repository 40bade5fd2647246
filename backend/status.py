"""What the backend does at the moment: projects, tags, pool, queues, workers, spend, errors."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

from backend.wiring import Wiring


def collect(wiring: Wiring) -> dict[str, Any]:
    """Everything as plain JSON; reads Redis only.

    Raises:
        redis.RedisError: Redis does not answer.
    """
    return {
        "projects": [_project(wiring, one) for one in wiring.projects.ids()],
        "queues": wiring.queues.lengths(),
        "workers": wiring.queues.workers(),
        "llm": wiring.queues.told("review").get("llm", "unknown: no review worker started yet"),
        "ignored": wiring.journal.counters(),
        "errors": wiring.journal.errors(),
    }


def _project(wiring: Wiring, project_id: int) -> dict[str, Any]:
    project = wiring.projects.get(project_id)
    desk, pool = wiring.projects.desk(project_id), wiring.pool(project_id)
    promotions = wiring.promotions(project_id)
    stage = desk.stage()
    history = promotions.history()
    unanswered = [one.error for one in desk.hard() if one.error]
    return {
        "id": project_id,
        "title": project.title if project else "",
        "mode": "push" if project and project.push else "live",
        "tag": promotions.served(),
        "kept": promotions.kept(wiring.settings.keep_tags),
        "last_card": asdict(history[0]) if history else None,
        "waiting": desk.waiting(),
        "left_to_people": {error: unanswered.count(error) for error in sorted(set(unanswered))},
        "pool": {
            "waiting": pool.waiting(),
            "new": pool.waiting(after=int(stage.get("attempted", 0))),
            "stage_size": int(wiring.queues.told("train").get("stage_size", 0)),
            **pool.counts(),
        },
        "stage": stage.get("progress", ""),
        "spend": _spend(wiring, project_id),
    }


def _spend(wiring: Wiring, project_id: int) -> dict[str, Any]:
    from meta_controller.ledger import Ledger

    return asdict(Ledger(wiring.redis, project_id, wiring.settings.llm_budget_usd).spend())


def render(status: dict[str, Any]) -> str:
    """The status as text for a terminal."""
    lines = [f"LLM: {status['llm']}"]
    for kind, count in status["workers"].items():
        note = "" if count else "  <- start one: python -m backend worker " + kind
        lines.append(f"Workers {kind}: {count}, jobs waiting: {status['queues'][kind]}{note}")
    if not status["projects"]:
        lines.append("No project yet: python -m backend connect --project ID")
    for project in status["projects"]:
        lines += ["", *_project_lines(project)]
    if status["ignored"]:
        lines += ["", "Ignored: " + ", ".join(f"{n} x {w}" for w, n in status["ignored"].items())]
    if status["errors"]:
        lines += ["", "Last errors:"]
        lines += [_error_line(error) for error in status["errors"][:10]]
    return "\n".join(lines)


def _project_lines(project: dict[str, Any]) -> list[str]:
    pool, waiting, spend = project["pool"], project["waiting"], project["spend"]
    lines = [
        f"Project {project['id']} {project['title']!r} ({project['mode']}): "
        f"serves {project['tag']}",
        f"  hard samples {waiting['hard']} ({waiting['to_review']} wait for the LLM), "
        f"tasks to predict {waiting['to_predict']}, verdicts to write back {waiting['to_patch']}",
        f"  verdicts: {pool['human']} by people, {pool['llm']} by the LLM; "
        f"{pool['waiting']} wait in the pool, {pool['new']} of {pool['stage_size']} for a stage",
        f"  LLM calls {spend['calls']}, spent {spend['usd']:.4f} USD, "
        f"verdicts {spend['verdicts']}, unsure {spend['unsure']}",
    ]
    if spend["failures"]:
        failed = ", ".join(f"{count} {kind}" for kind, count in spend["failures"].items())
        lines.append(f"  failed calls: {failed}")
    lines += [f"  left to people: {n} x {why}" for why, n in project["left_to_people"].items()]
    if project["stage"]:
        lines.append(f"  stage running: {project['stage']}")
    if project["last_card"]:
        lines.append(f"  last stage: {project['last_card']['reason']}")
    return lines


def _error_line(error: dict[str, Any]) -> str:
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(error["at"]))
    project = f" project {error['project']}" if error["project"] else ""
    times = f" ({error['count']} times)" if error["count"] > 1 else ""
    return f"  {at} {error['where']}{project}: {error['message']}{times}"
