"""`docs/reference.md`: every command and every setting, written from the code that reads them.

Knows argparse and the settings' table, not what a command does. `make reference` runs it.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence

from backend.settings import file_note, table

_HEAD = """# Reference

Written by `make reference` from the code; a test says that it is up to date. Change help texts in
`backend/__main__.py` and meanings in `backend/settings.py`, not here."""

_COMMANDS = """## Commands

`.venv/bin/python -m backend COMMAND`; each command has `--help`. The exit status is 0 when it was
done, 1 when it failed (the reason stands on standard error), 2 when it was called wrongly."""

_SETTINGS = """## Settings

All settings are environment variables; a file `.env` in the working folder fills in what the
environment leaves out. An empty value is the default. `python -m backend settings` prints them."""


def reference(parser: argparse.ArgumentParser) -> str:
    """The whole page in Markdown, with the commands of `parser`."""
    commands = list(_subcommands(parser))
    parts = [
        _HEAD,
        _COMMANDS,
        _rows(("command", "what it does"), [(_link(name), text) for name, text, _ in commands]),
        *(part for name, text, one in commands for part in _command(name, text, one)),
        _SETTINGS,
        file_note(),
        settings_table(),
    ]
    return "\n\n".join(parts) + "\n"


def settings_table() -> str:
    """All settings as a Markdown table."""
    rows = [(_code(name), _code(default), meaning) for name, default, meaning in table()]
    return _rows(("variable", "default", "meaning"), rows)


def _command(name: str, text: str, parser: argparse.ArgumentParser) -> Iterator[str]:
    """A heading, what it does, how it is called, and its arguments; then those of its own."""
    yield f"### {name}"
    yield text
    inner = list(_subcommands(parser))
    if inner:
        for action, told, one in inner:
            yield from _called(f"{name} {action}", one)
            yield told
        return
    yield from _called(name, parser)


def _called(name: str, parser: argparse.ArgumentParser) -> Iterator[str]:
    arguments = [one for one in parser._actions if one.dest != "help"]
    call = " ".join(["python -m backend", name, *map(_usage, arguments)])
    yield f"```text\n{call}\n```"
    if arguments:
        rows = [(_code(_form(one)), str(one.help or "")) for one in arguments]
        yield _rows(("argument", "meaning"), rows)


def _subcommands(
    parser: argparse.ArgumentParser,
) -> Iterator[tuple[str, str, argparse.ArgumentParser]]:
    """Name, what it does and parser of each, in the order of `--help`."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for one in action._choices_actions:
                yield one.dest, str(one.help), action.choices[one.dest]


def _usage(argument: argparse.Action) -> str:
    """An argument as it stands in a call."""
    form = _form(argument)
    return form if argument.required else f"[{form}]"


def _form(argument: argparse.Action) -> str:
    """An option with its value, or the value alone."""
    name = argument.option_strings[0] if argument.option_strings else ""
    if argument.nargs == 0:
        return name
    value = "|".join(argument.choices) if argument.choices else str(argument.metavar)
    return f"{name} {value}".strip() + (" ..." if argument.nargs == "+" else "")


def _link(name: str) -> str:
    return f"[`{name}`](#{name})"


def _code(text: str) -> str:
    escaped = text.replace("|", "\\|")
    return f"`{escaped}`" if text else ""


def _rows(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [f"| {' | '.join(line)} |" for line in (head, *rows)]
    return "\n".join([lines[0], "|---" * len(head) + "|", *lines[1:]])


if __name__ == "__main__":
    from backend.__main__ import _parser

    print(reference(_parser()), end="")
