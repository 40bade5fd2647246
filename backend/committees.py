"""The committees in use: which tag a project serves, and its loaded members.

A project seen for the first time gets its first committee (stage 0) here, from the labels of its
config; no model is loaded for that, so `/setup` stays fast. Models are loaded on first use and kept
while they fit; after a promotion the web process answers under the tag before until the new one is
loaded and warm, and lets the old one go then. A damaged checkpoint is refused and the last good tag
is served instead.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import redis
from redis.client import Pipeline

from backend.errors import BackendError
from backend.journal import Journal
from backend.label_changes import LabelChanges
from backend.label_config import Control
from backend.loaded import LoadedCommittees
from backend.rules import Rules
from backend.settings import Settings
from specialists import registry
from specialists.rule_state import RuleState
from specialists.runtime import AUTO, candidates
from specialists.types import Decision, SpecialistRef
from training.card import Card
from training.errors import CheckpointDamaged
from training.label_change import Change, alike, compare, migrate
from training.label_change import rule as migrated_rule
from training.label_names import LabelNames
from training.model_store import CommitteeManifest, ControlCommittee, ModelStore
from training.promotions import Promotions

if TYPE_CHECKING:
    from specialists.committee import Committee
    from specialists.models import Models

logger = logging.getLogger(__name__)

_LOOK_AGAIN_S = 5.0  # between two looks whether a committee that runs unprepared was prepared
_UNDER_WAY_S = 10.0  # after a switch, until when a request may still ask for the tag before
_LEAST_TEXTS = 20  # of fewer, no comparison of forms says anything
_WARM_UP = "a text to warm up with"


class NoCommittee(BackendError):
    """No tag of the project can be loaded."""


class Committees:
    """Served tags and loaded committees of all projects."""

    def __init__(
        self,
        settings: Settings,
        store: ModelStore,
        promotions: Callable[[int], Promotions],
        journal: Journal,
        client: redis.Redis,
        rules: Rules,
        models: Callable[[], Models],
        unprepared: Callable[[int], object],
    ) -> None:
        """`unprepared` hears of a project whose models run, but were not prepared to run fast.

        `models` is called when one is needed: what runs them takes seconds to import.
        """
        self._settings = settings
        self._rules = rules
        self._redis = client
        self._store = store
        self._promotions = promotions
        self._journal = journal
        self._models = models
        self._unprepared = unprepared
        self.loaded = LoadedCommittees(self._load, int(settings.memory_mb * 1_000_000))
        self._serving: dict[int, str] = {}
        self._look_again: dict[tuple[str, str], float] = {}
        self._loaded_for: dict[str, int] = {}  # projects by tag
        self._release_at: dict[int, float] = {}  # by project

    def ensure(self, project_id: int, controls: tuple[Control, ...]) -> str:
        """The served tag of a project; gives it a first committee when it has none.

        A changed label config (other controls or labels) is answered for at once: members keep
        what they learned, under the labels that there are now (training/label_change.py). Workers
        hear of it and settle the pool.
        """
        promotions = self._promotions(project_id)
        tag = promotions.served()
        served = self._manifest(tag) if tag else None
        if served is None or tag is None:
            return self._serve_first(project_id, controls, tag)
        now = self.under(served, controls)
        if now is served:
            return tag
        wanted = {control.name: control.labels for control in controls}
        changes = compare({name: c.labels for name, c in served.controls.items()}, wanted)
        return self.change(project_id, replace(now, parent=tag), changes)

    def under(self, manifest: CommitteeManifest, controls: Sequence[Control]) -> CommitteeManifest:
        """A manifest's committees under the labels of some controls; itself when it has them."""
        by_name = {control.name: control for control in controls}
        wanted = {name: control.labels for name, control in by_name.items()}
        now = migrate(manifest.controls, wanted, lambda name: self._first(by_name[name]))
        return manifest if alike(now, manifest.controls) else replace(manifest, controls=now)

    def change(
        self, project_id: int, manifest: CommitteeManifest, changes: Mapping[str, Change]
    ) -> str:
        """Serve the committees of changed labels instead of `manifest.parent`; returns their tag.

        Does nothing when another tag is served meanwhile: whoever asks next looks again.
        """
        promotions, tag = self._promotions(project_id), manifest.parent
        new, log = self._store.save_committee(manifest), LabelChanges(self._redis, project_id)
        reason = "the label config changed"
        card = Card(new, tag, manifest.stage, "initial", reason, at=time.time())
        rules = self._migrated_rules(project_id, manifest, changes)

        def write(pipe: Pipeline) -> None:
            names = log.names()
            still = promotions.served() == tag
            pipe.multi()
            if still:
                promotions.promote(new, card, pipe)
                log.record(names.changed(changes.values()), changes.values(), pipe)
                for control, state in rules.items():
                    self._rules.save(project_id, control, new, state, pipe)

        self._redis.transaction(write, promotions.tag_key, promotions.history_key, log.names_key)
        logger.info("project %d: serves %s (%s)", project_id, new, reason)
        return promotions.served() or new

    def label_names(self, project_id: int) -> LabelNames:
        """The names that a project's labels and controls had before."""
        return LabelChanges(self._redis, project_id).names()

    def _migrated_rules(
        self, project_id: int, manifest: CommitteeManifest, changes: Mapping[str, Change]
    ) -> dict[str, RuleState]:
        """What the rules learned, by control, where no label is new."""
        found: dict[str, RuleState] = {}
        if manifest.parent is None:
            return found
        before = self._store.committee(manifest.parent).controls
        for name, change in changes.items():
            if change.before and not change.added:
                state = self._rules.state(project_id, change.before, manifest.parent)
                names = before[change.before].labels.names
                if state and len(state.confusion) == len(names):
                    now = manifest.controls[name].labels.names
                    found[name] = migrated_rule(state, names, change, now)
        return found

    def _serve_first(
        self, project_id: int, controls: Sequence[Control], damaged: str | None
    ) -> str:
        manifest = self._first_manifest(project_id, controls, damaged)
        new, reason = self._store.save_committee(manifest), "first committee of this project"
        card = Card(new, damaged, manifest.stage, "initial", reason, at=time.time())
        self._promotions(project_id).promote(new, card, self._redis)
        logger.info("project %d: serves %s (%s)", project_id, new, reason)
        return new

    def first_tag(self, project_id: int, controls: tuple[Control, ...]) -> str:
        """The tag of a project's first committee; needs no Redis."""
        return self._store.save_committee(self._first_manifest(project_id, controls, None))

    def _first_manifest(
        self, project_id: int, controls: Sequence[Control], parent: str | None
    ) -> CommitteeManifest:
        committees = {control.name: self._first(control) for control in controls}
        return CommitteeManifest(project_id, 0, parent, committees)

    def _first(self, control: Control) -> ControlCommittee:
        labels, sources = control.labels, self._settings.specialists
        # Labels of the Hub's models are matched when they are loaded: no network here.
        members = (
            [registry.unmatched(source) for source in sources]
            if sources
            else registry.first_members(labels, dict(control.descriptions))
        )
        return ControlCommittee(labels, tuple(members))

    def _manifest(self, tag: str) -> CommitteeManifest | None:
        try:
            return self._store.committee(tag)
        except CheckpointDamaged as error:
            self._journal.error("model store", str(error))
            return None

    def manifest(self, tag: str) -> CommitteeManifest:
        """The manifest of a tag.

        Raises:
            CheckpointDamaged: It is missing or does not match its tag.
        """
        return self._store.committee(tag)

    def usable(self, project_id: int) -> str:
        """The served tag, after making sure that its committee loads.

        A damaged one is left by a rollback to the last good tag, which the journal tells.

        Raises:
            NoCommittee: No kept tag loads.
        """
        promotions = self._promotions(project_id)
        kept = promotions.kept(self._settings.keep_tags)
        for tag in kept:
            try:
                for control in self._store.committee(tag).controls:
                    self.committee(tag, control)
            except CheckpointDamaged as error:
                self._journal.error("model store", str(error), project_id)
                continue
            if tag != promotions.served():
                promotions.rollback(tag, self._redis, self._settings.keep_tags)
                self._journal.error(
                    "model store", f"Serving {tag}: newer committees are damaged.", project_id
                )
            self.release(project_id, tag)
            return tag
        raise NoCommittee(
            f"Project {project_id}: none of its tags {kept} can be loaded; "
            "restore MODEL_DIR or remove the project's tag to start from the first committee."
        )

    def serving(self, project_id: int, tag: str) -> str:
        """The tag to answer under while `tag` is served: the one before until it is loaded.

        No request waits for a promotion: its committee is loaded and warmed in the background.
        Raises CheckpointDamaged when the manifest is.
        """
        before = self._serving.get(project_id, tag)
        controls = self._store.committee(tag).controls
        if tag != before and self._same_labels(before, controls):
            new = [(tag, control) for control in controls]
            ready = all(self.loaded.has(*key) for key in new)
            if not ready and not any(self.loaded.failed(*key) for key in new):
                for key in new:
                    self.loaded.warm(*key)
                return before
        self._serving[project_id] = tag
        if tag != before:
            self._release_at[project_id] = time.monotonic() + _UNDER_WAY_S
        elif time.monotonic() >= self._release_at.get(project_id, math.inf):
            self.release(project_id, tag)
        return tag

    def release(self, project_id: int, tag: str) -> None:
        """Let all of a project's committees but one leave memory; after a rollback one comes back.

        A process would hold one more after each promotion, up to MEMORY_MB.
        """
        self._release_at.pop(project_id, None)
        others = [t for t, of in list(self._loaded_for.items()) if of == project_id and t != tag]
        for other in others:
            self._loaded_for.pop(other, None)
        if others:
            self.loaded.drop(*others)

    def _same_labels(self, tag: str, controls: Mapping[str, ControlCommittee]) -> bool:
        """Whether another tag is loaded and answers for the same controls and labels."""
        try:
            others = self._store.committee(tag).controls
        except CheckpointDamaged:
            return False
        if {n: c.labels for n, c in others.items()} != {n: c.labels for n, c in controls.items()}:
            return False
        return all(self.loaded.has(tag, control) for control in others)

    def committee(self, tag: str, control: str) -> Committee:
        """The loaded committee of one control; loads it on first use.

        Raises:
            CheckpointDamaged: A checkpoint is missing or does not match its checksums.
        """
        found = self.loaded.get(tag, control)
        self._tell(tag, found)
        due = self._look_again.get((tag, control))
        if due is not None and time.monotonic() >= due:
            self._renew(tag, control)
        return found

    def _renew(self, tag: str, control: str) -> None:
        """Load a committee again once its models are prepared; the old one serves meanwhile."""
        if self.is_prepared(tag, control):
            del self._look_again[tag, control]
            self.loaded.renew(tag, control)
        else:  # perhaps there were too few texts so far
            self._look_again[tag, control] = time.monotonic() + _LOOK_AGAIN_S
            self._unprepared(self._store.committee(tag).project_id)

    def _load(self, tag: str, control: str) -> Committee:
        from specialists.committee import Committee

        manifest = self._store.committee(tag)
        part = manifest.controls[control]
        self._loaded_for[tag] = manifest.project_id
        folders = self._store.folders(manifest, control)
        committee = Committee.load(part.members, part.labels, folders, self._models())
        self._tell(tag, committee)
        if not self.is_prepared(tag, control):
            self._look_again[tag, control] = time.monotonic() + _LOOK_AGAIN_S
            self._unprepared(manifest.project_id)
        committee.observe([_WARM_UP])
        return committee

    def _tell(self, tag: str, committee: Committee) -> None:
        """Put what is wrong with members into the journal, each problem once."""
        for problem in committee.new_problems():
            project_id = self._store.committee(tag).project_id
            self._journal.error("specialists", problem, project_id)

    def is_prepared(self, tag: str, control: str) -> bool:
        """Whether every member's fastest form here is known. Raises as `committee` does."""
        members = self._members(tag, control)
        if self._sees(tag, control) and not self._models().is_base_prepared():
            return False
        return all(self._models().is_prepared(ref, folder) for ref, folder in members)

    def prepare(self, tag: str, control: str, texts: Sequence[str]) -> int:
        """Find and keep the fastest form of each member, checked on real texts; returns how many.

        Takes seconds a member: for workers. Too few texts prepare nothing: fp32 serves until there
        are more. Raises as `committee` does.
        """
        if len(texts) < _LEAST_TEXTS:
            return 0
        members = self._members(tag, control)
        base = self._sees(tag, control) and self._models().prepare_base(texts)
        return base + sum(self._models().prepare(ref, folder, texts) for ref, folder in members)

    def _sees(self, tag: str, control: str) -> bool:
        """Whether a control's committee has the frozen view of the base model, see `load`."""
        return not self._store.committee(tag).controls[control].labels.multiple

    def _members(self, tag: str, control: str) -> list[tuple[SpecialistRef, Path | None]]:
        """The members of a control, with their checkpoint folders."""
        manifest = self._store.committee(tag)
        folders = self._store.folders(manifest, control)
        refs = manifest.controls[control].members
        return [(ref, folders.get(ref.name)) for ref in refs]

    def evaluate(
        self, manifest: CommitteeManifest, control: str, texts: Sequence[str]
    ) -> list[Decision]:
        """What the committee of a saved manifest answers, by the rule before any verdict."""
        committee = self.committee(self._store.save_committee(manifest), control)
        rule = self._rules.first(manifest.project_id, committee.labels, len(committee.names))
        return committee.decide(list(texts), rule)


def check_runtime(settings: Settings) -> None:
    """Make sure that this machine has the runtime that RUNTIME asks for.

    Raises RuntimeUnavailable, which names those that it has.
    """
    if settings.runtime != AUTO:
        candidates(pick_device(settings.device), settings.runtime)


def pick_device(setting: str) -> str:
    """The torch device for a DEVICE setting; `auto` takes CUDA where there is one."""
    if setting != "auto":
        return setting
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
