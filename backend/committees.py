"""The committees in use: which tag a project serves, and its loaded members.

A project seen for the first time gets its first committee (stage 0) here, from the labels of its
config; no model is loaded for that, so `/setup` stays fast. Models are loaded on first use and kept
for the last few tags. A damaged checkpoint is refused and the last good tag is served instead.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import redis

from backend.errors import BackendError
from backend.journal import Journal
from backend.label_config import Control
from backend.rules import Rules
from backend.settings import Settings
from specialists import registry
from specialists.types import Decision, LabelSet
from training.card import Card
from training.errors import CheckpointDamaged
from training.model_store import CommitteeManifest, ControlCommittee, ModelStore
from training.promotions import Promotions

if TYPE_CHECKING:
    from specialists.committee import Committee

logger = logging.getLogger(__name__)

_KEPT_LOADED = 12  # committees (control x tag) in memory; about 270 MB each for embedded members


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
    ) -> None:
        self._settings = settings
        self._rules = rules
        self._redis = client
        self._store = store
        self._promotions = promotions
        self._journal = journal
        self._loaded: OrderedDict[tuple[str, str], Committee] = OrderedDict()
        self._lock = threading.Lock()

    def ensure(self, project_id: int, controls: tuple[Control, ...]) -> str:
        """The served tag of a project; gives it a first committee when it has none.

        A changed label config (other controls or labels) gets a committee for its labels at once;
        members of controls that did not change keep what they learned.
        """
        promotions = self._promotions(project_id)
        tag = promotions.served()
        wanted = {control.name: control.labels for control in controls}
        served = self._manifest(tag) if tag else None
        if tag and served and {n: c.labels for n, c in served.controls.items()} == wanted:
            return tag
        manifest = self._manifest_for(project_id, wanted, tag, served)
        new = self._store.save_committee(manifest)
        reason = "the label config changed" if served else "first committee of this project"
        card = Card(new, tag, manifest.stage, "initial", reason, at=time.time())
        promotions.promote(new, card, self._redis)
        logger.info("project %d: serves %s (%s)", project_id, new, reason)
        return new

    def first_tag(self, project_id: int, controls: tuple[Control, ...]) -> str:
        """The tag of a project's first committee; needs no Redis."""
        wanted = {control.name: control.labels for control in controls}
        return self._store.save_committee(self._manifest_for(project_id, wanted, None, None))

    def _manifest_for(
        self,
        project_id: int,
        wanted: Mapping[str, LabelSet],
        parent: str | None,
        served: CommitteeManifest | None,
    ) -> CommitteeManifest:
        known = served.controls if served else {}
        controls = {name: self._first(labels, known.get(name)) for name, labels in wanted.items()}
        return CommitteeManifest(project_id, served.stage if served else 0, parent, controls)

    def _first(self, labels: LabelSet, before: ControlCommittee | None) -> ControlCommittee:
        if before and before.labels == labels:
            return before
        sources = self._settings.specialists
        # Labels of the Hub's models are matched when they are loaded: no network here.
        members = (
            [registry.unmatched(source) for source in sources]
            if sources
            else registry.default_members(labels)
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
            return tag
        raise NoCommittee(
            f"Project {project_id}: none of its tags {kept} can be loaded; "
            "restore MODEL_DIR or remove the project's tag to start from the first committee."
        )

    def committee(self, tag: str, control: str) -> Committee:
        """The loaded committee of one control; loads it on first use.

        Raises:
            CheckpointDamaged: A checkpoint is missing or does not match its checksums.
        """
        with self._lock:
            found = self._loaded.get((tag, control))
            if found is None:
                found = self._load(tag, control)
                self._loaded[tag, control] = found
                while len(self._loaded) > _KEPT_LOADED:
                    self._loaded.popitem(last=False)
            self._loaded.move_to_end((tag, control))
            return found

    def _load(self, tag: str, control: str) -> Committee:
        from specialists.committee import Committee

        manifest = self._store.committee(tag)
        part = manifest.controls[control]
        committee = Committee.load(
            part.members,
            part.labels,
            self._store.folders(manifest, control),
            device=pick_device(self._settings.device),
            converted=self._settings.models / "converted",
        )
        for problem in committee.problems:
            self._journal.error("specialists", problem, manifest.project_id)
        return committee

    def evaluate(
        self, manifest: CommitteeManifest, control: str, texts: Sequence[str]
    ) -> list[Decision]:
        """What the committee of a saved manifest answers to texts, by the rule before any verdict.

        Committees that are compared have not learned how far to trust their members.
        """
        committee = self.committee(self._store.save_committee(manifest), control)
        rule = self._rules.first(manifest.project_id, committee.labels, len(committee.names))
        return committee.decide(list(texts), rule)


def pick_device(setting: str) -> str:
    """The torch device for a DEVICE setting; `auto` takes CUDA where there is one."""
    if setting != "auto":
        return setting
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
