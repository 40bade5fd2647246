"""What each command of the command line does; most of it is their own modules' work.

Each takes the wiring and the parsed arguments, and returns the exit status. A command imports what
it needs when it runs: `--help` loads little.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
from typing import Any

from backend.environment import read_environment
from backend.errors import BackendError
from backend.projects import Project
from backend.settings import file_note, table
from backend.wiring import Wiring


def fail(message: str) -> int:
    """Say on standard error why it ends."""
    print(message, file=sys.stderr)
    return 1


def say(line: str) -> None:
    """Print a line at once: a pipe may be read while the command runs."""
    print(line, flush=True)


def _connected(wiring: Wiring, project_id: int) -> Project:
    """The record of a project; raises BackendError for one that was never connected."""
    from backend import embedded_redis

    embedded_redis.check(wiring.redis, wiring.settings)
    project = wiring.projects.get(project_id)
    if project is None or not project.label_config:
        raise BackendError(f"Project {project_id} is unknown: connect it first.")
    return project


def run(wiring: Wiring, arguments: argparse.Namespace) -> int:
    from backend import programs
    from backend.supervisor import Supervisor

    settings = wiring.settings
    programs.prepare(settings, {"PORT": settings.port})
    supervisor = Supervisor(settings.data_dir)
    programs.stop_on_signals(supervisor)
    try:
        supervisor.start(programs.redis_program(settings))
        programs.wait_for_redis(settings, supervisor)
        supervisor.start(programs.backend_programs(settings, read_environment()))
        programs.wait_for_web(settings, supervisor)
        say(
            f"The backend runs at {settings.own_url}; logs are in {settings.data_dir}/logs.\n"
            "Connect a project: .venv/bin/python -m backend connect --project ID\n"
            "Check the set-up:  .venv/bin/python -m backend doctor\n"
            "Stop with Ctrl-C or make down."
        )
        supervisor.wait()
    finally:
        say("Stopping ...")
        supervisor.stop()
    return 0


def down(wiring: Wiring, arguments: argparse.Namespace) -> int:
    from backend import programs

    programs.down(wiring.settings.data_dir, say)
    return 0


def demo(wiring: Wiring, arguments: argparse.Namespace) -> int:
    from backend.demo.annotate import annotate
    from backend.demo.run import run

    if arguments.annotate:
        annotate(wiring.settings, arguments.annotate, arguments.project, say)
    else:
        run(wiring.settings, read_environment(), say)
    return 0


def connect(wiring: Wiring, arguments: argparse.Namespace) -> int:
    from backend import embedded_redis
    from backend.connect import connect

    embedded_redis.check(wiring.redis, wiring.settings)
    active = arguments.active_learning
    connect(wiring, arguments.project, say, arguments.rule, active_learning=active)
    return 0


def select(wiring: Wiring, arguments: argparse.Namespace) -> int:
    from backend import embedded_redis
    from backend.select import Wish, confirm, select

    embedded_redis.check(wiring.redis, wiring.settings)
    wish = Wish(arguments.k, arguments.yes, arguments.offline, arguments.file)
    return select(wiring, arguments.project, wish, say, confirm)


def prelabel(wiring: Wiring, arguments: argparse.Namespace) -> int:
    from backend import embedded_redis
    from backend.prelabel import prelabel
    from backend.progress_bar import ProgressBar

    embedded_redis.check(wiring.redis, wiring.settings)
    return prelabel(wiring, arguments.project, say, ProgressBar(sys.stdout))


def labels(wiring: Wiring, arguments: argparse.Namespace) -> int:
    from backend import labels

    project = _connected(wiring, arguments.project)
    if arguments.rename:
        old, new = arguments.rename
        labels.rename(wiring, project, old, new, say)
    else:
        labels.show(wiring, project, say)
    return 0


def people(wiring: Wiring, arguments: argparse.Namespace) -> int:
    from backend import people

    _connected(wiring, arguments.project)
    rows = people.collect(wiring, arguments.project)
    say(json.dumps(rows, indent=2) if arguments.json else people.render(rows, people.names(wiring)))
    return 0


def conflicts(wiring: Wiring, arguments: argparse.Namespace) -> int:
    from backend import conflict_tab, conflicts, suggestions

    project = _connected(wiring, arguments.project)
    found = conflicts.collect(wiring, project)
    gaps = conflicts.gaps(found)
    if arguments.suggest:
        suggestions.ask(wiring, project, gaps, say)
    say(conflicts.render(gaps, suggestions.read(wiring, project.id), arguments.texts))
    if wiring.has_label_studio:
        listed = conflict_tab.make(wiring, project, found)
        say(f'The tab "{conflict_tab.TITLE}" in the Data Manager lists {listed} tasks.')
    return 0


def project(wiring: Wiring, arguments: argparse.Namespace) -> int:
    from backend import project_settings
    from backend.jobs.reconcile import done_key

    _connected(wiring, arguments.project)
    if arguments.action == "set":
        project_settings.change(wiring.redis, arguments.project, dict(arguments.values))
        wiring.redis.delete(done_key(arguments.project))  # which takes over the guideline
    for line in project_settings.lines(wiring.redis, arguments.project, wiring.settings):
        say(line)
    return 0


def writes(wiring: Wiring, arguments: argparse.Namespace) -> int:
    from backend import embedded_redis
    from backend.writes import SHOWN, line

    embedded_redis.check(wiring.redis, wiring.settings)
    found = wiring.writes.last(arguments.project)
    if arguments.json:
        say(json.dumps(found, indent=2))
        return 0
    for one in found:
        say(line(one))
    say(f"The last {SHOWN} at most." if found else "Nothing was written yet.")
    return 0


def status(wiring: Wiring, arguments: argparse.Namespace) -> int:
    from backend import embedded_redis, status

    embedded_redis.check(wiring.redis, wiring.settings)
    found: dict[str, Any] = status.collect(wiring)
    say(json.dumps(found, indent=2) if arguments.json else status.render(found))
    return 0


def doctor(wiring: Wiring, arguments: argparse.Namespace) -> int:
    from backend import doctor

    findings = doctor.examine(wiring)
    say(doctor.render(findings))
    return 1 if any(one.level == "fail" for one in findings) else 0


def estimate(wiring: Wiring, arguments: argparse.Namespace) -> int:
    from backend import estimate

    project = _connected(wiring, arguments.project)
    say(estimate.render(wiring, project, estimate.estimate(wiring, project)))
    return 0


def ledger(wiring: Wiring, arguments: argparse.Namespace) -> int:
    from backend import embedded_redis, ledger_report

    embedded_redis.check(wiring.redis, wiring.settings)
    accounts = ledger_report.collect(wiring, arguments.project)
    if arguments.csv:
        ledger_report.write_csv(accounts, sys.stdout)
    else:
        say(ledger_report.render(accounts))
    return 0


def train(wiring: Wiring, arguments: argparse.Namespace) -> int:
    from backend import actions

    desk = wiring.projects.desk(arguments.project)
    if arguments.cancel:
        if not desk.stage().get("running"):
            return fail(f"No stage of project {arguments.project} runs.")
        desk.set_stage(cancel=1, now=0)
        say(f"The stage of project {arguments.project} ends at its next step; nothing is lost.")
        return 0
    say(actions.train_now(wiring, arguments.project))
    return 0


def review(wiring: Wiring, arguments: argparse.Namespace) -> int:
    from backend import actions

    project = _connected(wiring, arguments.project)
    act = actions.pause_review if arguments.action == "pause" else actions.resume_review
    say(act(wiring, project.id))
    return 0


def stages(wiring: Wiring, arguments: argparse.Namespace) -> int:
    from backend import stages

    cards = wiring.promotions(arguments.project).history()
    if not cards:
        return fail(f"Project {arguments.project} is unknown; python -m backend status lists all.")
    say(stages.whole(cards, arguments.tag) if arguments.tag else stages.table(cards))
    selected = wiring.selections(arguments.project).table(arguments.tag or "")
    if selected:
        say("Selected from (in the form of select --from):")
        say(json.dumps({"project": arguments.project, "controls": selected}, indent=2))
    if arguments.plots:
        written = stages.plot(cards, arguments.plots)
        say("\n".join(map(str, written)) or "Nothing to plot: no stage was promoted yet.")
    return 0


def meter(wiring: Wiring, arguments: argparse.Namespace) -> int:
    from backend import embedded_redis, meter

    embedded_redis.check(wiring.redis, wiring.settings)
    if wiring.projects.get(arguments.project) is None:
        return fail(f"Project {arguments.project} is unknown; python -m backend status lists all.")
    found = meter.collect(wiring, arguments.project)
    say(json.dumps(found, indent=2) if arguments.json else meter.render(found))
    return 0


def rollback(wiring: Wiring, arguments: argparse.Namespace) -> int:
    from backend import actions

    say(actions.roll_back(wiring, actions.known(wiring, arguments.project), arguments.to))
    return 0


def backup(wiring: Wiring, arguments: argparse.Namespace) -> int:
    from backend import embedded_redis
    from backend.backup import backup

    with embedded_redis.running(wiring.settings):
        return backup(wiring, arguments.to, arguments.evidence, say)


def restore(wiring: Wiring, arguments: argparse.Namespace) -> int:
    from backend.restore import restore

    return restore(wiring, arguments.source, arguments.replace, say)


def codegen(wiring: Wiring, arguments: argparse.Namespace) -> int:
    from backend import codegen, embedded_redis

    embedded_redis.check(wiring.redis, wiring.settings)
    codegen.generate(wiring, arguments.project, arguments.model, arguments.control, say)
    return 0


def approve(wiring: Wiring, arguments: argparse.Namespace) -> int:
    from backend.approval import approve

    approve(wiring.settings, arguments.id, arguments.by, say)
    return 0


def worker(wiring: Wiring, arguments: argparse.Namespace) -> int:
    from backend import worker

    if arguments.kind == "push":
        _ = wiring.models  # what runs them will be imported anyway, and should be frozen too
    # Imported libraries stay for good; a collection that looks at them takes as long as all that
    # was decided since the last one.
    gc.freeze()
    worker.run(wiring, arguments.kind, burst=arguments.burst)
    return 0


def settings(wiring: Wiring, arguments: argparse.Namespace) -> int:
    for name, default, meaning in table():
        say(f"{name}={default}\n    {meaning}")
    say(file_note())
    return 0
