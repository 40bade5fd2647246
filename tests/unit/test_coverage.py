"""What `connect` says about labels: who answers for which, and which nobody knows."""

from __future__ import annotations

from pathlib import Path

from tiny_models import publish

from backend.connect import coverage
from backend.settings import Settings
from backend.wiring import Wiring
from specialists.registry import default_members, unmatched
from specialists.types import Label, LabelSet, SpecialistRef
from training.model_store import CommitteeManifest, ControlCommittee


def said(tmp_path: Path, names: list[str], members: list[SpecialistRef], **more: str) -> str:
    wiring = Wiring(Settings.from_env({"DATA_DIR": str(tmp_path), **more}))
    labels = LabelSet(tuple(Label(name) for name in names))
    part = ControlCommittee(labels, tuple(members or default_members(labels)))
    tag = wiring.store.save_committee(CommitteeManifest(1, 0, None, {"mood": part}))
    return "\n".join(coverage(wiring, 1, tag))


def test_a_label_outside_the_shipped_members_is_named(tmp_path: Path) -> None:
    printed = said(tmp_path, ["positive", "negative", "sarcastic"], [])
    assert "no specialist knows sarcastic" in printed


def test_labels_of_a_named_model_are_read_from_its_config(tmp_path: Path) -> None:
    folder = publish(tmp_path / "mine", ["NEG", "POS"])
    printed = said(tmp_path, ["positive", "neutral", "negative"], [unmatched(str(folder))])
    assert "committee of mine" in printed
    assert "no specialist knows neutral" in printed


def test_a_model_that_is_not_there_is_named_with_what_to_do(tmp_path: Path) -> None:
    printed = said(tmp_path, ["positive", "negative"], [unmatched(str(tmp_path / "gone"))])
    assert "gone is not available" in printed


def test_labels_that_nobody_knows_are_learned_from_verdicts(tmp_path: Path) -> None:
    assert said(tmp_path, ["invoice", "letter"], []) == (
        "Control mood: no specialist knows invoice, letter; it abstains until verdicts have "
        "taught it. SPECIALISTS names models for new projects."
    )


def test_by_the_paper_s_rule_they_are_never_learned(tmp_path: Path) -> None:
    printed = said(tmp_path, ["invoice", "letter"], [], DECISION_RULE="paper")
    assert "it abstains. SPECIALISTS names models" in printed
