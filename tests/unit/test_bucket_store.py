"""The model store in a bucket (fsspec's own, in a local folder), seen from several machines."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from specialists.types import Label, LabelSet, SpecialistRef
from training.bucket import Bucket
from training.bucket_store import BucketStore
from training.errors import BucketUnusable, CheckpointDamaged
from training.model_store import CommitteeManifest, ControlCommittee

A_DAY_S = 86_400.0
Machines = Callable[[], BucketStore]


def fill(out: Path) -> None:
    (out / "tokenizer").mkdir()
    (out / "model").write_bytes(b"weights")
    (out / "tokenizer" / "model").write_bytes(b"words")


def manifest(*checkpoints: str) -> CommitteeManifest:
    members = tuple(SpecialistRef(f"m{c}", "embedded:sentiment", {}, c) for c in checkpoints)
    control = ControlCommittee(LabelSet((Label("Positive"),)), members)
    return CommitteeManifest(7, 1, None, {"sentiment": control})


def age(path: Path, by_s: float) -> None:
    for each in (path, *path.rglob("*")):
        os.utime(each, (time.time() - by_s,) * 2)


@pytest.fixture
def bucket(tmp_path: Path) -> Path:
    return tmp_path / "bucket"


@pytest.fixture
def machine(bucket: Path, tmp_path_factory: pytest.TempPathFactory) -> Machines:
    """Makes stores over one bucket, each with a cache of its own."""

    def make() -> BucketStore:
        objects = Bucket(f"file://{bucket}", auto_mkdir=True)
        return BucketStore(objects, tmp_path_factory.mktemp("cache"))

    return make


def test_another_machine_opens_and_checks_what_one_wrote(machine: Machines) -> None:
    one, other = machine(), machine()
    name = one.write(fill)
    tag = one.save_committee(manifest(name))
    assert (other.open(name) / "tokenizer" / "model").read_bytes() == b"words"
    other.check(tag)
    assert other.committee(tag) == one.committee(tag)


@pytest.mark.parametrize("file", ["model", "tokenizer/model", "checksums.json"])
def test_an_object_with_one_flipped_byte_or_none_is_refused(
    machine: Machines, bucket: Path, file: str
) -> None:
    name = machine().write(fill)
    path = bucket / "checkpoints" / name / file
    whole = path.read_bytes()
    reader = machine()
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(CheckpointDamaged, match=f"{bucket}.*{name}.*Restore it"):
            reader.open(name)
    path.write_bytes(whole[:-1])
    with pytest.raises(CheckpointDamaged, match=name):
        reader.open(name)
    path.unlink()
    with pytest.raises(CheckpointDamaged, match=f"{name}.*missing"):
        reader.open(name)
    path.write_bytes(whole)
    assert reader.open(name).is_dir()


def test_a_list_of_checksums_cannot_name_a_file_elsewhere(machine: Machines, bucket: Path) -> None:
    from training.checksums import _canonical, _content_name

    sums = {"../../outside": "0" * 64}
    folder = bucket / "checkpoints" / _content_name(sums)
    folder.mkdir(parents=True)
    (folder / "checksums.json").write_bytes(_canonical(sums))
    with pytest.raises(CheckpointDamaged, match="does not hash"):
        machine().open(folder.name)


def test_any_flipped_byte_of_a_manifest_is_refused(machine: Machines, bucket: Path) -> None:
    one = machine()
    tag = one.save_committee(manifest(one.write(fill)))
    path, reader = bucket / "committees" / f"{tag}.json", machine()
    whole = path.read_bytes()
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(CheckpointDamaged, match=tag):
            reader.committee(tag)


def test_a_copy_that_was_damaged_here_is_fetched_again(machine: Machines) -> None:
    name = machine().write(fill)
    reader = machine()
    for damage in (Path.unlink, lambda path: path.write_bytes(b"wrong")):
        damage(reader.open(name) / "model")
        assert (reader.open(name) / "model").read_bytes() == b"weights"


def test_without_its_checksums_an_upload_is_not_there_and_is_swept(
    machine: Machines, bucket: Path
) -> None:
    one = machine()
    name = one.write(fill)
    (bucket / "checkpoints" / name / "checksums.json").unlink()
    with pytest.raises(CheckpointDamaged, match="missing"):
        machine().open(name)
    assert machine().sweep(A_DAY_S) == 0, "its writer may still be at work"
    age(bucket, 2 * A_DAY_S)
    assert machine().sweep(A_DAY_S) == 1
    assert not [path for path in bucket.rglob("*") if path.is_file()]


def test_a_committee_brings_a_checkpoint_back_that_the_bucket_lost(
    machine: Machines, bucket: Path
) -> None:
    one = machine()
    name = one.write(fill)
    (bucket / "checkpoints" / name / "model").unlink()
    tag = one.save_committee(manifest(name))
    machine().check(tag)


def test_what_is_cached_serves_while_the_bucket_is_away(machine: Machines, bucket: Path) -> None:
    one = machine()
    name = one.write(fill)
    tag = one.save_committee(manifest(name))
    bucket.rename(bucket.with_name("away"))
    assert one.folders(one.committee(tag), "sentiment") == {f"m{name}": one.open(name)}


def test_other_machines_drop_old_copies_of_what_was_pruned(
    machine: Machines, bucket: Path, tmp_path: Path
) -> None:
    one, other = machine(), machine()
    old = one.write(fill)
    copy = other.open(old)
    age(bucket, 2 * A_DAY_S)
    assert one.prune(7, []) == [old]
    age(copy, 2 * A_DAY_S)
    new = one.write(lambda out: (out / "model").write_bytes(b"other"))
    other.open(new)
    assert not copy.exists()


def test_a_scheme_without_its_library_says_what_to_install() -> None:
    with pytest.raises(BucketUnusable, match="library"):
        Bucket("no-such-scheme://bucket").read("x")
