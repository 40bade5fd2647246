"""What can go wrong with a specialist, by what the caller can do about it.

SpecialistError
├── SpecialistUnavailable   fix the id, the network or the file, or leave the member out
├── RuntimeUnavailable      set RUNTIME to one that this machine has (runtime.py)
├── CannotExport            let torch run it (export.py)
├── NoIsolation             install bubblewrap: generated code runs in a sandbox or not at all
├── SandboxError            correct the code, or leave it (sandbox.py)
└── BatcherError            ask again, or for less (batcher.py)
"""

from __future__ import annotations


class SpecialistError(Exception):
    """Root of the errors that this package raises."""


class SpecialistUnavailable(SpecialistError):
    """One specialist cannot be used; the message is one sentence: which, why, what next."""

    def __init__(self, source: str, why: str, next_step: str) -> None:
        super().__init__(f"{source} is not available: {why}; {next_step}.")
        self.source = source
        self._told = (source, why, next_step)

    def __reduce__(self) -> tuple[type[SpecialistUnavailable], tuple[str, str, str]]:
        """Errors are pickled by the arguments of Exception; this one takes three of its own."""
        return type(self), self._told


class NoIsolation(SpecialistError):
    """Nothing here keeps generated code from this machine; the message says what to install."""

    def __init__(self, why: str) -> None:
        super().__init__(
            f"Generated code runs only in a sandbox, and none works here ({why}): "
            "apt-get install bubblewrap, or use Linux 5.13 or newer with Landlock and seccomp."
        )


class SandboxError(SpecialistError):
    """Generated code did not do what it should.

    The message is for whoever corrects the code and may hold the code's own words, and so what it
    was given to read; `kind` is ours, and may be logged.
    """

    def __init__(self, message: str, kind: str) -> None:
        super().__init__(message)
        self.kind = kind
