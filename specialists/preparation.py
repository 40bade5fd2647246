"""The fastest runtime that says what fp32 says: found once a model, its files kept.

A folder holds `runtime.json` (what was tried) and a folder of files for each runtime that passed
and needs some. Machines that share it and offer different runtimes add to it what they lack. It
does not know where the folder lies, nor what the model is for.
"""

from __future__ import annotations

import fcntl
import json
import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from specialists import parity
from specialists.batching import batch_tokens, batches
from specialists.encoder import Encoder
from specialists.evidence import Floats
from specialists.export import export_onnx
from specialists.runtime import REFERENCE, Ints, Runtime
from specialists.runtime_torch import TorchRuntime

_log = logging.getLogger(__name__)

TRIALS = "runtime.json"
_FORMAT = 1  # raise it when files are made in another way: then everything is tried again

Batch = tuple[list[int], Ints, Ints]  # rows, and their padded ids and mask


@dataclass(frozen=True)
class Trial:
    """How one runtime compared with fp32 over `texts` texts; `why` tells what failed."""

    runtime: str
    texts: int
    agreement: float
    difference: float
    passed: bool
    why: str = ""


@dataclass(frozen=True)
class Prepared:
    """The chosen runtime, and all that was tried."""

    name: str
    tried: tuple[Trial, ...]


def prepare(
    model: Any,
    encoder: Encoder,
    encoded: Sequence[Sequence[int]],
    folder: Path,
    names: Sequence[str],
    *,
    device: str = "cpu",
) -> Prepared:
    """Find the first of `names` that answers as fp32 does, and keep its files.

    `model` is in fp32; `encoded` are token ids of windows of real texts, at least one. The
    reference passes untried, and stands where `names` has none that does. Processes that prepare
    one folder at once wait for the first.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        tried = _read(folder)
        if _choice(tried, names) is None:
            trials = _Trials(model, encoder, encoded, folder, device)
            known = {trial.runtime for trial in tried}
            for name in (one for one in names if one not in known):
                tried.append(trials.run(name))
                if tried[-1].passed:
                    break
            _write(folder, tried)
    return Prepared(_choice(tried, names) or REFERENCE, tuple(tried))


def prepared(folder: Path, names: Sequence[str]) -> str | None:
    """The first of `names` that passed; None when a trial that decides it is still to be made."""
    return _choice(_read(folder), names)


def open_prepared(
    folder: Path, name: str, model_factory: Callable[[], Any], device: str = "cpu"
) -> Runtime | None:
    """Open the runtime that `prepared` named; None when its files cannot be read.

    They are forgotten then, and can be prepared again. `model_factory` gives the fp32 model, and
    is called for torch only.
    """
    try:
        return open_files(name, folder / name, model_factory, device)
    except Exception as error:  # each program raises its own for files that it cannot read
        _log.warning("%s: its files cannot be opened (%s), prepare again", name, _summary(error))
        with _alone(folder):
            _write(folder, [trial for trial in _read(folder) if trial.runtime != name])
        return None


class _Trials:
    """One model's candidates, made and compared one after the other."""

    def __init__(
        self,
        model: Any,
        encoder: Encoder,
        encoded: Sequence[Sequence[int]],
        folder: Path,
        device: str,
    ) -> None:
        self._model = model
        self._sigmoid = model.config.problem_type == "multi_label_classification"
        self._folder = folder
        self._device = device
        self._texts = len(encoded)
        self._batches: list[Batch] = [
            (rows, *encoder.pad([encoded[row] for row in rows]))
            for rows in batches(encoded, batch_tokens(device))
        ]
        self._wanted = self._logits(TorchRuntime(model, "fp32", device))

    def run(self, name: str) -> Trial:
        """Make a runtime's files, compare it, and keep the files if it passes."""
        if name == REFERENCE:
            return Trial(name, self._texts, 1.0, 0.0, True)
        with TemporaryDirectory(dir=self._folder) as aside:
            files = Path(aside) / name
            try:
                make_files(name, self._model, files)
                runtime = open_files(name, files, lambda: self._model, self._device)
                found = parity.compare(self._wanted, self._logits(runtime), sigmoid=self._sigmoid)
            except Exception as error:  # whatever fails, another runtime can still serve
                _log.warning("%s: passed over: %s", name, _summary(error))
                return Trial(name, self._texts, 0.0, 1.0, False, _summary(error))
            if found.passed and files.exists():
                shutil.rmtree(self._folder / name, ignore_errors=True)
                files.rename(self._folder / name)
        return _judged(name, found)

    def _logits(self, runtime: Runtime) -> Floats:
        """What a runtime answers to all texts, (texts, own labels), in their order."""
        seen = [(rows, runtime.forward(ids, mask).logits) for rows, ids, mask in self._batches]
        logits = np.empty((self._texts, seen[0][1].shape[1]), np.float32)
        for rows, found in seen:
            logits[rows] = found
        return logits


def _judged(name: str, found: parity.Parity) -> Trial:
    why = ""
    if not found.passed:
        why = (
            f"agrees with fp32 on {found.agreement:.4f} of {found.texts} texts "
            f"(at least {parity.MIN_AGREEMENT}), probabilities differ by {found.difference:.4f} "
            f"(less than {parity.MAX_DIFFERENCE})"
        )
        _log.warning("%s: passed over: %s", name, why)
    return Trial(name, found.texts, found.agreement, found.difference, found.passed, why)


def make_files(name: str, model: Any, folder: Path) -> None:
    """Write the files that a runtime opens; torch needs none."""
    program, precision = name.split("-")
    if program == "torch":
        return
    folder.mkdir()
    with TemporaryDirectory(dir=folder.parent) as aside:
        graph = Path(aside) / "graph.onnx"
        export_onnx(model, graph)
        if program == "onnx":
            from specialists import runtime_onnx

            runtime_onnx.write(graph, folder, precision)
        else:
            from specialists import runtime_openvino

            runtime_openvino.write(graph, folder, precision)


def open_files(name: str, folder: Path, model_factory: Callable[[], Any], device: str) -> Runtime:
    """Open a runtime; its program is imported only now, as no machine needs them all."""
    program, precision = name.split("-")
    if program == "torch":
        return TorchRuntime(model_factory(), precision, device)
    if program == "onnx":
        from specialists.runtime_onnx import OnnxRuntime

        return OnnxRuntime(folder, precision)
    from specialists.runtime_openvino import OpenVinoRuntime

    return OpenVinoRuntime(folder, precision)


def _choice(tried: Sequence[Trial], names: Sequence[str]) -> str | None:
    """The first name that passed, if all before it failed; the reference if it stands alone."""
    passed = {trial.runtime: trial.passed for trial in tried}
    for name in names:
        if passed.get(name, True):
            return name if name in passed else None
    return REFERENCE


def _read(folder: Path) -> list[Trial]:
    """What was tried; nothing where there is no file, or one that others wrote."""
    try:
        data = json.loads((folder / TRIALS).read_text(encoding="utf-8"))
        if data["format"] == _FORMAT:
            return [Trial(**trial) for trial in data["tried"]]
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return []


def _write(folder: Path, tried: Sequence[Trial]) -> None:
    data = {"format": _FORMAT, "tried": [asdict(trial) for trial in tried]}
    aside = folder / f".{TRIALS}"
    aside.write_text(json.dumps(data, indent=1), encoding="utf-8")
    aside.replace(folder / TRIALS)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other processes and threads from changing the folder."""
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _summary(error: Exception) -> str:
    """One line of a foreign error: its type and how what it said begins."""
    first = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {first[:200]}"
