"""The sandbox: the one way in which code that nobody wrote by hand is run.

Three layers. A check of the syntax tree (`syntax_check.py`). A process of its own with hard limits
on memory, CPU time, files and answers, an empty environment, no network, no second process or
thread, and the model's and Python's files to read and nothing else (`isolation.py`,
`lockdown.py`); where that cannot be had, nothing runs. A side out here that waits no longer than
it said and believes nothing unchecked (`sandbox_process.py`). `contract.py` tests what the code
answers.

Covered: other files, the environment, network and sockets, other processes, this process and its
descriptors, pickles, floods, and use without end of memory, CPU time, disk, processes and time.
Not covered: answers that are wrong on purpose (the contract test, agreement and the gate look at
those; people approve the code); what the code learns from the texts that it is given, as it has
nowhere to take it; bugs of the kernel; side channels of the CPU; reading the installed packages;
a GPU, which it never gets. With Landlock instead of bubblewrap it can also see that files exist
(not what is in them), the machine's name and its own process number.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

from specialists.errors import SandboxError
from specialists.isolation import find
from specialists.sandbox_process import FORM, Answers, Limits, SandboxProcess
from specialists.syntax_check import ALLOWED_IMPORTS, check

_MAX_FAILURES = 3  # in a row; then the code is at fault and not chance


class Sandbox:
    """Runs one module beside one model's files; safe for several threads, which take turns.

    Its process starts at the first question, and again after it died.
    """

    def __init__(self, code: str, model_dir: Path, limits: Limits | None = None) -> None:
        """Look at the code, and start nothing yet.

        Raises NoIsolation, and SandboxError with all that the syntax check found.
        """
        problems = check(code)
        if problems:
            raise SandboxError("\n".join(problems), "the syntax check refuses it")
        self._code = code
        self._model_dir = model_dir
        self._kind = find()
        self._limits = limits or _fitting(model_dir)
        self._lock = threading.Lock()
        self._process: SandboxProcess | None = None
        self._failures = 0

    def annotate(self, texts: Sequence[str]) -> Answers:
        """What the module answers, one a text; raises SandboxError.

        After so many failures in a row that it is no chance, it fails at once.
        """
        with self._lock:
            if self._failures >= _MAX_FAILURES:
                why = f"it failed {_MAX_FAILURES} times in a row and is left alone"
                raise SandboxError(why, why)
            try:
                if self._process is None:
                    self._process = SandboxProcess(
                        self._code, self._model_dir, self._kind, self._limits
                    )
                answers = self._process.annotate(texts)
            except SandboxError:
                self._failures += 1
                if self._process is not None and not self._process.alive:
                    self._process = None
                raise
            self._failures = 0
            return answers

    def close(self) -> None:
        """Kill the process; the next question starts another one."""
        with self._lock:
            if self._process:
                self._process.close()
                self._process = None


def _fitting(model_dir: Path) -> Limits:
    """Room for the libraries, and for a model that is read, converted and run."""
    weights = sum(path.stat().st_size for path in model_dir.glob("*.safetensors"))
    return Limits(memory_bytes=3_000_000_000 + 3 * weights)


__all__ = ["ALLOWED_IMPORTS", "FORM", "Answers", "Limits", "Sandbox"]
