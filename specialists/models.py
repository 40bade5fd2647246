"""Opened models: each once, in the fastest form that was prepared for it on such a machine.

Committees of all projects share what is opened here, by content: a hundred projects on the shipped
specialists hold them once. A model that nobody prepared yet runs in fp32 torch.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from specialists import languages, preparation, weights
from specialists.encoder import Encoder, encoder_key, open_tokenizer
from specialists.errors import SpecialistUnavailable
from specialists.generated import GeneratedSpecialist, open_sandbox
from specialists.generated_store import GeneratedStore
from specialists.loading import (
    Parts,
    content,
    find_parts,
    open_config,
    open_model,
    projection,
    summary,
)
from specialists.registry import GENERATED_PREFIX, is_similarity, similarity
from specialists.runtime import Runtime, candidates
from specialists.runtime_torch import TorchRuntime
from specialists.sandbox import Sandbox
from specialists.similarity import Similarity
from specialists.transformer import Embedder, Specialist, Transformer
from specialists.types import LabelSet, SpecialistRef

_T = TypeVar("_T")
_BASE = "the embedded base model"
_MADE_OF = "checkpoint.txt"
_UNUSED = ("unused",)  # it has no classifier; one of this label is put over it


class Models:
    """Opens models and keeps them as long as somebody uses them; safe for several threads."""

    def __init__(
        self,
        exports: Path | None = None,
        device: str = "cpu",
        runtime: str = "torch-fp32",
        converted: Path | None = None,
        generated: Path | None = None,
    ) -> None:
        """Use what is prepared in `exports`, None for nothing; `runtime` as in `candidates`.

        `converted` keeps safetensors made from the pickles of ids that a user named; without it
        such ids are refused. `generated` has the code that was written for models. Raises
        RuntimeUnavailable for a runtime that this machine lacks.
        """
        self._exports = exports
        self._device = device
        self._names = candidates(device, runtime)
        self._converted = converted
        self._generated = GeneratedStore(generated) if generated else None
        self._lock = threading.Lock()
        self._runtimes: WeakValueDictionary[tuple[str, str | None], Runtime] = WeakValueDictionary()
        self._encoders: WeakValueDictionary[str, Encoder] = WeakValueDictionary()
        self._sandboxes: WeakValueDictionary[str, Sandbox] = WeakValueDictionary()

    def specialist(self, ref: SpecialistRef, labels: LabelSet, folder: Path | None) -> Specialist:
        """Open a specialist as published, or from its verified checkpoint `folder`.

        Raises SpecialistUnavailable with one sentence for whatever goes wrong.
        """

        def opened() -> Specialist:
            if ref.source.startswith(GENERATED_PREFIX) and self._generated:
                return self._from_code(self._generated, ref.source, labels)
            if is_similarity(ref.source):
                return self._similarity(ref, labels)
            parts = find_parts(ref.source, folder, self._converted)
            config = open_config(parts)
            project = projection(config, ref, labels)
            made = Transformer(self._runtime(parts), self._encoder(parts, config), project)
            # A checkpoint has learned from the project's texts, whatever language they are in.
            made.languages = None if folder else languages.known(ref.source)
            return made

        return _told(ref.source, folder, opened)

    def embedder(self, labels: LabelSet) -> Specialist:
        """Open the embedded base model as it is: it votes on nothing and gives the frozen view.

        Raises SpecialistUnavailable when its weights cannot be had.
        """

        def opened() -> Specialist:
            parts = _base()
            encoder = self._encoder(parts, open_config(parts))
            return Embedder(self._runtime(parts), encoder, len(labels.labels))

        return _told(_BASE, None, opened)

    def is_prepared(self, ref: SpecialistRef, folder: Path | None) -> bool:
        """Whether nothing is left to prepare: its fastest form is known, or it cannot be opened."""
        try:
            parts = find_parts(ref.source, folder, self._converted)
        except (SpecialistUnavailable, ValueError, OSError):
            return True
        return self._is_prepared(parts)

    def is_base_prepared(self) -> bool:
        """The same of the embedded base model."""
        try:
            return self._is_prepared(_base())
        except (SpecialistUnavailable, OSError):
            return True

    def _is_prepared(self, parts: Parts) -> bool:
        return self._exports is None or self._form(parts) is not None

    def prepare(self, ref: SpecialistRef, folder: Path | None, texts: Sequence[str]) -> bool:
        """Find the fastest form that answers real `texts` as fp32 does, and keep it on disk.

        False when there was nothing to do. Takes seconds: for workers. Raises
        SpecialistUnavailable when the model was known to open and does not.
        """
        if self.is_prepared(ref, folder):
            return False

        def made() -> bool:
            parts = find_parts(ref.source, folder, self._converted)
            return self._prepare(parts, texts, folder.name if folder else "")

        return _told(ref.source, folder, made)

    def prepare_base(self, texts: Sequence[str]) -> bool:
        """The same for the embedded base model."""
        if self.is_base_prepared():
            return False
        return _told(_BASE, None, lambda: self._prepare(_base(), texts))

    def _prepare(self, parts: Parts, texts: Sequence[str], checkpoint: str = "") -> bool:
        if self._exports is None:
            return False
        encoder = self._encoder(parts, open_config(parts))
        model, _ = open_model(parts)
        folder, names = self._exports / content(parts), self._names_of(parts)
        encoded = [ids for text in encoder.encode(texts) for ids in text.ids]
        preparation.prepare(model, encoder, encoded, folder, names, device=self._device)
        if checkpoint:
            (folder / _MADE_OF).write_text(checkpoint)
        return True

    def _names_of(self, parts: Parts) -> list[str]:
        """Runtimes to try: int8 is judged by the labels it keeps, and the base model says none."""
        exact = [name for name in self._names if "int8" not in name]
        return exact if parts.labels == _UNUSED else self._names

    def sweep(self, unused_s: float, needed: Collection[str], spare_s: float) -> int:
        """Remove what was prepared for models that nobody opened for so long; returns how many.

        For checkpoints that are not `needed`, by name, `spare_s` seconds are long enough. It can be
        prepared again; processes that use it keep it.
        """
        old = []
        for folder in self._exports.glob("*") if self._exports else ():
            of = _made_of(folder)
            longest_s = spare_s if of and of not in needed else unused_s
            if time.time() - folder.stat().st_mtime > longest_s:
                old.append(folder)
        for folder in old:
            shutil.rmtree(folder, ignore_errors=True)
        return len(old)

    def _form(self, parts: Parts) -> str | None:
        """The runtime that was chosen for a model and that this machine has."""
        if self._exports is None:
            return None
        return preparation.prepared(self._exports / content(parts), self._names_of(parts))

    def _runtime(self, parts: Parts) -> Runtime:
        name = content(parts)

        def model() -> Any:
            return open_model(parts)[0]

        with self._lock:
            form = self._form(parts)
            found = self._runtimes.get((name, form))
            if found is None and form and self._exports:
                folder = self._exports / name
                found = preparation.open_prepared(folder, form, model, self._device)
                with suppress(OSError):  # the folder may be another user's, to read only
                    os.utime(folder)
            if found is None:
                found = TorchRuntime(model(), "fp32", self._device)
            self._runtimes[name, form] = found
            return found

    def _from_code(self, store: GeneratedStore, source: str, labels: LabelSet) -> Specialist:
        opened, size_bytes = open_sandbox(store, source, labels, self._converted)
        with self._lock:
            sandbox = self._sandboxes.setdefault(source, opened)
        return GeneratedSpecialist(sandbox, source, labels, size_bytes)

    def _similarity(self, ref: SpecialistRef, labels: LabelSet) -> Specialist:
        parts = _base()
        encoder = self._encoder(parts, open_config(parts))
        phrases = ref.label_map or similarity(labels, {}).label_map
        return Similarity(self._runtime(parts), encoder, labels, phrases)

    def _encoder(self, parts: Parts, config: Any) -> Encoder:
        key = encoder_key(parts.base, config)
        with self._lock:
            found = self._encoders.get(key)
            if found is None:
                found = self._encoders[key] = Encoder(open_tokenizer(parts.base), config)
            return found


def _base() -> Parts:
    return Parts(weights.minilm(), labels=_UNUSED)


def _made_of(folder: Path) -> str:
    """The checkpoint that something was prepared for; empty for a published model's."""
    try:
        return (folder / _MADE_OF).read_text()
    except FileNotFoundError:
        return ""


def _told(source: str, folder: Path | None, work: Callable[[], _T]) -> _T:
    """Say in one sentence what goes wrong with a source."""
    try:
        return work()
    except SpecialistUnavailable:
        raise
    except Exception as error:  # transformers and safetensors raise anything for a bad file
        raise SpecialistUnavailable(
            source,
            f"its {'checkpoint' if folder else 'files'} cannot be opened ({summary(error)})",
            "roll back to an earlier version" if folder else "choose another specialist",
        ) from error
