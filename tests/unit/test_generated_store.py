"""The store of generated code: named by content, changed code is refused, approval is explicit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from specialists.errors import SpecialistUnavailable
from specialists.generated import Measured, open_sandbox
from specialists.generated_store import ABOUT, APPROVAL, MODULE, Generated, GeneratedStore
from specialists.loading import find_parts
from specialists.models import Models
from specialists.registry import unmatched
from specialists.types import Label, LabelSet

LABELS = LabelSet((Label("a", ("eh",)), Label("b")))
CODE = "def load(d):\n    return None\ndef annotate(m, t):\n    return []\n"
MADE = Generated(
    code=CODE,
    model="some/model",
    digest="00",
    labels=LABELS,
    llm="a-model",
    prompt="write é",
    notes="",
    report=[{"name": "form", "passed": True, "seen": "3 texts"}],
    at=1.5,
)


@pytest.fixture
def store(tmp_path: Path) -> GeneratedStore:
    return GeneratedStore(tmp_path / "generated")


def test_code_comes_back_with_all_that_was_kept_of_it(store: GeneratedStore) -> None:
    name = store.put(MADE)
    assert store.get(name) == MADE
    assert store.put(MADE) == name
    assert store.put(replace(MADE, code=CODE + "# other")) != name
    assert (store.folder(name) / MODULE).read_text() == CODE
    assert sorted(path.name for path in store.folder(name).parent.iterdir())[0][0] != "."


@pytest.mark.parametrize("file", [MODULE, ABOUT])
def test_changed_code_is_neither_opened_nor_approved(store: GeneratedStore, file: str) -> None:
    name = store.put(MADE)
    store.approve(name, "ada")
    path = store.folder(name) / file
    path.write_text(path.read_text() + " ")
    for ask in (store.get, lambda one: store.approve(one, "ada")):
        with pytest.raises(SpecialistUnavailable, match="not as it was tested"):
            ask(name)


@pytest.mark.parametrize("name", ["", "../../etc", "0123456789abcdef0", "0123456789abcdef"])
def test_what_is_no_id_leads_nowhere(store: GeneratedStore, name: str) -> None:
    with pytest.raises(SpecialistUnavailable, match=r"no id|no such code"):
        store.get(name)


def test_approval_says_who_and_is_for_one_module(store: GeneratedStore) -> None:
    one, other = store.put(MADE), store.put(replace(MADE, llm="another"))
    assert store.approval(one) is None
    store.approve(one, "ada")
    found = store.approval(one)
    assert found and (found["id"], found["by"]) == (one, "ada")
    (store.folder(other) / APPROVAL).write_bytes((store.folder(one) / APPROVAL).read_bytes())
    assert store.approval(other) is None


def test_code_is_opened_only_approved_and_for_its_own_labels(store: GeneratedStore) -> None:
    name = store.put(MADE)
    with pytest.raises(SpecialistUnavailable, match=f"nobody approved.*approve {name}"):
        open_sandbox(store, f"generated:{name}", LABELS, None)
    store.approve(name, "ada")
    for labels in (LabelSet((Label("a"),)), replace(LABELS, multiple=True)):
        with pytest.raises(SpecialistUnavailable, match="written for the labels a, b"):
            open_sandbox(store, f"generated:{name}", labels, None)


def test_code_is_not_opened_for_other_weights(store: GeneratedStore, tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "model.safetensors").write_bytes(b"12345678")
    name = store.put(replace(MADE, model=str(model)))
    store.approve(name, "ada")
    with pytest.raises(SpecialistUnavailable, match="others than those that it was tested with"):
        open_sandbox(store, f"generated:{name}", LABELS, None)


def test_generated_code_is_never_prepared_or_trained(tmp_path: Path) -> None:
    ref = unmatched("generated:0123456789abcdef")
    assert ref.name == "generated-0123456789abcdef"
    models = Models(exports=tmp_path / "exports", generated=tmp_path / "generated")
    assert models.is_prepared(ref, None)
    assert models.prepare(ref, None, ["a text"]) is False
    with pytest.raises(SpecialistUnavailable, match="no weights of ours"):
        find_parts(ref.source, None)


def test_texts_wait_with_about_their_tokens() -> None:
    encoding = Measured()
    waiting = encoding.encode(["", "four", "x" * 400, "x" * 1_000_000])
    assert [len(one) for one in waiting] == [1, 2, 101, 512]
    assert encoding.collate(waiting)[1] == "four"
