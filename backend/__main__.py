"""The command line: `python -m backend COMMAND`; each command has `--help`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import redis

from backend import __version__
from backend.errors import BackendError, LabelStudioError
from backend.logs import configure
from backend.settings import Settings, read_environment, table
from backend.wiring import Wiring
from meta_controller.errors import MetaControllerError
from specialists.errors import SpecialistError
from training.errors import TrainingError

Command = Callable[[Wiring, argparse.Namespace], int]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status (0 done, 1 failed, 2 wrong usage)."""
    arguments = _parser().parse_args(argv)
    try:
        settings = Settings.from_env(read_environment())
        command: Command = arguments.run
        # People read what commands say; what happens inside is for the logs of the processes.
        configure(settings.log_level if command is _worker else "WARNING")
        if command not in (_run, _down, _demo, _worker, _settings):
            from backend.demo.record import reach_demo

            settings = reach_demo(settings)
        return command(Wiring(settings), arguments)
    except LabelStudioError as error:
        from backend.connect import explain

        return _fail(explain(error))
    except (BackendError, MetaControllerError, SpecialistError, TrainingError) as error:
        return _fail(str(error))
    except redis.RedisError as error:
        return _fail(f"Redis does not answer ({type(error).__name__}): make run starts one.")
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of our output had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _fail(message: str) -> int:
    print(message, file=sys.stderr)
    return 1


def _say(line: str) -> None:
    print(line, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m backend",
        description="AutoAnnotator, an ML backend for Label Studio: a committee of small models "
        "labels text, an LLM reviews what they find hard, people's answers train them.",
        epilog="Settings come from the environment or a .env file: python -m backend settings",
    )
    parser.add_argument("--version", action="version", version=f"AutoAnnotator {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def add(name: str, run: Command, text: str) -> argparse.ArgumentParser:
        one = commands.add_parser(name, help=text, description=text)
        one.set_defaults(run=run)
        return one

    add("run", _run, "Start Redis, the web process and the workers for your Label Studio.")
    add("down", _down, "Stop what run or demo started.")
    demo = add("demo", _demo, "Start a Label Studio with two projects and show the whole loop.")
    demo.add_argument(
        "--annotate",
        type=_positive,
        metavar="N",
        help="answer N tasks of the running demo as an annotator, so a stage runs",
    )
    demo.add_argument(
        "--project",
        default="sentiment",
        choices=("sentiment", "toxicity"),
        help="the project to annotate (default: sentiment)",
    )
    one = add("connect", _connect, "Connect a Label Studio project: backend, webhook, predictions.")
    one.add_argument("--project", type=_positive, required=True, metavar="ID")
    one.add_argument(
        "--rule",
        default="",
        choices=("value", "paper"),
        help="decide this project by it (default: as before, at first DECISION_RULE)",
    )
    one = add("select", _select, "Choose a project's specialists by measuring candidates on it.")
    one.add_argument("--project", type=_positive, required=True, metavar="ID")
    one.add_argument("--k", type=_positive, default=3, help="members at most (default: 3)")
    one.add_argument("--yes", action="store_true", help="serve what is chosen without asking")
    one.add_argument("--offline", action="store_true", help="embedded and local models only")
    one.add_argument(
        "--from", dest="file", type=Path, metavar="FILE", help="serve the members of an edited file"
    )
    one = add(
        "prelabel",
        _prelabel,
        "Predict the tasks of a project that lack a prediction, on all push workers. Ctrl-C stops "
        "it; run again, it goes on.",
    )
    one.add_argument("--project", type=_positive, required=True, metavar="ID")
    one = add("status", _status, "Show projects, tags, pool, queues, workers, spend and errors.")
    one.add_argument("--json", action="store_true", help="print everything as JSON")
    one = add("estimate", _estimate, "Tell samples, tokens and money before the LLM is asked.")
    one.add_argument("--project", type=_positive, required=True, metavar="ID")
    one = add("ledger", _ledger, "Show what the LLM took and cost, by project and model.")
    one.add_argument("--project", type=_positive, metavar="ID", help="one project only")
    one.add_argument("--csv", action="store_true", help="print a line for each project and model")
    add("doctor", _doctor, "Test the set-up from both sides and print the fix for each problem.")
    one = add("train", _train, "Start a stage now, with what is in the pool.")
    one.add_argument("--project", type=_positive, required=True, metavar="ID")
    one.add_argument(
        "--cancel", action="store_true", help="call the running stage off; its verdicts stay"
    )
    one = add("stages", _stages, "Show the stages of a project, why each was promoted or refused.")
    one.add_argument("--project", type=_positive, required=True, metavar="ID")
    one.add_argument("--tag", metavar="TAG", help="show everything about one stage")
    one.add_argument(
        "--plots",
        type=Path,
        metavar="FOLDER",
        help="write accuracy, hard share and LLM spend by stage into it, as SVG",
    )
    one = add("rollback", _rollback, "Serve an earlier tag of a project again.")
    one.add_argument("--project", type=_positive, required=True, metavar="ID")
    one.add_argument("--to", metavar="TAG", help="a kept tag (default: the one before)")
    one = add(
        "codegen",
        _codegen,
        "Let the LLM write the code of a model that is no plain classifier; it is tested boxed in.",
    )
    one.add_argument("--project", type=_positive, required=True, metavar="ID")
    one.add_argument("--model", required=True, metavar="ID", help="a Hub id or a folder")
    one.add_argument("--control", default="", metavar="NAME", help="needed if there are several")
    one = add("approve", _approve, "Let code that codegen kept serve, after you read it.")
    one.add_argument("id", metavar="ID")
    one.add_argument("--by", default="", metavar="NAME", help="who approves (default: you)")
    one = add("worker", _worker, "Run one worker (for containers; run starts them all).")
    one.add_argument("kind", choices=("review", "push", "train"))
    one.add_argument("--burst", action="store_true", help="stop when its queue is empty")
    add("settings", _settings, "List every setting with its default and meaning.")
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is too small; give 1 or more")
    return value


def _run(wiring: Wiring, arguments: argparse.Namespace) -> int:
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
        _say(
            f"The backend runs at {settings.own_url}; logs are in {settings.data_dir}/logs.\n"
            "Connect a project: .venv/bin/python -m backend connect --project ID\n"
            "Check the set-up:  .venv/bin/python -m backend doctor\n"
            "Stop with Ctrl-C or make down."
        )
        supervisor.wait()
    finally:
        _say("Stopping ...")
        supervisor.stop()
    return 0


def _down(wiring: Wiring, arguments: argparse.Namespace) -> int:
    from backend import programs

    programs.down(wiring.settings.data_dir, _say)
    return 0


def _demo(wiring: Wiring, arguments: argparse.Namespace) -> int:
    from backend.demo.annotate import annotate
    from backend.demo.run import run

    if arguments.annotate:
        annotate(wiring.settings, arguments.annotate, arguments.project, _say)
    else:
        run(wiring.settings, read_environment(), _say)
    return 0


def _connect(wiring: Wiring, arguments: argparse.Namespace) -> int:
    from backend import embedded_redis
    from backend.connect import connect

    embedded_redis.check(wiring.redis, wiring.settings)
    connect(wiring, arguments.project, _say, arguments.rule)
    return 0


def _select(wiring: Wiring, arguments: argparse.Namespace) -> int:
    from backend import embedded_redis
    from backend.select import Wish, confirm, select

    embedded_redis.check(wiring.redis, wiring.settings)
    wish = Wish(arguments.k, arguments.yes, arguments.offline, arguments.file)
    return select(wiring, arguments.project, wish, _say, confirm)


def _prelabel(wiring: Wiring, arguments: argparse.Namespace) -> int:
    from backend import embedded_redis
    from backend.prelabel import prelabel
    from backend.progress_bar import ProgressBar

    embedded_redis.check(wiring.redis, wiring.settings)
    return prelabel(wiring, arguments.project, _say, ProgressBar(sys.stdout))


def _status(wiring: Wiring, arguments: argparse.Namespace) -> int:
    from backend import embedded_redis, status

    embedded_redis.check(wiring.redis, wiring.settings)
    found: dict[str, Any] = status.collect(wiring)
    _say(json.dumps(found, indent=2) if arguments.json else status.render(found))
    return 0


def _doctor(wiring: Wiring, arguments: argparse.Namespace) -> int:
    from backend import doctor

    findings = doctor.examine(wiring)
    _say(doctor.render(findings))
    return 1 if any(one.level == "fail" for one in findings) else 0


def _estimate(wiring: Wiring, arguments: argparse.Namespace) -> int:
    from backend import embedded_redis, estimate

    embedded_redis.check(wiring.redis, wiring.settings)
    project = wiring.projects.get(arguments.project)
    if project is None or not project.label_config:
        return _fail(f"Project {arguments.project} is unknown: connect it first.")
    _say(estimate.render(wiring, project, estimate.estimate(wiring, project)))
    return 0


def _ledger(wiring: Wiring, arguments: argparse.Namespace) -> int:
    from backend import embedded_redis, ledger_report

    embedded_redis.check(wiring.redis, wiring.settings)
    accounts = ledger_report.collect(wiring, arguments.project)
    if arguments.csv:
        ledger_report.write_csv(accounts, sys.stdout)
    else:
        _say(ledger_report.render(accounts))
    return 0


def _train(wiring: Wiring, arguments: argparse.Namespace) -> int:
    desk = wiring.projects.desk(arguments.project)
    if arguments.cancel:
        if not desk.stage().get("running"):
            return _fail(f"No stage of project {arguments.project} runs.")
        desk.set_stage(cancel=1, now=0)
        _say(f"The stage of project {arguments.project} ends at its next step; nothing is lost.")
        return 0
    desk.set_stage(now=1, cancel=0)
    wiring.queues.wake("train", arguments.project)
    waiting = wiring.pool(arguments.project).waiting()
    _say(f"A stage of project {arguments.project} starts with {waiting} verdicts in the pool.")
    return 0


def _stages(wiring: Wiring, arguments: argparse.Namespace) -> int:
    from backend import stages

    cards = wiring.promotions(arguments.project).history()
    if not cards:
        return _fail(f"Project {arguments.project} is unknown; python -m backend status lists all.")
    _say(stages.whole(cards, arguments.tag) if arguments.tag else stages.table(cards))
    if arguments.plots:
        written = stages.plot(cards, arguments.plots)
        _say("\n".join(map(str, written)) or "Nothing to plot: no stage was promoted yet.")
    return 0


def _rollback(wiring: Wiring, arguments: argparse.Namespace) -> int:
    from backend.jobs.push import show_tag

    project = wiring.projects.get(arguments.project)
    if project is None:
        return _fail(f"Project {arguments.project} is unknown; python -m backend status lists all.")
    tag = wiring.promotions(project.id).rollback(
        arguments.to, wiring.redis, wiring.settings.keep_tags
    )
    show_tag(wiring, project, tag)
    _say(f"Project {project.id} serves {tag} again; annotators see it from the next task on.")
    return 0


def _codegen(wiring: Wiring, arguments: argparse.Namespace) -> int:
    from backend import codegen, embedded_redis

    embedded_redis.check(wiring.redis, wiring.settings)
    codegen.generate(wiring, arguments.project, arguments.model, arguments.control, _say)
    return 0


def _approve(wiring: Wiring, arguments: argparse.Namespace) -> int:
    from backend.approval import approve

    approve(wiring.settings, arguments.id, arguments.by, _say)
    return 0


def _worker(wiring: Wiring, arguments: argparse.Namespace) -> int:
    from backend import worker

    os.environ.update(read_environment())  # jobs, and processes of the train worker, read it again
    worker.run(wiring, arguments.kind, burst=arguments.burst)
    return 0


def _settings(wiring: Wiring, arguments: argparse.Namespace) -> int:
    for name, default, meaning in table():
        _say(f"{name}={default}\n    {meaning}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
