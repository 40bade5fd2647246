"""A backup: what a project learned and decided, as files under one folder or URL.

    <to>/autoannotator-<UTC time>/
      redis.jsonl.gz            our keys (redis_copy.py): verdicts, tags, cards, ledger and all else
      checkpoints/<name>/...    what the tags that can be served need, and their committees
      committees/<tag>.json
      generated/<id>/...        code that an LLM wrote, with its approval
      evidence/<project>.sqlite3   with --evidence
      backup.json               {"format", "made_at", "version", "counts", "sums"}; sums are sha256

`backup.json` is written last: without it there is no backup. The files hold the texts of tasks;
keys and passwords are in the environment, of which nothing is stored.

While workers run: Redis is copied project by project, each as it was at one moment; every verdict
from before the start is in it. Not covered: Label Studio's own data, what RQ has queued (workers
find what waits), and leases.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from backend import __version__, redis_copy
from backend.wiring import Wiring
from training.bucket import Bucket
from training.errors import CheckpointDamaged

FORMAT = 1
ABOUT = "backup.json"
REDIS = "redis.jsonl.gz"


def place(to: str) -> Bucket:
    """A folder or a URL as a place for files."""
    if "://" in to:
        return Bucket(to)
    return Bucket(f"file://{Path(to).absolute()}", auto_mkdir=True)


def backup(wiring: Wiring, to: str, evidence: bool, say: Callable[[str], None]) -> int:
    """Write a backup below `to`; returns the exit status, 1 when a kept tag was damaged.

    Raises BucketUnusable, RedisChanging.
    """
    name = time.strftime("autoannotator-%Y%m%dT%H%M%SZ", time.gmtime())
    out = _Files(place(f"{to.rstrip('/')}/{name}"))
    before = _tags(wiring)
    with tempfile.TemporaryDirectory(prefix="autoannotator-backup-") as folder:
        copy = Path(folder) / REDIS
        counts = _copy_redis(wiring, copy)
        out.add(copy, REDIS)
        damaged = _add_models(wiring, out, before | _tags(wiring), Path(folder))
        root = wiring.settings.models
        for path in sorted((root / "generated").rglob("[!.]*")):
            if path.is_file():
                out.add(path, path.relative_to(root).as_posix())
        if evidence:
            for path in _copies(wiring.settings.data_dir / "evidence", Path(folder)):
                out.add(path, f"evidence/{path.name}")
    out.close({"format": FORMAT, "version": __version__, "made_at": time.time(), "counts": counts})
    for problem in damaged:
        say(f"Left out: {problem}")
    say(
        f"Backed up {counts['projects']} projects and {counts['verdicts']} verdicts in "
        f"{len(out.sums)} files: {to.rstrip('/')}/{name}\n"
        f"Restore it: python -m backend restore --from {to.rstrip('/')}/{name}"
    )
    return 1 if damaged else 0


def sha256(path: Path) -> str:
    """The checksum of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _Files:
    """Files of a backup, with their checksums."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self.sums: dict[str, str] = {}

    def add(self, path: Path, name: str) -> None:
        """Store a file; one that is there already is left."""
        if name not in self.sums:
            self._bucket.upload(path, name)
            self.sums[name] = sha256(path)

    def close(self, about: dict[str, Any]) -> None:
        """Make it a backup."""
        text = json.dumps({**about, "sums": self.sums}, indent=1, sort_keys=True)
        self._bucket.write(ABOUT, text.encode())


def _tags(wiring: Wiring) -> set[str]:
    """The tags that can be served, and those of stages that wait for their promotion."""
    found: set[str] = set()
    for project_id in wiring.projects.ids():
        found |= set(wiring.promotions(project_id).kept(wiring.settings.keep_tags))
        candidate = wiring.projects.desk(project_id).candidate()
        found |= {candidate["tag"]} if candidate else set()
    return found


def _copy_redis(wiring: Wiring, path: Path) -> dict[str, int]:
    """Write our keys into a file; what there is of some kinds."""
    counts: Counter[str] = Counter(projects=0, verdicts=0, keys=0)
    with gzip.open(path, "wt", encoding="utf-8", compresslevel=6) as file:
        for line in redis_copy.lines(wiring.redis):
            file.write(line)
            one = json.loads(line)
            counts["keys"] += 1
            if one["key"] == "aa:projects":
                counts["projects"] = len(one["value"])
            if one["key"].endswith(":pool:verdicts"):
                counts["verdicts"] += len(one["value"])
    return dict(counts)


def _add_models(wiring: Wiring, out: _Files, tags: set[str], folder: Path) -> list[str]:
    """Store committees with all that they need; returns what is wrong with those left out."""
    damaged = []
    for tag in sorted(tags):
        try:
            manifest = wiring.store.committee(tag)
            folders = {name: wiring.store.open(name) for name in manifest.checkpoints}
        except CheckpointDamaged as error:
            damaged.append(f"{tag}: {error}")
            continue
        for name, checkpoint in folders.items():
            for path in sorted(checkpoint.rglob("*")):
                if path.is_file():
                    file = path.relative_to(checkpoint).as_posix()
                    out.add(path, f"checkpoints/{name}/{file}")
        copy = folder / f"{tag}.json"
        copy.write_bytes(manifest.to_bytes())
        out.add(copy, f"committees/{tag}.json")
    return damaged


def _copies(evidence: Path, folder: Path) -> Iterator[Path]:
    """A consistent copy of each SQLite file, whoever writes to it meanwhile."""
    for path in sorted(evidence.glob("*.sqlite3")):
        copy = folder / path.name
        with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
        yield copy
        copy.unlink()
