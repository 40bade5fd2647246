"""The model store in a bucket: the same names as objects, and a folder here that caches them.

    <MODEL_DIR>/checkpoints/<16 hex>/   a member's files, then checksums.json: without it, nothing
    <MODEL_DIR>/committees/<tag>.json   as in a folder, one object each
    <MODEL_DIR>/cards/<tag>.json, .md

A checkpoint is sealed in the cache and uploaded; its checksums go last, and as they alone make it
visible, a writer killed at any point leaves nothing to see. What is read is copied aside into the
cache, compared with its checksums and renamed; a copy that was damaged here is fetched again. Names
tell content, so a cached copy is as good as the object, and serves on while the bucket is away.

Not covered: a checkpoint that is pruned in the very moment in which it is written again may lose
files; whoever saves a committee of it looks, and uploads them again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from training.bucket import Bucket, Stored
from training.card import Card
from training.checksums import CHECKSUMS, damaged, read_sums, verify
from training.errors import CheckpointDamaged
from training.model_store import (
    GRACE_S,
    NAME,
    TAG,
    CommitteeManifest,
    ModelStore,
    age,
    read_manifest,
)


class BucketStore(ModelStore):
    """A model store in a bucket; `cache` is a folder of this machine. Raises BucketUnusable."""

    def __init__(self, bucket: Bucket, cache: Path) -> None:
        super().__init__(cache)
        self._bucket = bucket

    def write(self, fill: Callable[[Path], None]) -> str:
        """Store and upload what `fill` writes, see ModelStore; also what the bucket has already.

        So damage there is healed, and a new grace period begins.
        """
        name = super().write(fill)
        self._upload(name)
        return name

    def open(self, name: str) -> Path:
        """The folder of a checkpoint here, downloaded unless it is whole; see ModelStore."""
        try:
            return super().open(name)
        except CheckpointDamaged:
            self._download(name)
            return super().open(name)

    def save_committee(self, manifest: CommitteeManifest) -> str:
        """Store a manifest whose checkpoints are all in the bucket; return its tag."""
        for name in sorted(manifest.checkpoints):
            self._hand_in(name)
        self._bucket.write(_committee(manifest.tag), manifest.to_bytes())
        return super().save_committee(manifest)

    def save_card(self, card: Card) -> Path:
        """Store a card, see ModelStore; returns the path of the copy here."""
        self._bucket.write(f"cards/{card.tag}.json", card.to_json().encode())
        self._bucket.write(f"cards/{card.tag}.md", card.to_markdown().encode())
        return super().save_card(card)

    def committee(self, tag: str) -> CommitteeManifest:
        """Read a manifest, from the bucket unless it is whole here; see ModelStore."""
        try:
            return super().committee(tag)
        except CheckpointDamaged:
            url = self._bucket.url(_committee(tag))
            raw = self._bucket.read(_committee(tag)) if TAG.fullmatch(tag) else None
            if raw is None:
                raise damaged(url, "the committee is missing") from None
        found = read_manifest(tag, raw, url)
        self._replace(self._committees / f"{tag}.json", raw)
        return found

    def check(self, tag: str) -> None:
        """Raise CheckpointDamaged unless the bucket has a committee and all its checkpoints."""
        for name in sorted(self.committee(tag).checkpoints):
            self._hand_in(name)

    def sweep(self, older_than_s: float) -> int:
        """Remove what killed writers left here and in the bucket, see ModelStore."""
        found = self._uploads()
        left = [name for name, files in found.items() if CHECKSUMS not in files]
        left = [name for name in left if _youngest(found[name]) > older_than_s]
        for name in left:
            self._drop_checkpoint(name)
        return len(left) + super().sweep(older_than_s)

    def _upload(self, name: str) -> None:
        """Copy a checkpoint that is whole here into the bucket."""
        folder = super().open(name)
        for file in [*read_sums((folder / CHECKSUMS).read_bytes(), name), CHECKSUMS]:
            self._bucket.upload(folder / file, _object(name, file))

    def _hand_in(self, name: str) -> None:
        """Make sure that the bucket has all of a checkpoint, so that others can open it."""
        folder = self.open(name)
        stored = self._bucket.objects(f"checkpoints/{name}")
        sizes = {path: path.stat().st_size for path in folder.rglob("*") if path.is_file()}
        for path, size in sizes.items():
            found = stored.get(path.relative_to(folder).as_posix())
            if found is None or found.size_bytes != size:
                self._upload(name)
                return

    def _download(self, name: str) -> None:
        """Copy a checkpoint here, aside at first; raises CheckpointDamaged unless it is whole."""
        url = self._bucket.url(f"checkpoints/{name}")
        raw = self._bucket.read(_object(name, CHECKSUMS)) if NAME.fullmatch(name) else None
        if raw is None:
            raise damaged(url, "the checkpoint is missing")
        try:
            files = read_sums(raw, name)
        except ValueError as error:
            what = "its content does not hash to the folder's name"
            raise damaged(f"{url}/{CHECKSUMS}", what) from error
        with self._aside() as aside:
            folder = aside / name
            for file in files:
                if not self._bucket.download(_object(name, file), folder / file):
                    raise damaged(f"{url}/{file}", "the file is missing")
            (folder / CHECKSUMS).write_bytes(raw)
            try:
                verify(folder)
            except CheckpointDamaged as error:
                raise damaged(url, "a file is not as it was written") from error
            self._checkpoints.mkdir(parents=True, exist_ok=True)
            self._put(folder, name)
        self._evict()

    def _evict(self) -> None:
        """Remove old copies here of checkpoints that were pruned from the bucket."""
        known = self._uploads()
        for path in self._checkpoints.glob("*"):
            if path.name not in known and age(path) > GRACE_S:
                self._discard(path)

    def _uploads(self) -> dict[str, dict[str, Stored]]:
        """The files that the bucket has, by checkpoint; those of killed writers among them."""
        found: defaultdict[str, dict[str, Stored]] = defaultdict(dict)
        for path, stored in self._bucket.objects("checkpoints").items():
            name, _, file = path.partition("/")
            found[name][file] = stored
        return dict(found)

    def _committee_ages(self) -> dict[str, float]:
        found = self._bucket.objects("committees")
        return {name.removesuffix(".json"): one.age_s for name, one in found.items()}

    def _checkpoint_ages(self) -> dict[str, float]:
        return {name: _youngest(files) for name, files in self._uploads().items()}

    def _drop_committee(self, tag: str) -> None:
        self._bucket.remove([_committee(tag)])
        super()._drop_committee(tag)

    def _drop_checkpoint(self, name: str) -> None:
        """Remove the checksums first; files are left when somebody writes them again meanwhile."""
        self._bucket.remove([_object(name, CHECKSUMS)])
        rest = self._bucket.objects(f"checkpoints/{name}")
        if CHECKSUMS not in rest:
            self._bucket.remove(_object(name, file) for file in rest)
        super()._drop_checkpoint(name)


def _object(name: str, file: str) -> str:
    return f"checkpoints/{name}/{file}"


def _committee(tag: str) -> str:
    return f"committees/{tag}.json"


def _youngest(files: dict[str, Stored]) -> float:
    return min(one.age_s for one in files.values())
