"""Fine-tuning in a process of its own: members that train at once, or with bounded memory.

Seeds, default types and the opening of models are process-wide in torch and transformers, so each
member gets a process; what it tells of itself comes over a pipe. When the parent dies the pipe
breaks and the child ends at its next step.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

from specialists.errors import SpecialistUnavailable
from specialists.types import LabelSet, SpecialistRef
from training import fine_tune as here
from training.errors import OutOfMemory, TrainingError
from training.fine_tune import Example
from training.memory import bound
from training.params import FineTuneParams
from training.shortages import shortage

_Arguments = tuple[SpecialistRef, LabelSet, Path | None, Sequence[Example], Path, FineTuneParams]

_ENDED = None
_FORGIVEN_S = 5.0


def fine_tune(
    ref: SpecialistRef,
    labels: LabelSet,
    folder: Path | None,
    examples: Sequence[Example],
    out: Path,
    params: FineTuneParams,
    progress: Callable[[float, float], None],
    tuning: Sequence[Example] = (),
    converted: Path | None = None,
) -> None:
    """Do what `training.fine_tune.fine_tune` does, elsewhere; may be called from several threads.

    Raises SpecialistUnavailable as that does, OutOfMemory also when the process was killed (the
    kernel does that when memory runs out), DiskFull, and TrainingError when it failed otherwise.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    arguments = (ref, labels, folder, list(examples), out, params)
    child = context.Process(target=_child, args=(theirs, arguments, tuning, converted))
    child.start()
    theirs.close()
    try:
        _listen(ours, progress)
        child.join()
    finally:
        if child.is_alive():  # progress raised: the stage is over
            child.terminate()
            child.join(_FORGIVEN_S)
        ours.close()
    if child.exitcode and child.exitcode < 0:
        raise OutOfMemory(
            f"{ref.name}: the process that trained it on {params.device} was ended by signal "
            f"{-child.exitcode}, as the kernel does when memory runs out."
        )
    if child.exitcode:
        raise TrainingError(
            f"{ref.name}: the process that trained it on {params.device} ended with "
            f"{child.exitcode}; its log tells why. The stage is tried again."
        )


def _listen(ours: Connection, progress: Callable[[float, float], None]) -> None:
    """Pass on what the child tells, until it ended or died; raises what it says it could not."""
    while True:
        try:
            said = ours.recv()
        except EOFError:
            return
        if isinstance(said, Exception):
            raise said
        if said is _ENDED:
            return
        progress(*said)


def _child(
    theirs: Connection, arguments: _Arguments, tuning: Sequence[Example], converted: Path | None
) -> None:
    """Fine-tune and tell; whatever else goes wrong ends the process, its traceback in the log."""
    params = arguments[-1]
    try:
        bound(params.device, params.memory_mb)
        here.fine_tune(*arguments, lambda *told: theirs.send(told), tuning, converted)
    except SpecialistUnavailable as error:
        theirs.send(error)
    except Exception as error:
        if (found := shortage(error)) is None:
            raise
        theirs.send(found)
    else:
        theirs.send(_ENDED)
    finally:
        theirs.close()
