"""Bring a backup (backup.py) back: into an empty Redis, or over what it holds.

All files are fetched and compared with their checksums before anything is changed. Checkpoints and
committees come first, then the keys, the list of projects last: killed in between, no worker sees a
project by halves, and the command can be run again with --replace.

Afterwards: answers that people gave since lie in Label Studio, and the next reconcile reads them.
What an LLM answered until the backup is not asked again; calls since then are not in the ledger,
and what they answered may be asked, and paid, once more.
"""

from __future__ import annotations

import gzip
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from backend import embedded_redis, redis_copy
from backend.backup import ABOUT, FORMAT, REDIS, place, sha256
from backend.errors import BackendError
from backend.jobs.reconcile import next_key
from backend.wiring import Wiring
from training.model_store import read_manifest


class CannotRestore(BackendError):
    """The backup, or where it should go, is not fit for it; nothing was changed."""


def restore(wiring: Wiring, source: str, replace: bool, say: Callable[[str], None]) -> int:
    """Bring back the backup in the folder or at the URL `source`; returns the exit status.

    Raises CannotRestore, BucketUnusable.
    """
    settings = wiring.settings
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="restore-", dir=settings.data_dir) as folder:
        files = Path(folder)
        about = _fetch(source.rstrip("/"), files)
        with embedded_redis.running(settings):
            _check_target(wiring, replace)
            tags = _models(wiring, files)
            _copy_missing(files / "generated", settings.models / "generated")
            _copy_missing(files / "evidence", settings.data_dir / "evidence")
            redis_copy.clear(wiring.redis)
            with gzip.open(files / REDIS, "rt", encoding="utf-8") as rows:
                keys = redis_copy.load(wiring.redis, rows)
            for line in _finish(wiring):
                say(line)
    made = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(about["made_at"]))
    say(
        f"Restored the backup of {made}: {about['counts']['projects']} projects, "
        f"{about['counts']['verdicts']} verdicts, {keys} keys, {tags} committees.\n"
        "Start the backend: people's answers since then are read from Label Studio. What the LLM "
        "was asked since then is not in the ledger: it may be asked, and paid, again."
    )
    return 0


def _fetch(source: str, files: Path) -> dict[str, Any]:
    """Copy a backup here, each file compared with its checksum; returns what it tells of itself."""
    bucket = place(source)
    raw = bucket.read(ABOUT)
    if raw is None:
        raise CannotRestore(
            f"{source} holds no whole backup: {ABOUT} is missing. Give the folder that "
            "python -m backend backup printed."
        )
    try:
        about: dict[str, Any] = json.loads(raw)
        sums: Mapping[str, str] = about["sums"]
        known = about["format"] == FORMAT
    except (ValueError, KeyError, TypeError) as error:
        raise CannotRestore(f"{source}/{ABOUT} is damaged; take another backup.") from error
    if not known:
        raise CannotRestore(
            f"{source} has format {about['format']}, this version reads {FORMAT}: restore it with "
            f"version {about['version']}."
        )
    for name, digest in sums.items():
        path = files / name
        whole = ".." not in PurePosixPath(name).parts and bucket.download(name, path)
        if not whole or sha256(path) != digest:
            raise CannotRestore(f"{source}/{name} is missing or damaged; take another backup.")
    return about


def _check_target(wiring: Wiring, replace: bool) -> None:
    """Make sure that nobody works, and that nothing is lost that was not to be."""
    running = [kind for kind, count in wiring.queues.workers().items() if count]
    if running:
        raise CannotRestore(
            f"Workers run ({', '.join(running)}): stop the backend first, then wait 10 seconds."
        )
    if not replace and not redis_copy.is_empty(wiring.redis):
        raise CannotRestore(
            "Redis holds projects already: --replace removes them and restores the backup instead."
        )


def _models(wiring: Wiring, files: Path) -> int:
    """Store checkpoints and committees; how many of the latter."""
    for folder in sorted((files / "checkpoints").glob("*")):
        (folder / "checksums.json").unlink()  # the store seals them again
        name = wiring.store.write(partial(shutil.copytree, folder, dirs_exist_ok=True))
        if name != folder.name:
            raise CannotRestore(f"The checkpoint {folder.name} has another content: {name}.")
    committees = sorted((files / "committees").glob("*.json"))
    for path in committees:
        wiring.store.save_committee(read_manifest(path.stem, path.read_bytes(), path))
    return len(committees)


def _copy_missing(source: Path, target: Path) -> None:
    """Move what a folder does not have into it."""
    for path in sorted(source.glob("*")):
        if not (target / path.name).exists():
            target.mkdir(parents=True, exist_ok=True)
            shutil.move(path, target / path.name)


def _finish(wiring: Wiring) -> Iterator[str]:
    """Let each project be compared with Label Studio at once, and load what it serves."""
    for project_id in wiring.projects.ids():
        wiring.redis.delete(next_key(project_id))
        promotions = wiring.promotions(project_id)
        for card in promotions.history():
            wiring.store.save_card(card)
        if tag := promotions.served():
            wiring.store.check(tag)
            waiting = wiring.pool(project_id).waiting()
            yield f"Project {project_id} serves {tag}; {waiting} verdicts wait for a stage."
