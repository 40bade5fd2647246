"""What runs inside the sandbox: one module, asked over a socket until that is closed.

The first message says how to lock this process down; only then is the code compiled. Standard
library only. After that the code shares this interpreter and may do with it what it likes: nobody
outside believes what comes out of it before checking it (`sandbox_process.py`).

A message is its length in four bytes and JSON: first {"isolation", "readable", "limits", "code",
"model_dir"}, then {"texts"}; the answers are {"loaded"}, {"answers"} or {"error"}.
"""

from __future__ import annotations

import json
import linecache
import os
import struct
import tempfile
import traceback
from collections.abc import Callable
from typing import Any

from specialists import lockdown

LENGTH = struct.Struct(">I")
MODULE = "module.py"
_ERROR_CHARS = 4000


def main() -> None:
    """Serve the socket that is standard input."""
    channel = os.dup(0)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for taken in (0, 1, 2):  # what the code prints, or asks for, goes nowhere
        os.dup2(nowhere, taken)
    os.close(nowhere)
    tempfile.tempdir = "/tmp"  # torch asks for its name; Landlock leaves no place to try
    order = _receive(channel)
    module: dict[str, Any] = {}

    def load() -> dict[str, Any]:
        _lock_down(order)
        module["annotate"], module["model"] = _load(order["code"], order["model_dir"])
        return {"loaded": True}

    _send(channel, _told(load))
    while True:
        texts = _receive(channel)["texts"]

        def annotate(texts: list[str] = texts) -> dict[str, Any]:
            return {"answers": _plain(module["annotate"](module["model"], texts))}

        _send(channel, _told(annotate))


def _lock_down(order: dict[str, Any]) -> None:
    lockdown.die_with_parent()
    lockdown.set_limits(order["limits"])
    lockdown.drop_privileges()
    contained = order["isolation"] == "bubblewrap"  # else nothing bounds what is written
    if not contained:
        lockdown.hide_files(order["readable"], listed=order["model_dir"])
    lockdown.filter_calls(writable=contained)


def _load(code: str, model_dir: str) -> tuple[Callable[[Any, list[str]], Any], Any]:
    linecache.cache[MODULE] = (len(code), None, code.splitlines(True), MODULE)
    names: dict[str, Any] = {"__name__": "module"}
    exec(compile(code, MODULE, "exec"), names)
    return names["annotate"], names["load"](model_dir)


def _plain(answers: Any) -> list[dict[str, float]]:
    """Names and numbers only, whatever the code made them of."""
    return [{str(label): float(one) for label, one in row.items()} for row in answers]


def _told(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return work()
    except BaseException as error:  # also SystemExit: the code is not to end this loop quietly
        text = "".join(traceback.format_exception(error)[-12:])
        return {"error": text[-_ERROR_CHARS:]}


def _receive(channel: int) -> Any:
    (length,) = LENGTH.unpack(_read(channel, LENGTH.size))
    return json.loads(_read(channel, length))


def _read(channel: int, length: int) -> bytes:
    """Exactly so many bytes; ends the process when the other side is gone."""
    parts = []
    while length:
        part = os.read(channel, min(length, 1 << 20))
        if not part:
            os._exit(0)
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


def _send(channel: int, message: dict[str, Any]) -> None:
    raw = json.dumps(message).encode()
    raw = LENGTH.pack(len(raw)) + raw
    while raw:
        raw = raw[os.write(channel, raw) :]
