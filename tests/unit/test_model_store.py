"""The model store: whole or refused, whatever happens to the writer or to the disk.

Tests that take a `store` run over a folder and over a bucket (fsspec's own, in a local folder);
those of a real S3 server are in tests/service/test_s3_store.py.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from specialists.types import Label, LabelSet, SpecialistRef
from training.bucket import Bucket
from training.bucket_store import BucketStore
from training.errors import CheckpointDamaged, TrainingError
from training.model_store import CommitteeManifest, ControlCommittee, ModelStore

LABELS = LabelSet((Label("Positive", ("pos",)), Label("Négative")))
A_DAY_S = 86_400.0

SLOW_WRITER = """
import sys, time
from pathlib import Path
from training.model_store import ModelStore

def fill(out):
    (out / "model.safetensors").write_bytes(b"half of the weights")
    print("writing", flush=True)
    time.sleep(60)

ModelStore(Path(sys.argv[1])).write(fill)
"""


def files(**contents: bytes) -> Callable[[Path], None]:
    """A fill that writes the given files, one of them in a folder."""

    def fill(out: Path) -> None:
        (out / "tokenizer").mkdir()
        for name, content in contents.items():
            (out / name).write_bytes(content)
            (out / "tokenizer" / name).write_bytes(content)

    return fill


def manifest(*checkpoints: str | None, project_id: int = 7, stage: int = 3) -> CommitteeManifest:
    members = tuple(
        SpecialistRef(f"member-{n}", "embedded:sentiment", {"LABEL_0": "Positive"}, checkpoint)
        for n, checkpoint in enumerate(checkpoints)
    )
    committee = ControlCommittee(LABELS, members)
    return CommitteeManifest(project_id, stage, "stage-2-00000000", {"sentiment": committee})


def names(folder: Path) -> list[str]:
    """What lies in a folder; a bucket in one shows no empty folders."""
    found = {path.relative_to(folder).parts[0] for path in folder.rglob("*") if path.is_file()}
    return sorted(found)


def age(path: Path, by_s: float) -> None:
    """Make a path and all below it look untouched for a while."""
    for each in (path, *path.rglob("*")):
        os.utime(each, (time.time() - by_s,) * 2)


Machines = Callable[[], ModelStore]


@pytest.fixture(params=["folder", "bucket"])
def machine(
    request: pytest.FixtureRequest, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Machines:
    """Makes stores, each as on a machine of its own, whose truth lies in `tmp_path`."""

    def make() -> ModelStore:
        if request.param == "folder":
            return ModelStore(tmp_path)
        bucket = Bucket(f"file://{tmp_path}", auto_mkdir=True)
        return BucketStore(bucket, tmp_path_factory.mktemp("cache"))

    return make


@pytest.fixture
def store(machine: Machines) -> ModelStore:
    return machine()


@pytest.fixture
def folder_store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path)


def test_a_written_checkpoint_opens_with_its_files(store: ModelStore, tmp_path: Path) -> None:
    name = store.write(files(model=b"weights"))
    folder = store.open(name)
    assert names(tmp_path / "checkpoints" / name) == ["checksums.json", "model", "tokenizer"]
    assert (folder / "tokenizer" / "model").read_bytes() == b"weights"
    assert names(tmp_path / "tmp") == []


def test_same_content_is_one_checkpoint_and_other_content_another(
    store: ModelStore, tmp_path: Path
) -> None:
    first, again = store.write(files(a=b"1", b=b"2")), store.write(files(b=b"2", a=b"1"))
    other = store.write(files(a=b"2", b=b"1"))
    assert first == again != other
    assert names(tmp_path / "checkpoints") == sorted([first, other])
    assert names(tmp_path / "tmp") == []


def test_writers_of_the_same_content_at_once_all_succeed(store: ModelStore) -> None:
    barrier = threading.Barrier(8)
    found: list[str] = []

    def fill(out: Path) -> None:
        files(model=b"weights" * 1000)(out)
        barrier.wait(10)

    threads = [threading.Thread(target=lambda: found.append(store.write(fill))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(found) == 8
    assert store.open(*set(found)).is_dir()


def test_a_writer_killed_in_mid_write_leaves_only_an_aside_folder(tmp_path: Path) -> None:
    writer = subprocess.Popen(
        [sys.executable, "-c", SLOW_WRITER, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    with writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "writing\n"
        writer.send_signal(signal.SIGKILL)
    store = ModelStore(tmp_path)
    assert names(tmp_path / "checkpoints") == []
    assert len(names(tmp_path / "tmp")) == 1
    assert store.open(store.write(files(model=b"weights"))).is_dir()

    assert store.sweep(older_than_s=A_DAY_S) == 0, "a writer may still be at work in it"
    age(tmp_path / "tmp", 2 * A_DAY_S)
    assert store.sweep(older_than_s=A_DAY_S) == 1
    assert names(tmp_path / "tmp") == []


def test_a_failing_fill_leaves_nothing(store: ModelStore, tmp_path: Path) -> None:
    def fill(out: Path) -> None:
        (out / "model").write_bytes(b"half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        store.write(fill)
    assert names(tmp_path / "tmp") == names(tmp_path / "checkpoints") == []


def test_an_empty_folder_or_a_link_is_no_checkpoint(store: ModelStore, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="nothing was written"):
        store.write(lambda out: None)
    with pytest.raises(TrainingError, match="plain files only"):
        store.write(lambda out: (out / "model").symlink_to("/etc/hostname"))
    assert names(tmp_path / "checkpoints") == []


@pytest.mark.parametrize("fresh_process", [True, False])
@pytest.mark.parametrize("file", ["model", "tokenizer/model", "checksums.json"])
def test_one_flipped_byte_anywhere_is_refused(
    folder_store: ModelStore, tmp_path: Path, file: str, fresh_process: bool
) -> None:
    name = folder_store.write(files(model=b"weights"))
    path = folder_store.open(name) / file
    whole = path.read_bytes()
    for position, value in enumerate(whole):
        damaged = bytearray(whole)
        # A line end becomes a space: the same JSON, yet not the file that was written.
        damaged[position] = ord(" ") if value == ord("\n") else value ^ 1
        path.write_bytes(damaged)
        reader = ModelStore(tmp_path) if fresh_process else folder_store
        with pytest.raises(CheckpointDamaged) as refused:
            reader.open(name)
        assert str(path) in str(refused.value)
        assert "Restore it" in str(refused.value)
        path.write_bytes(whole)
        assert reader.open(name).is_dir()


@pytest.mark.parametrize("file", ["model", "tokenizer/model", "checksums.json"])
def test_a_missing_file_is_refused(folder_store: ModelStore, file: str) -> None:
    name = folder_store.write(files(model=b"weights"))
    (folder_store.open(name) / file).unlink()
    with pytest.raises(CheckpointDamaged, match=f"{name}.*Restore"):
        folder_store.open(name)


def test_an_added_file_is_refused(folder_store: ModelStore) -> None:
    name = folder_store.write(files(model=b"weights"))
    (folder_store.open(name) / "adapter_config.json").write_text("{}")
    with pytest.raises(CheckpointDamaged, match=r"adapter_config\.json"):
        folder_store.open(name)


@pytest.mark.parametrize("name", ["0123456789abcdef", "../tmp", "", "stage-1-00000000"])
def test_an_unknown_name_is_refused(store: ModelStore, name: str) -> None:
    store.write(files(model=b"weights"))
    with pytest.raises(CheckpointDamaged, match="missing"):
        store.open(name)


def test_a_verified_checkpoint_is_not_read_again_until_it_is_touched(
    folder_store: ModelStore,
) -> None:
    name = folder_store.write(files(model=b"weights"))
    opened: list[str] = []
    watching = [True]

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if watching and event == "open" and name in str(arguments[0]):
            opened.append(str(arguments[0]))

    sys.addaudithook(hook)  # stays for the process; `watching` silences it
    try:
        model = folder_store.open(name) / "model"
        assert str(model) in opened
        opened.clear()
        folder_store.open(name)
        assert opened == []
        model.touch()
        folder_store.open(name)
        assert str(model) in opened
    finally:
        watching.clear()


def test_writing_the_content_of_a_damaged_checkpoint_heals_it(
    store: ModelStore, machine: Machines, tmp_path: Path
) -> None:
    name = store.write(files(model=b"weights"))
    (tmp_path / "checkpoints" / name / "model").write_bytes(b"wrong")
    with pytest.raises(CheckpointDamaged):
        machine().open(name)
    assert store.write(files(model=b"weights")) == name
    assert (machine().open(name) / "model").read_bytes() == b"weights"


def test_a_committee_reads_back_as_saved(store: ModelStore, machine: Machines) -> None:
    saved = manifest(store.write(files(model=b"1")), None)
    tag = store.save_committee(saved)
    assert tag == saved.tag
    assert tag.startswith("stage-3-")
    assert machine().committee(tag) == saved
    assert store.save_committee(saved) == tag


def test_every_part_of_a_manifest_changes_its_tag() -> None:
    base = manifest("0" * 16)
    control = base.controls["sentiment"]
    others = [
        replace(base, project_id=8),
        replace(base, parent=None),
        replace(base, controls={"toxicity": control}),
        replace(base, controls={"sentiment": replace(control, labels=LabelSet(()))}),
        manifest("1" * 16),
        manifest(None),
        manifest("0" * 16, None),
    ]
    assert len({each.tag for each in (base, *others)}) == len(others) + 1
    assert replace(base, stage=4).tag.startswith("stage-4-")


def test_a_committee_without_its_checkpoints_is_not_saved(
    store: ModelStore, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointDamaged, match="0" * 16):
        store.save_committee(manifest("0" * 16))
    assert names(tmp_path / "committees") == []


def test_any_flipped_byte_of_a_manifest_is_refused(
    folder_store: ModelStore, tmp_path: Path
) -> None:
    tag = folder_store.save_committee(manifest(None))
    path = tmp_path / "committees" / f"{tag}.json"
    whole = path.read_bytes()
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(CheckpointDamaged, match=tag):
            folder_store.committee(tag)


@pytest.mark.parametrize("length", [0, 1, 100])
def test_a_half_written_manifest_is_refused(
    folder_store: ModelStore, tmp_path: Path, length: int
) -> None:
    tag = folder_store.save_committee(manifest(None))
    path = tmp_path / "committees" / f"{tag}.json"
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(CheckpointDamaged, match=tag):
        folder_store.committee(tag)


@pytest.mark.parametrize("tag", ["stage-1-00000000", "../secrets", "", "stage-x-00000000"])
def test_an_unknown_tag_is_refused(store: ModelStore, tag: str) -> None:
    with pytest.raises(CheckpointDamaged, match="missing"):
        store.committee(tag)


def test_folders_are_those_of_members_with_a_checkpoint(store: ModelStore) -> None:
    name = store.write(files(model=b"1"))
    assert store.folders(manifest(None, name), "sentiment") == {"member-1": store.open(name)}
    with pytest.raises(CheckpointDamaged):
        store.folders(manifest("0" * 16), "sentiment")


def test_prune_keeps_what_a_kept_or_foreign_committee_needs(
    store: ModelStore, tmp_path: Path
) -> None:
    shared, old, new, foreign, loose = (store.write(files(model=bytes([n]))) for n in range(5))
    old_tag = store.save_committee(manifest(shared, old, stage=1))
    new_tag = store.save_committee(manifest(shared, new, stage=2))
    foreign_tag = store.save_committee(manifest(foreign, project_id=8))
    age(tmp_path, 2 * A_DAY_S)
    assert sorted(store.prune(7, {new_tag})) == sorted([old_tag, old, loose])
    assert names(tmp_path / "checkpoints") == sorted([shared, new, foreign])
    assert names(tmp_path / "committees") == sorted([f"{new_tag}.json", f"{foreign_tag}.json"])
    assert set(store.folders(store.committee(new_tag), "sentiment")) == {"member-0", "member-1"}


def test_prune_spares_what_is_younger_than_the_grace_period(
    store: ModelStore, tmp_path: Path
) -> None:
    needed, loose = store.write(files(model=b"1")), store.write(files(model=b"2"))
    tag = store.save_committee(manifest(needed))
    assert store.prune(7, []) == []
    age(tmp_path / "checkpoints", 2 * A_DAY_S)
    assert store.prune(7, []) == [loose], "a young committee still needs its old checkpoint"
    age(tmp_path, 2 * A_DAY_S)
    assert sorted(store.prune(7, [])) == sorted([needed, tag])


def test_writing_again_what_was_about_to_be_pruned_saves_it(
    store: ModelStore, tmp_path: Path
) -> None:
    name = store.write(files(model=b"1"))
    age(tmp_path, 2 * A_DAY_S)
    store.write(files(model=b"1"))
    assert store.prune(7, []) == []
    assert store.open(name).is_dir()


def test_prune_removes_nothing_when_a_committee_cannot_be_read(
    store: ModelStore, machine: Machines, tmp_path: Path
) -> None:
    tag = store.save_committee(manifest(store.write(files(model=b"1"))))
    (tmp_path / "committees" / f"{tag}.json").write_text(json.dumps({}))
    loose = store.write(files(model=b"2"))
    age(tmp_path, 2 * A_DAY_S)
    for keep in ([tag], [], ["stage-9-00000000"]):
        with pytest.raises(CheckpointDamaged):
            machine().prune(7, keep)
    assert loose in names(tmp_path / "checkpoints")
