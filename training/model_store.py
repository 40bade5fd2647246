"""The model store: checkpoint folders and committee manifests under one root.

    checkpoints/<16 hex>/       one member's files and checksums.json; named by content
    committees/<tag>.json       which checkpoints form a project's committees; named by content
    cards/<tag>.json, .md       how a stage's committee came to be; kept when the committee is not
    tmp/                        what is being written; what a killed process left there is swept

Everything is written aside, synced and renamed, so a name either shows whole files or nothing, and
two processes that write the same content end with one copy. Content names also make damage plain:
a folder whose files do not hash to its name is refused. The root may be a shared volume; for an
object store see bucket_store.py. It does not know Redis, which tag is served, or what is inside a
checkpoint.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from specialists.types import LabelSet, SpecialistRef
from training.card import Card
from training.checksums import Stamp, damaged, seal, stamp, sync, verify
from training.errors import CheckpointDamaged

NAME = re.compile(r"[0-9a-f]{16}")
TAG = re.compile(r"stage-(\d+)-[0-9a-f]{8}")
GRACE_S = 86_400.0  # longer than any stage runs: its checkpoints have no committee until it ends


@dataclass(frozen=True)
class ControlCommittee:
    """The specialists that label one control."""

    labels: LabelSet
    members: tuple[SpecialistRef, ...]

    def to_json(self) -> dict[str, Any]:
        """A plain JSON form, read back by `from_json`."""
        members = [member.to_json() for member in self.members]
        return {"labels": self.labels.to_json(), "members": members}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ControlCommittee:
        """Read what `to_json` wrote."""
        members = tuple(SpecialistRef.from_json(row) for row in data["members"])
        return cls(LabelSet.from_json(data["labels"]), members)


@dataclass(frozen=True)
class CommitteeManifest:
    """One version of a project's committees; its `tag` is named by its content."""

    project_id: int
    stage: int
    parent: str | None
    controls: Mapping[str, ControlCommittee]

    def to_json(self) -> dict[str, Any]:
        """A plain JSON form, read back by `from_json`."""
        controls = {name: control.to_json() for name, control in self.controls.items()}
        return {**self.__dict__, "controls": controls}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> CommitteeManifest:
        """Read what `to_json` wrote."""
        controls = {name: ControlCommittee.from_json(row) for name, row in data["controls"].items()}
        return cls(data["project_id"], data["stage"], data["parent"], controls)

    def to_bytes(self) -> bytes:
        """The one spelling of this manifest that is stored and hashed."""
        text = json.dumps(self.to_json(), sort_keys=True, indent=1, ensure_ascii=False)
        return text.encode("utf-8")

    @property
    def tag(self) -> str:
        """The version's name: stage number and 8 hex digits of the content's sha256."""
        return _tag(self.stage, self.to_bytes())

    @property
    def checkpoints(self) -> frozenset[str]:
        """The names of all checkpoints that the members need."""
        members = (member for control in self.controls.values() for member in control.members)
        return frozenset(member.checkpoint for member in members if member.checkpoint)


class ModelStore:
    """Checkpoints and committees under `root`; safe for several processes at once."""

    def __init__(self, root: Path) -> None:
        self._checkpoints = root / "checkpoints"
        self._committees = root / "committees"
        self._cards = root / "cards"
        self._tmp = root / "tmp"
        self._verified: dict[str, Stamp] = {}

    def write(self, fill: Callable[[Path], None]) -> str:
        """Store the files that `fill` writes into the empty folder it is given; return their name.

        Raises TrainingError when `fill` wrote nothing, or anything but plain files and folders.
        """
        with self._aside() as aside:
            aside.mkdir()
            fill(aside)
            name = seal(aside)
            self._checkpoints.mkdir(parents=True, exist_ok=True)
            self._put(aside, name)
            sync(self._checkpoints)
        return name

    def open(self, name: str) -> Path:
        """The folder of a checkpoint, after checking that every file is as it was written.

        Cheap for a folder that this process verified and nobody touched since. Raises
        CheckpointDamaged, which names the folder, the file and the next step.
        """
        folder = self._checkpoints / name
        if not NAME.fullmatch(name) or not folder.is_dir():
            raise damaged(folder, "the folder is missing")
        try:
            seen = stamp(folder)
        except FileNotFoundError as error:
            raise damaged(folder, "it was removed while it was opened") from error
        if self._verified.get(name) != seen:
            verify(folder)
            self._verified[name] = seen
        return folder

    def save_committee(self, manifest: CommitteeManifest) -> str:
        """Store a manifest whose checkpoints are all here and whole; return its tag."""
        for name in sorted(manifest.checkpoints):
            self.open(name)
        self._replace(self._committees / f"{manifest.tag}.json", manifest.to_bytes())
        return manifest.tag

    def save_card(self, card: Card) -> Path:
        """Store a promotion card as JSON and Markdown, over an earlier one; return the latter."""
        self._replace(self._cards / f"{card.tag}.json", card.to_json().encode())
        path = self._cards / f"{card.tag}.md"
        self._replace(path, card.to_markdown().encode())
        return path

    def committee(self, tag: str) -> CommitteeManifest:
        """Read a manifest; raises CheckpointDamaged when it is missing or not what was saved."""
        path = self._committees / f"{tag}.json"
        if not TAG.fullmatch(tag) or not path.is_file():
            raise damaged(path, "the committee is missing")
        return read_manifest(tag, path.read_bytes(), path)

    def check(self, tag: str) -> None:
        """Raise CheckpointDamaged unless a committee and all its checkpoints are whole."""
        for name in sorted(self.committee(tag).checkpoints):
            self.open(name)

    def folders(self, manifest: CommitteeManifest, control: str) -> dict[str, Path]:
        """The verified checkpoint folder of each member of a control, by the member's name.

        Members that are used as published have no checkpoint and no entry.
        """
        members = manifest.controls[control].members
        return {m.name: self.open(m.checkpoint) for m in members if m.checkpoint}

    def prune(self, project_id: int, keep: Collection[str], grace_s: float = GRACE_S) -> list[str]:
        """Remove a project's committees that are not in `keep`, then checkpoints nobody needs.

        Other projects' committees stay, and so does every checkpoint that a remaining committee
        needs and everything younger than `grace_s` seconds. Returns the removed tags and names.
        Raises CheckpointDamaged, with nothing removed, when any committee cannot be read: what it
        needs is then unknown.
        """
        needed = {name for tag in keep for name in self.committee(tag).checkpoints}
        committees = []
        for tag, age_s in sorted(self._committee_ages().items()):
            manifest = self.committee(tag)
            if manifest.project_id == project_id and tag not in keep and age_s > grace_s:
                committees.append(tag)
            else:
                needed |= manifest.checkpoints
        ages = sorted(self._checkpoint_ages().items())
        checkpoints = [name for name, age_s in ages if name not in needed and age_s > grace_s]
        # Committees go first: killed in between, only checkpoints that nobody names are left.
        for tag in committees:
            self._drop_committee(tag)
        for name in checkpoints:
            self._drop_checkpoint(name)
        return committees + checkpoints

    def sweep(self, older_than_s: float) -> int:
        """Remove what killed writers left in tmp/ and nobody touched for `older_than_s` seconds.

        Choose more than the longest silence of a running stage. Returns how many were removed.
        """
        left = [path for path in self._tmp.glob("*") if age(path) > older_than_s]
        for path in left:
            _remove(path)
        return len(left)

    def _committee_ages(self) -> dict[str, float]:
        """Seconds since each stored committee was written, by tag."""
        return {path.stem: age(path) for path in self._committees.glob("*.json")}

    def _checkpoint_ages(self) -> dict[str, float]:
        """Seconds since anything of each stored checkpoint was written, by name."""
        return {path.name: age(path) for path in self._checkpoints.glob("*")}

    def _drop_committee(self, tag: str) -> None:
        self._discard(self._committees / f"{tag}.json")

    def _drop_checkpoint(self, name: str) -> None:
        self._discard(self._checkpoints / name)

    def _replace(self, path: Path, content: bytes) -> None:
        """Write a file whole, whatever was there."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._aside() as aside:
            aside.write_bytes(content)
            sync(aside)
            os.replace(aside, path)
            sync(path.parent)

    @contextmanager
    def _aside(self) -> Iterator[Path]:
        """A fresh path under tmp/, removed at the end if it was not renamed away."""
        self._tmp.mkdir(parents=True, exist_ok=True)
        path = self._tmp / uuid.uuid4().hex
        try:
            yield path
        finally:
            _remove(path)

    def _put(self, aside: Path, name: str) -> None:
        """Give a finished folder its name; keep the one already there if it is whole."""
        target = self._checkpoints / name
        if target.exists():
            try:
                ModelStore.open(self, name)  # what lies in this folder
                os.utime(target)  # it is in use again: a new grace period begins
                return
            except CheckpointDamaged:
                self._discard(target)
        try:
            aside.rename(target)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            ModelStore.open(self, name)  # another process wrote the same content a moment ago

    def _discard(self, path: Path) -> None:
        """Remove by a rename first, so that no name ever shows half of its files."""
        with self._aside() as aside, suppress(FileNotFoundError):  # another process was quicker
            path.rename(aside)


def _tag(stage: int, raw: bytes) -> str:
    return f"stage-{stage}-{hashlib.sha256(raw).hexdigest()[:8]}"


def read_manifest(tag: str, raw: bytes, where: Path | str) -> CommitteeManifest:
    """The manifest that was stored as `raw`; raises CheckpointDamaged unless it hashes to `tag`."""
    stage = TAG.fullmatch(tag)
    if not stage or _tag(int(stage[1]), raw) != tag:
        raise damaged(where, "its content does not hash to its tag")
    return CommitteeManifest.from_json(json.loads(raw))


def age(path: Path) -> float:
    """Seconds since anything at or below a path changed; 0 when it was just renamed or removed."""
    try:
        newest = max(p.lstat().st_mtime for p in (path, *path.rglob("*")))
    except FileNotFoundError:
        return 0.0
    return time.time() - newest


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
