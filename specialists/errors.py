"""What can go wrong with a specialist, by what the caller can do about it.

SpecialistError
├── SpecialistUnavailable   fix the id, the network or the file, or leave the member out
├── RuntimeUnavailable      set RUNTIME to one that this machine has (runtime.py)
├── CannotExport            let torch run it (export.py)
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
