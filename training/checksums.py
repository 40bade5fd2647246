"""The checksums of a checkpoint folder: how it is sealed, named by content and verified.

It knows files and hashes only, not where folders lie or who refers to them.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

from training.errors import CheckpointDamaged, TrainingError

CHECKSUMS = "checksums.json"

Stamp = tuple[tuple[str, int, int, int], ...]


def seal(folder: Path) -> str:
    """Write the folder's checksums, force all to the disk and return the content's name.

    The name is 16 hex digits of the sha256 over the sorted (relative name, sha256) pairs. Raises
    TrainingError when the folder holds no file, or anything but plain files and folders.
    """
    sums = _sums(folder)
    (folder / CHECKSUMS).write_bytes(_canonical(sums))
    for path in (*folder.rglob("*"), folder):
        sync(path)
    return _content_name(sums)


def _canonical(sums: Mapping[str, str]) -> bytes:
    return json.dumps(sums, sort_keys=True, indent=1).encode("ascii")


def _content_name(sums: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(sorted(sums.items())).encode("ascii")).hexdigest()[:16]


def _files(folder: Path) -> list[Path]:
    """All plain files of a folder, sorted; raises TrainingError for links and devices."""
    files = []
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not (path.is_dir() or path.is_file()):
            raise TrainingError(f"{path}: a checkpoint holds plain files only; copy what it names.")
        if path.is_file():
            files.append(path)
    return files


def _sums(folder: Path) -> dict[str, str]:
    """The sha256 of each file by its relative name, the list of checksums itself left out."""
    sums = {}
    for path in _files(folder):
        name = path.relative_to(folder).as_posix()
        if name != CHECKSUMS:
            with path.open("rb") as file:
                sums[name] = hashlib.file_digest(file, "sha256").hexdigest()
    if not sums:
        raise TrainingError(f"{folder}: nothing was written; a checkpoint needs at least one file.")
    return sums


def verify(folder: Path) -> None:
    """Compare a folder with its checksums and its name; raises CheckpointDamaged."""
    listed = folder / CHECKSUMS
    try:
        raw = listed.read_bytes()
        sums = _sums(folder)
    except (OSError, TrainingError) as error:
        raise damaged(folder, f"it cannot be read ({error})") from error
    try:
        expected = read_sums(raw, folder.name)
    except ValueError as error:
        raise damaged(listed, "its content does not hash to the folder's name") from error
    wrong = sorted(n for n in {*expected, *sums} if expected.get(n) != sums.get(n))
    if wrong:
        kind = "is missing" if wrong[0] not in sums else "is not as it was written"
        raise damaged(folder / wrong[0], f"the file {kind}")


def read_sums(raw: bytes, name: str) -> dict[str, str]:
    """The sha256 of each file by its relative name, from the list that sealed a checkpoint.

    Raises ValueError unless it hashes to the checkpoint's name and all its files lie in its folder.
    """
    try:
        sums: dict[str, str] = json.loads(raw)
        if _canonical(sums) != raw or _content_name(sums) != name:
            raise ValueError("another content")
        if any(Path(file).is_absolute() or ".." in Path(file).parts for file in sums):
            raise ValueError("a file elsewhere")
    except (TypeError, AttributeError) as error:
        raise ValueError("no list of checksums") from error
    return sums


def stamp(folder: Path) -> Stamp:
    """What changes when any file of the folder changes: names, sizes, times in ns."""
    stats = [(path, path.lstat()) for path in sorted(folder.rglob("*"))]
    return tuple((str(p), s.st_size, s.st_mtime_ns, s.st_ctime_ns) for p, s in stats)


def sync(path: Path) -> None:
    """Force a file's or a folder's content to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def damaged(path: Path | str, what: str) -> CheckpointDamaged:
    """The error for a damaged path or object, with what to do next."""
    return CheckpointDamaged(
        f"{path}: {what}. Restore it from a backup of MODEL_DIR, or roll back to another tag."
    )
