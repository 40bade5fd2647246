"""The store of generated code: what was written for which model, by whom, and who approved it.

    <id>/module.py        the code, for people to read
    <id>/about.json       model, labels, prompt, LLM and test report
    <id>/approval.json    who allowed it to serve, and when; missing until then

The id is the content of the first two: whoever changes one byte of them has something that nobody
tested or approved, and it is refused. It runs nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from specialists.errors import SpecialistUnavailable
from specialists.registry import GENERATED_PREFIX
from specialists.types import LabelSet

MODULE, ABOUT, APPROVAL = "module.py", "about.json", "approval.json"


@dataclass(frozen=True)
class Generated:
    """One module and where it comes from.

    `model` is a Hub id or a folder and `digest` the sha256 of its weights; `report` is that of the
    contract test.
    """

    code: str = field(repr=False)
    model: str
    digest: str
    labels: LabelSet
    llm: str
    prompt: str = field(repr=False)
    notes: str = field(repr=False)
    report: list[dict[str, Any]] = field(repr=False)
    at: float

    def to_files(self) -> dict[str, bytes]:
        """The files that are kept, by name."""
        about = {**asdict(self), "labels": self.labels.to_json()}
        code = about.pop("code")
        text = json.dumps(about, sort_keys=True, indent=1, ensure_ascii=False)
        return {MODULE: code.encode(), ABOUT: text.encode()}


class GeneratedStore:
    """Modules under one root; safe for several processes at once."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def put(self, made: Generated) -> str:
        """Store a module that passed its test; returns its id."""
        files = made.to_files()
        name = _id(files)
        aside = self._root / f".{uuid.uuid4().hex}"
        aside.mkdir(parents=True)
        try:
            for file, raw in files.items():
                (aside / file).write_bytes(raw)
            aside.rename(self.folder(name))
        except OSError:
            if not self.folder(name).exists():  # else the same content is there already
                raise
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        return name

    def get(self, name: str) -> Generated:
        """A module as it was stored; raises SpecialistUnavailable when it is not."""
        try:
            files = {file: (self.folder(name) / file).read_bytes() for file in (MODULE, ABOUT)}
        except OSError as error:
            raise _unavailable(name, "there is no such code", "see what is in MODEL_DIR") from error
        if _id(files) != name:
            raise _unavailable(
                name, "it is not as it was tested", "let it be written again (codegen)"
            )
        about: dict[str, Any] = json.loads(files[ABOUT])
        about["labels"] = LabelSet.from_json(about["labels"])
        return Generated(code=files[MODULE].decode(), **about)

    def approve(self, name: str, by: str) -> Generated:
        """Note that somebody allows a module to serve; raises SpecialistUnavailable."""
        found = self.get(name)
        text = json.dumps({"id": name, "by": by, "at": time.time()})
        aside = self._root / f".{uuid.uuid4().hex}"
        aside.write_text(text, encoding="utf-8")
        os.replace(aside, self.folder(name) / APPROVAL)
        return found

    def approval(self, name: str) -> Mapping[str, Any] | None:
        """Who approved a module and when; None while nobody did."""
        try:
            data = json.loads((self.folder(name) / APPROVAL).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return data if isinstance(data, dict) and data.get("id") == name else None

    def approved(self, labels: LabelSet) -> list[str]:
        """The modules that may serve and were written for exactly these labels, the newest first.

        One that was changed since is left out.
        """
        found = []
        for path in self._root.glob("[0-9a-f]*"):
            with suppress(SpecialistUnavailable):
                made = self.get(path.name)
                fits = set(made.labels.names) == set(labels.names)
                if fits and made.labels.multiple == labels.multiple and self.approval(path.name):
                    found.append((made.at, path.name))
        return [name for _, name in sorted(found, reverse=True)]

    def folder(self, name: str) -> Path:
        """Where a module lies; raises SpecialistUnavailable for what is no id."""
        if not re.fullmatch(r"[0-9a-f]{16}", name):
            raise _unavailable(name, "this is no id of generated code", "give 16 hex digits")
        return self._root / name


def _id(files: Mapping[str, bytes]) -> str:
    found = hashlib.sha256()
    for name in (MODULE, ABOUT):
        found.update(hashlib.sha256(files[name]).digest())
    return found.hexdigest()[:16]


def _unavailable(name: str, why: str, next_step: str) -> SpecialistUnavailable:
    return SpecialistUnavailable(GENERATED_PREFIX + name, why, next_step)
