"""The model store on a real S3 server: killed writers, broken wires, lost and changed objects."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from machine import ROOT
from s3_server import VARIABLES, Wire, make_bucket, s3_server, use

from training.bucket import Bucket
from training.bucket_store import BucketStore
from training.errors import BucketUnusable, CheckpointDamaged
from training.model_store import CommitteeManifest

FILE_BYTES = 400_000
WRITER = """
import sys
from pathlib import Path
from test_s3_store import fill, manifest
from training.bucket import Bucket
from training.bucket_store import BucketStore

store = BucketStore(Bucket(sys.argv[1]), Path(sys.argv[2]))
print(store.save_committee(manifest(store.write(fill))), flush=True)
"""


def fill(out: Path) -> None:
    """Three files, the same every time."""
    for number in range(3):
        (out / f"part-{number}").write_bytes(random.Random(number).randbytes(FILE_BYTES))


def manifest(name: str) -> CommitteeManifest:
    """A committee of one member."""
    members = [{"name": "m", "source": "embedded:sentiment", "label_map": {}, "checkpoint": name}]
    labels = {"labels": [{"name": "Positive", "synonyms": []}], "multiple": False}
    control = {"labels": labels, "members": members}
    return CommitteeManifest.from_json(
        {"project_id": 7, "stage": 1, "parent": None, "controls": {"mood": control}}
    )


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with s3_server(tmp_path_factory.mktemp("s3")) as found:
        yield found


@pytest.fixture
def wire(port: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Wire]:
    made = Wire(port)
    use(monkeypatch, made.port)
    yield made
    made.close()
    fsspec.filesystem("s3").clear_instance_cache()


@pytest.fixture
def url(wire: Wire) -> str:
    return make_bucket(f"bucket-{uuid.uuid4().hex[:8]}")


@pytest.fixture
def machine(url: str, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], BucketStore]:
    return lambda: BucketStore(Bucket(url), tmp_path_factory.mktemp("cache"))


def objects(url: str) -> dict[str, Any]:
    """What the server holds, past our code."""
    fs, root = fsspec.core.url_to_fs(url)
    fs.invalidate_cache()
    found: dict[str, Any] = fs.find(root, detail=True)
    return {name.removeprefix(f"{root}/"): info for name, info in found.items()}


def writer(url: str, cache: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, url, str(cache)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT}/tests/service:{ROOT}/tests"},
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("seed", range(5))
def test_a_writer_killed_at_any_byte_shows_whole_checkpoints_or_nothing(
    wire: Wire, url: str, machine: Callable[[], BucketStore], tmp_path: Path, seed: int
) -> None:
    moment = random.Random(seed).randrange(3 * FILE_BYTES + 6000)  # the rest: headers, the manifest
    with writer(url, tmp_path) as process:
        wire.after(moment, process.kill)
        process.wait(300)
    wire.mend()
    for path in objects(url):
        if path.endswith("checksums.json"):
            assert machine().open(path.split("/")[1]).is_dir()
        if path.startswith("committees/"):
            machine().check(Path(path).stem)
    store = machine()
    name = store.write(fill)
    assert {path for path in objects(url) if path.startswith("checkpoints/")} == {
        f"checkpoints/{name}/{file}" for file in ("checksums.json", "part-0", "part-1", "part-2")
    }, "whoever does the work again ends with one copy"
    assert machine().open(store.write(fill)).is_dir()


def test_what_killed_writers_left_is_swept(
    wire: Wire, url: str, machine: Callable[[], BucketStore], tmp_path: Path
) -> None:
    with writer(url, tmp_path) as process:
        wire.after(2 * FILE_BYTES, process.kill)
        process.wait(300)
    assert 1 <= len(objects(url)) <= 3
    time.sleep(1.1)  # the server tells whole seconds
    assert machine().sweep(3600) == 0
    assert machine().sweep(0) == 1
    assert objects(url) == {}


def test_two_writers_of_the_same_content_end_with_one_copy(
    url: str, machine: Callable[[], BucketStore]
) -> None:
    found: list[str] = []
    stores = [machine() for _ in range(3)]
    threads = [threading.Thread(target=lambda s=s: found.append(s.write(fill))) for s in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    assert len(found) == 3 and len(set(found)) == 1
    assert len(objects(url)) == 4
    assert machine().open(found[0]).is_dir()


@pytest.mark.parametrize("seed", range(3))
def test_a_wire_that_breaks_in_an_upload_is_told_and_the_work_can_be_done_again(
    wire: Wire, url: str, machine: Callable[[], BucketStore], seed: int
) -> None:
    wire.after(random.Random(seed).randrange(3 * FILE_BYTES), wire.cut)
    store = machine()
    with pytest.raises(BucketUnusable, match=f"{url}.*the network") as told:
        store.write(fill)
    for secret in (VARIABLES["AWS_SECRET_ACCESS_KEY"], VARIABLES["AWS_ACCESS_KEY_ID"]):
        assert secret not in f"{told.value!r} {told.value.__cause__!r}"
    wire.mend()
    assert not [path for path in objects(url) if path.endswith("checksums.json")]
    assert machine().open(store.write(fill)).is_dir()


def test_a_bucket_that_is_away_is_told_and_what_is_cached_serves(
    wire: Wire, url: str, machine: Callable[[], BucketStore], tmp_path: Path
) -> None:
    store, other = machine(), machine()
    tag = store.save_committee(manifest(store.write(fill)))
    wire.cut()
    folders = store.folders(store.committee(tag), "mood")
    assert folders["m"].is_dir()
    for ask in (lambda: other.committee(tag), lambda: other.open(folders["m"].name)):
        with pytest.raises(BucketUnusable):
            ask()
    with pytest.raises(BucketUnusable):
        store.prune(7, [])
    wire.mend()
    other.check(tag)


def test_an_object_that_was_cut_short_or_changed_is_refused(
    url: str, machine: Callable[[], BucketStore]
) -> None:
    store = machine()
    name = store.write(fill)
    fs, root = fsspec.core.url_to_fs(url)
    path = f"{root}/checkpoints/{name}/part-1"
    whole = fs.cat_file(path)
    for wrong in (whole[:-1], b"", whole[:-1] + bytes([whole[-1] ^ 1])):
        fs.pipe_file(path, wrong)
        with pytest.raises(CheckpointDamaged, match=f"{url}.*{name}.*Restore it"):
            machine().open(name)
    store.write(fill)
    assert machine().open(name).is_dir()


def test_a_bucket_that_is_not_there_or_refuses_us_is_no_damage(
    wire: Wire, machine: Callable[[], BucketStore], tmp_path: Path
) -> None:
    store = BucketStore(Bucket("s3://nowhere/models"), tmp_path)
    for ask in (
        lambda: store.open("0" * 16),
        lambda: store.committee("stage-1-00000000"),
        lambda: store.write(fill),
    ):
        with pytest.raises(BucketUnusable, match="does not exist"):
            ask()


def test_prune_removes_from_the_bucket_what_nobody_needs(
    url: str, machine: Callable[[], BucketStore]
) -> None:
    store = machine()
    kept = store.write(fill)
    tag = store.save_committee(manifest(kept))
    loose = store.write(lambda out: (out / "model").write_bytes(b"loose"))
    assert store.prune(7, [tag]) == [], "they are young"
    time.sleep(1.1)  # the server tells whole seconds
    assert machine().prune(7, [tag], grace_s=0) == [loose]
    assert machine().prune(8, [], grace_s=0) == [], "another project's"
    machine().check(tag)
    assert sorted(machine().prune(7, [], grace_s=0)) == sorted([kept, tag])
    assert objects(url) == {}
