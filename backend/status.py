"""What the backend does at the moment: projects, tags, pool, queues, workers, spend, errors."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, replace
from typing import Any

from backend import mended, meter, pauses, project_settings, report, sway
from backend.allowance import allowance
from backend.projects import Project
from backend.settings import Settings
from backend.wiring import Wiring

CARDS = 20
"""So many of the newest promotion cards are told whole; the meter has every promoted stage."""

_NEXT = {
    "promotion": "python -m backend stages --project {}",
    "stage": "python -m backend stages --project {}",
    "train": "the log of the train worker",
    "drift": "python -m backend meter --project {}",
    "trust": "python -m backend conflicts --project {}",
    "labels": "python -m backend labels --project {}",
    "model store": "the disk under MODEL_DIR",
}
"""Where more is told about an error than its message says, by where it came up; else `doctor`."""


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
        "errors": [{**one, "next_step": _next_step(one)} for one in wiring.journal.errors()],
    }


def _next_step(error: dict[str, Any]) -> str:
    step = _NEXT.get(error["where"], "python -m backend doctor")
    return step.format("ID" if error["project"] is None else error["project"])


def _project(wiring: Wiring, project_id: int) -> dict[str, Any]:
    from meta_controller.batch_store import BatchStore

    project = wiring.projects.get(project_id)
    desk, pool = wiring.projects.desk(project_id), wiring.pool(project_id)
    promotions = wiring.promotions(project_id)
    stage = desk.stage()
    history = promotions.history()
    own, told = project_settings.read(wiring.redis, project_id), wiring.queues.told("train")
    unanswered = [one.error for one in desk.left() if one.error]
    asking, money = _asking(wiring, project), _money(wiring, project_id)
    return {
        "id": project_id,
        "title": project.title if project else "",
        "mode": "push" if project and project.push else "live",
        "tag": promotions.served(),
        "kept": promotions.kept(wiring.settings.keep_tags),
        "last_card": asdict(history[0]) if history else None,
        "cards": [asdict(card) for card in history[:CARDS]],
        "waiting": desk.waiting(),
        "left_to_people": {error: unanswered.count(error) for error in sorted(set(unanswered))},
        "pool": {
            "waiting": pool.waiting(),
            "set_aside": pool.size_aside(),
            "new": pool.waiting(after=int(stage.get("attempted", 0))),
            "stage_size": int(own.get("stage_size") or told.get("stage_size") or 0),
            **pool.counts(),
        },
        "stage": stage.get("progress", ""),
        "drift": stage.get("drift", ""),
        **money,
        "asking": asking,
        "savings": _savings(asking, money["spend"]),
        "batched": BatchStore(wiring.redis, project_id).size(),
        "paused": wiring.redis.get(pauses.paused_key(project_id)) or "",
        "held": pauses.held(wiring.redis, project_id),
        "report": report.read(wiring, project_id),
        "sway": sway.read(wiring, project_id),
        "meter": meter.collect(wiring, project_id),
        "mended": wiring.mended(project_id).read(),
    }


def _savings(asking: dict[str, Any] | None, spend: dict[str, Any]) -> dict[str, Any] | None:
    """What asking about every task would take beside what was asked; None before an answer."""
    asked = spend["verdicts"] + spend["unsure"]
    if asking is None or not asked:
        return None
    everything = asking["tasks"] * spend["usd"] / asked
    return {"asked": asked, "tasks": asking["tasks"], "usd_everything": everything}


def _asking(wiring: Wiring, project: Project | None) -> dict[str, Any] | None:
    """How far LLM_SHARE and the budget go; None where no LLM is asked."""
    settings = _of_workers(wiring)
    if project is None or not settings.has_llm:
        return None
    found = allowance(wiring, project, settings=settings)
    return {**asdict(found), "used_up": found.used_up}


def _of_workers(wiring: Wiring) -> Settings:
    """The settings with which the review workers ask: their environment is not the CLI's."""
    told = wiring.queues.told("review")
    if "llm_caps" not in told:
        return wiring.settings
    caps = {f"llm_budget_{name}": cap for name, cap in json.loads(told["llm_caps"]).items()}
    return replace(
        wiring.settings,
        llm_mode="on",  # where it is off, they say that their provider is none
        llm_provider=told["llm_provider"],
        llm_share=float(told["llm_share"]),
        **caps,
    )


def _money(wiring: Wiring, project_id: int) -> dict[str, Any]:
    """What was spent, and how far each cap that is set is used."""
    from meta_controller.ledger import Ledger

    settings = project_settings.applied(wiring.redis, project_id, _of_workers(wiring))
    ledger = Ledger(wiring.redis, project_id, settings.llm_caps)
    budget = [{**asdict(one), "again": one.again} for one in ledger.budget.bounds()]
    return {"spend": asdict(ledger.spend()), "budget": budget}


def render(status: dict[str, Any]) -> str:
    """The status as text for a terminal."""
    lines = [f"LLM: {status['llm']}"]
    for kind, count in status["workers"].items():
        note = "" if count else "  <- start one: python -m backend worker " + kind
        lines.append(f"Workers {kind}: {count}, jobs waiting: {status['queues'][kind]}{note}")
    if not status["projects"]:
        lines.append("No project yet: python -m backend connect --project ID")
    for project in status["projects"]:
        lines += ["", *project_lines(project)]
    if status["ignored"]:
        lines += ["", "Ignored: " + ", ".join(f"{n} x {w}" for w, n in status["ignored"].items())]
    if status["errors"]:
        lines += ["", "Last errors:"]
        lines += [_error_line(error) for error in status["errors"][:10]]
    return "\n".join(lines)


def project_lines(project: dict[str, Any]) -> list[str]:
    """One project as lines, all but the first indented."""
    pool, waiting, spend = project["pool"], project["waiting"], project["spend"]
    asking, hard = project["asking"], waiting["hard"]
    for_llm = waiting["to_review"] if asking and not asking["used_up"] else 0
    lines = [
        f"Project {project['id']} {project['title']!r} ({project['mode']}): "
        f"serves {project['tag']}",
        f"  hard samples {hard} ({for_llm} for the LLM, {hard - for_llm} for people), "
        f"tasks to predict {waiting['to_predict']}, verdicts to write back {waiting['to_patch']}",
        f"  verdicts: {pool['human']} by people, {pool['llm']} by the LLM; "
        f"{pool['waiting']} wait in the pool, {pool['new']} of {pool['stage_size']} for a stage",
        f"  LLM calls {spend['calls']}, spent {spend['usd']:.4f} USD, "
        f"verdicts {spend['verdicts']}, unsure {spend['unsure']}",
    ]
    if pool["set_aside"]:
        lines.append(
            f"  {pool['set_aside']} verdicts are set aside, as the label config changed: "
            f"python -m backend labels --project {project['id']}"
        )
    if spend["tokens"]["sent"]:
        lines.append(f"  {_tokens(spend['tokens'])}")
    lines += [f"  {_bound(one)}" for one in project["budget"]]
    if spend["failures"]:
        failed = ", ".join(f"{count} {kind}" for kind, count in spend["failures"].items())
        lines.append(f"  failed calls: {failed}")
    lines += _asking_lines(project)
    if project["batched"]:
        lines.append(f"  {project['batched']} questions are with the provider's batch API")
    lines += _pause_lines(project)
    lines += [f"  {line}" for one in project["report"] for line in report.sentences(one)]
    lines += [f"  {sway.sentence(one)}" for one in project["sway"]]
    if project["report"]:
        lines.append(f"  {meter.advice(project['meter'])}")
    lines += [f"  left to people: {n} x {why}" for why, n in project["left_to_people"].items()]
    if project["drift"]:
        lines.append(f"  a stage starts early: {project['drift']}")
    if project["stage"]:
        lines.append(f"  stage running: {project['stage']}")
    if project["last_card"]:
        lines.append(f"  last stage: {project['last_card']['reason']}")
    if compared := project["mended"]["at"]:
        told = mended.sentence(project["mended"]) or "nothing"
        lines.append(f"  compared with Label Studio at {_local(compared)}; mended so far: {told}")
    return lines


def _pause_lines(project: dict[str, Any]) -> list[str]:
    """Why nothing is asked at the moment, whoever decided that."""
    lines = []
    if project["held"]:
        lines.append(
            f"  asking is paused by a person since {_local(project['held'])}: "
            f"python -m backend review resume --project {project['id']}"
        )
    if project["paused"]:
        lines.append(f"  asking pauses for some minutes: {project['paused']}")
    return lines


def _asking_lines(project: dict[str, Any]) -> list[str]:
    """What the LLM may still be asked, and what asking it about everything would cost."""
    asking, waiting = project["asking"], project["waiting"]["to_review"]
    if asking is None:
        return []
    lines = []
    if saved := project["savings"]:
        lines.append(
            f"  LLM-only would take {saved['tasks']} questions and cost "
            f"{saved['usd_everything']:.4f} USD"
        )
    if waiting and asking["used_up"]:
        lines.append(
            f"  {waiting} hard samples wait for people: {asking['limit']} is used up "
            f"({asking['spent']} of {asking['budget']:.0f} questions)"
            + (f" until {asking['again']}" if asking["again"] else "")
        )
    elif waiting and not asking["calls"]:
        lines.append(
            f"  {waiting} hard samples wait until more tasks are seen ({asking['spent']} of "
            f"{asking['budget']:.0f} questions asked)"
        )
    return lines


def _tokens(tokens: dict[str, int]) -> str:
    share = tokens["cached"] / tokens["sent"]
    return (
        f"tokens: {tokens['sent']} sent, {share:.1%} of them read from the provider's cache, "
        f"{tokens['written']} written"
    )


def _bound(bound: dict[str, Any]) -> str:
    again = f", anew from {bound['again']}" if bound["again"] else ""
    return (
        f"{bound['setting']}: {bound['used']:.6g} of {bound['cap']:.6g} {bound['unit']} are spent "
        f"or reserved{again}"
    )


def _error_line(error: dict[str, Any]) -> str:
    at = _local(error["at"])
    project = f" project {error['project']}" if error["project"] else ""
    times = f" ({error['count']} times)" if error["count"] > 1 else ""
    return f"  {at} {error['where']}{project}: {error['message']}{times}"


def _local(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
