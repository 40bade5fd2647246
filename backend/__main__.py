"""The command line: `python -m backend COMMAND`; each command has `--help`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import redis

from backend import __version__, commands
from backend.environment import read_environment
from backend.errors import BackendError, LabelStudioError
from backend.logs import configure
from backend.settings import Settings
from backend.wiring import Wiring
from meta_controller.errors import MetaControllerError
from specialists.errors import SpecialistError
from training.errors import TrainingError

Command = Callable[[Wiring, argparse.Namespace], int]
Add = Callable[[str, Command, str], argparse.ArgumentParser]

_PROJECT = "its number in Label Studio, as in the address /projects/ID"
# All others speak to the demo where one runs and no other Label Studio is named.
_OF_NO_DEMO = (
    *(commands.run, commands.down, commands.demo, commands.worker, commands.settings),
    *(commands.backup, commands.restore),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status (0 done, 1 failed, 2 wrong usage)."""
    arguments = _parser().parse_args(argv)
    try:
        environ = read_environment()
        os.environ.update(environ)  # libraries, jobs and processes of the train worker read it, too
        settings = Settings.from_env(environ)
        command: Command = arguments.run
        # People read what commands say; what happens inside is for the logs of the processes.
        if command is commands.worker:
            configure(settings.log_level, settings.log_format)
        else:
            configure("WARNING")
        if command not in _OF_NO_DEMO:
            from backend.demo.record import reach_demo

            settings = reach_demo(settings)
        wiring = Wiring(settings)
        if isinstance(project := getattr(arguments, "project", None), int):
            wiring.writes.because(project, f"somebody ran python -m backend {arguments.command}")
        return command(wiring, arguments)
    except LabelStudioError as error:
        from backend.connect import explain

        return commands.fail(explain(error))
    except (BackendError, MetaControllerError, SpecialistError, TrainingError) as error:
        return commands.fail(str(error))
    except redis.RedisError as error:
        return commands.fail(
            f"Redis does not answer ({type(error).__name__}): make run starts one."
        )
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of our output had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m backend",
        description="AutoAnnotator, an ML backend for Label Studio: a committee of small models "
        "labels text, an LLM reviews what they find hard, people's answers train them.",
        epilog="Settings come from the environment or a .env file: python -m backend settings",
    )
    parser.add_argument("--version", action="version", version=f"AutoAnnotator {__version__}")
    parsers = parser.add_subparsers(
        title="commands", required=True, metavar="COMMAND", dest="command"
    )

    def add(name: str, run: Command, text: str) -> argparse.ArgumentParser:
        one = parsers.add_parser(name, help=text, description=text)
        one.set_defaults(run=run)
        return one

    for group in (_processes, _projects, _specialists, _stages, _llm, _backups):
        group(add)
    return parser


def _processes(add: Add) -> None:
    add("run", commands.run, "Start Redis, the web process and the workers for your Label Studio.")
    add("down", commands.down, "Stop what run or demo started with this DATA_DIR.")
    demo = add(
        "demo",
        commands.demo,
        "Start a Label Studio of its own with two projects; show the whole loop.",
    )
    demo.add_argument(
        "--annotate",
        type=_positive,
        metavar="N",
        help="in a second terminal: answer N tasks of the running demo as an annotator, wait for"
        " the stage, and print the accuracy before and after",
    )
    demo.add_argument(
        "--project",
        default="sentiment",
        choices=("sentiment", "toxicity"),
        help="the project to annotate (default: sentiment)",
    )
    one = add("worker", commands.worker, "Run one worker (for containers; run starts them all).")
    one.add_argument(
        "kind",
        choices=("review", "push", "train"),
        help="review asks the LLM and keeps time, push predicts and writes, train runs stages",
    )
    one.add_argument("--burst", action="store_true", help="stop when its queue is empty")
    add("settings", commands.settings, "List every setting with its default and meaning.")


def _projects(add: Add) -> None:
    one = add(
        "connect",
        commands.connect,
        "Connect a Label Studio project: backend, webhook, predictions. Run again, it mends them.",
    )
    _of_project(one)
    one.add_argument(
        "--rule",
        default="",
        choices=("value", "paper"),
        help="how this project is decided (default: as it was; at first DECISION_RULE)",
    )
    one.add_argument(
        "--active-learning",
        action="store_true",
        help="give annotators the tasks first whose answers teach most",
    )
    one = add(
        "prelabel",
        commands.prelabel,
        "Predict the tasks of a project that lack a prediction, on all push workers. Ctrl-C stops "
        "it; run again, it goes on.",
    )
    _of_project(one)
    one = add(
        "labels",
        commands.labels,
        "Show a project's labels and the verdicts set aside after they changed; rename a label.",
    )
    _of_project(one)
    one.add_argument(
        "--rename",
        type=_renaming,
        metavar="OLD=NEW",
        help="the label OLD is called NEW now: verdicts that say OLD say NEW",
    )
    one = add(
        "people", commands.people, "Show how reliable each annotator of a project is, and why."
    )
    _of_project(one)
    one.add_argument("--json", action="store_true", help="print everything as JSON")
    one = add(
        "conflicts",
        commands.conflicts,
        "List where people, the LLM and the committee disagree, by confused labels; the tab "
        '"Conflicts (AutoAnnotator)" of the Data Manager gets those tasks.',
    )
    _of_project(one)
    one.add_argument("--texts", action="store_true", help="print the texts of the examples too")
    one.add_argument(
        "--suggest",
        action="store_true",
        help="ask the LLM for the sentence that the guideline lacks (costs a call)",
    )
    one = add(
        "writes", commands.writes, "List what was written to Label Studio in a project, and why."
    )
    _of_project(one)
    one.add_argument("--json", action="store_true", help="print them as JSON")
    one = add("project", commands.project, "Show or change the settings of one project.")
    actions = one.add_subparsers(dest="action", required=True, metavar="show|set")
    shows, changes = "Show them and where each comes from.", "Change some of them."
    show = actions.add_parser("show", help=shows, description=shows)
    change = actions.add_parser("set", help=changes, description=changes)
    for action in (show, change):
        _of_project(action)
    change.add_argument(
        "values",
        nargs="+",
        type=_assignment,
        metavar="NAME=VALUE",
        help="stage_size, budget (USD), target_error or guidelines; NAME= takes it back",
    )
    one = add(
        "status",
        commands.status,
        "Show projects, tags, pool, queues, workers, spend and the last errors.",
    )
    one.add_argument("--json", action="store_true", help="print everything as JSON")
    add(
        "doctor",
        commands.doctor,
        "Test the set-up from both sides and print the fix for each problem; exit status 1 if any.",
    )


def _specialists(add: Add) -> None:
    one = add(
        "select", commands.select, "Choose a project's specialists by measuring candidates on it."
    )
    _of_project(one)
    one.add_argument(
        "--k", type=_positive, default=3, help="members at most in its committee (default: 3)"
    )
    one.add_argument("--yes", action="store_true", help="serve what is chosen without asking")
    one.add_argument(
        "--offline", action="store_true", help="without the Hub: embedded and local models only"
    )
    one.add_argument(
        "--from",
        dest="file",
        type=Path,
        metavar="FILE",
        help="serve the members of a table that you edited",
    )
    one = add(
        "codegen",
        commands.codegen,
        "Let the LLM write the code of a model that is no plain classifier; it runs in a sandbox.",
    )
    _of_project(one)
    one.add_argument("--model", required=True, metavar="ID", help="a Hub id or a folder")
    one.add_argument(
        "--control",
        default="",
        metavar="NAME",
        help="the control to answer; needed if there are several",
    )
    one = add("approve", commands.approve, "Let code that codegen kept serve, after you read it.")
    one.add_argument("id", metavar="ID", help="as codegen printed it")
    one.add_argument(
        "--by", default="", metavar="NAME", help="who approves (default: your user name)"
    )


def _stages(add: Add) -> None:
    one = add("train", commands.train, "Start a stage now, with the verdicts that are in the pool.")
    _of_project(one)
    one.add_argument(
        "--cancel",
        action="store_true",
        help="call the running stage off; its verdicts stay in the pool",
    )
    one = add(
        "stages", commands.stages, "Show the stages of a project, why each was promoted or refused."
    )
    _of_project(one)
    one.add_argument(
        "--tag", metavar="TAG", help="show everything about the stage that made this tag"
    )
    one.add_argument(
        "--plots",
        type=Path,
        metavar="FOLDER",
        help="write accuracy, hard share and LLM spend by stage into it, as SVG",
    )
    one = add(
        "meter",
        commands.meter,
        "Tell by stage how many tasks still need an LLM or a person, and whether it is enough.",
    )
    _of_project(one)
    one.add_argument("--json", action="store_true", help="print it as JSON")
    one = add("rollback", commands.rollback, "Serve an earlier tag of a project again.")
    _of_project(one)
    one.add_argument("--to", metavar="TAG", help="a kept tag (default: the one before)")


def _llm(add: Add) -> None:
    one = add("review", commands.review, "Pause asking the LLM about a project, or go on.")
    actions = one.add_subparsers(dest="action", required=True, metavar="pause|resume")
    for name in ("pause", "resume"):
        _of_project(actions.add_parser(name))
    one = add(
        "estimate", commands.estimate, "Tell texts, tokens and money before the LLM is asked."
    )
    _of_project(one)
    one = add("ledger", commands.ledger, "Show what the LLM took and cost, by project and model.")
    one.add_argument("--project", type=_positive, metavar="ID", help="this project only")
    one.add_argument(
        "--csv", action="store_true", help="print CSV, one line for each project and model"
    )


def _backups(add: Add) -> None:
    one = add("backup", commands.backup, "Copy all that was learned into a folder or a bucket.")
    one.add_argument(
        "--to", required=True, metavar="FOLDER_OR_URL", help="a folder, or such as s3://bucket/x"
    )
    one.add_argument(
        "--evidence",
        action="store_true",
        help="with the votes on every task; they can be computed again",
    )
    one = add("restore", commands.restore, "Bring a backup back; the backend must be stopped.")
    one.add_argument(
        "--from",
        dest="source",
        required=True,
        metavar="FOLDER_OR_URL",
        help="what backup printed",
    )
    one.add_argument(
        "--replace", action="store_true", help="remove what Redis holds of ours, if anything"
    )


def _of_project(one: argparse.ArgumentParser) -> None:
    one.add_argument("--project", type=_positive, required=True, metavar="ID", help=_PROJECT)


def _renaming(text: str) -> tuple[str, str]:
    old, equals, new = text.partition("=")
    if not (old and equals and new):
        raise argparse.ArgumentTypeError(f"{text!r} is no renaming; give OLD=NEW")
    return old, new


def _assignment(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"{text!r} sets nothing; give NAME=VALUE")
    return name, value


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is too small; give 1 or more")
    return value


if __name__ == "__main__":
    sys.exit(main())
