"""The candidates of one control: those at hand, and the best few that the Hub offers.

Embedded adapters, what SPECIALISTS names and the served members are always measured. Models of the
Hub are filtered, then ranked by the LLM, or by a score where none answers; the ranking only says
which are measured.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from backend.approval import generated
from backend.label_config import Control
from backend.lease import Lease
from backend.wiring import Wiring
from meta_controller import ranking
from meta_controller.candidates import (
    Candidate,
    Origin,
    is_mapped,
    is_nameless,
    refused,
    score,
)
from meta_controller.errors import BudgetExceeded, LanguageModelError
from meta_controller.hub import Hub
from meta_controller.language_model import Prompt
from meta_controller.ranking import Brief
from specialists import registry
from specialists.errors import SpecialistUnavailable
from specialists.generated_store import GeneratedStore
from specialists.label_map import match
from specialists.types import LabelSet, SpecialistRef

T = TypeVar("T")
Say = Callable[[str], None]

MEASURED = 10
"""Models of the Hub that are downloaded and run: half a gigabyte and some ten seconds each."""

_RANKED = 20  # that the LLM is told about
_ASKED = 10  # whose labels the LLM is asked about
_LABELLED = 60  # whose config.json is read, the most downloaded of those that passed


@dataclass
class Adviser:
    """The LLM that proposes, if there is one; what it does not answer is done without it."""

    wiring: Wiring
    project_id: int
    lease: Lease
    say: Say
    reasons: dict[str, str] = field(default_factory=dict)

    def terms(self, brief: Brief) -> list[str]:
        """Words to search the Hub for."""
        return self._ask(ranking.terms_prompt(brief), ranking.read_terms) or []

    def maps(self, brief: Brief, candidates: Sequence[Candidate]) -> list[Candidate]:
        """The candidates whose labels it explains, with the map that it suggests."""
        if not candidates:
            return []
        found = self._ask(
            ranking.maps_prompt(brief, candidates),
            lambda answer: ranking.read_maps(answer, candidates, brief.labels),
        )
        return [
            replace(one, label_map=found[one.id], mapped_by="LLM")
            for one in candidates
            if found and one.id in found
        ]

    def ranked(self, brief: Brief, candidates: Sequence[Candidate]) -> list[Candidate]:
        """The candidates, those that it ranks first; `reasons` keeps why."""
        told = candidates[:_RANKED]
        if told:
            self.reasons = (
                self._ask(
                    ranking.ranking_prompt(brief, told),
                    lambda answer: ranking.read_ranking(answer, told),
                )
                or {}
            )
        place = {hub_id: number for number, hub_id in enumerate(self.reasons)}
        return sorted(candidates, key=lambda one: place.get(one.id, len(place)))

    def _ask(self, prompt: Prompt, read: Callable[[str], T]) -> T | None:
        from meta_controller.consult import consult

        model = self.wiring.language_model
        if model is None or model.provider == "scripted":
            return None
        price = self.wiring.price(model)
        ledger = self.wiring.ledger(self.project_id, price)
        try:
            answer = consult(
                model,
                prompt,
                ledger,
                price,
                "selection",
                self.lease.transaction,
                run=self.lease.token,
            )
            return read(answer.text)
        except (LanguageModelError, BudgetExceeded, ValueError) as error:
            self.say(f"The LLM is not listened to ({error}); a score ranks instead.")
            return None


def at_hand(
    wiring: Wiring, control: Control, members: Iterable[SpecialistRef], trained: bool
) -> list[Candidate]:
    """The served members, the embedded adapters, approved code and what SPECIALISTS names.

    Members come with what they learned, unless `trained` is false. What maps to fewer than two of
    the labels is left out.
    """
    found: dict[tuple[str, str | None], Candidate] = {}
    code = generated(wiring.settings)
    for ref in members:
        checkpoint = ref.checkpoint if trained else None
        label_map = {o: n for o, n in ref.label_map.items() if n in control.labels.names}
        one = _local(code, ref.source, control.labels, "served", label_map)
        if one is not None:
            # Outputs that grew in training are the checkpoint's alone.
            grown = [o for o in label_map if o not in one.labels] if checkpoint else []
            labels = (*one.labels, *grown)
            found[ref.source, checkpoint] = replace(one, checkpoint=checkpoint, labels=labels)
    known = {source for source, _ in found}
    embedded = [registry.EMBEDDED_PREFIX + name for name in registry.embedded_names()]
    approved = [registry.GENERATED_PREFIX + name for name in code.approved(control.labels)]
    for source in [*wiring.settings.specialists, *embedded, *approved]:
        if source in known:
            continue
        one = _local(code, source, control.labels, origin_of(source), {})
        if one is not None:
            found.setdefault((source, None), one)
    return list(found.values())


def from_hub(
    hub: Hub, brief: Brief, control: Control, adviser: Adviser, most_bytes: float, verdicts: bool
) -> list[Candidate]:
    """The best few models of the Hub, in the order of the ranking.

    `verdicts` tells whether the labels of a nameless model can be learned from verdicts.

    Raises:
        HubUnreachable: The Hub does not answer.
    """
    hub.check()  # before an LLM is paid
    terms = dict.fromkeys([*adviser.terms(brief), *_terms(control)])
    seen = hub.search(terms)
    passing, why = _passing(seen, most_bytes)
    labelled, unreadable = _passing(hub.with_labels(passing[:_LABELLED]), most_bytes)
    mapped, others = _mapped(labelled, control.labels)
    explained = adviser.maps(brief, hub.with_cards(others[:_ASKED]))
    known = {one.id for one in explained}
    nameless = [
        one
        for one in others
        if verdicts and one.id not in known and is_nameless(one, control.labels)
    ]
    fitting = sorted([*mapped, *explained], key=lambda one: -score(one, control.labels))
    adviser.say(_filtered(list(terms), seen, why + unreadable, len(fitting) + len(nameless)))
    ranked = adviser.ranked(brief, hub.with_cards(fitting))
    return [*ranked, *nameless][:MEASURED]


def _passing(
    candidates: Iterable[Candidate], most_bytes: float
) -> tuple[list[Candidate], Counter[str]]:
    reasons = [(one, refused(one, most_bytes)) for one in candidates]
    return [one for one, why in reasons if not why], Counter(why for _, why in reasons if why)


def _mapped(
    candidates: Iterable[Candidate], labels: LabelSet
) -> tuple[list[Candidate], list[Candidate]]:
    """Those whose labels the rules know, with their map, and the others that have labels."""
    by_rules = [
        replace(one, label_map=match(one.labels, labels, model=one.id)) for one in candidates
    ]
    fitting = [one for one in by_rules if is_mapped(one, labels)]
    return fitting, [one for one in by_rules if one.labels and not is_mapped(one, labels)]


def _terms(control: Control) -> list[str]:
    """Words to search for without an LLM: the control's name, and the family that fits."""
    refs = registry.default_members(control.labels)
    families = [ref.source.removeprefix(registry.EMBEDDED_PREFIX).split("-")[0] for ref in refs]
    return [control.name.lower(), *families[:1]]


def _filtered(terms: Sequence[str], seen: Sequence[Candidate], why: Counter[str], left: int) -> str:
    reasons = "; ".join(f"{count} x {reason}" for reason, count in why.most_common(5))
    dropped = f" Left out: {reasons}." if reasons else ""
    return (
        f"The Hub has {len(seen)} text classifiers for {', '.join(terms)}; {left} may know the "
        f"labels.{dropped}"
    )


def origin_of(source: str) -> Origin:
    """Where a source comes from, by its spelling."""
    if source.startswith(registry.EMBEDDED_PREFIX):
        return "embedded"
    if source.startswith(registry.GENERATED_PREFIX):
        return "generated"
    return "local" if Path(source).is_dir() else "hub"


def own_labels(code: GeneratedStore, source: str) -> tuple[str, ...]:
    """The labels in which a source answers; raises SpecialistUnavailable."""
    if source.startswith(registry.GENERATED_PREFIX):
        return code.get(source.removeprefix(registry.GENERATED_PREFIX)).labels.names
    from specialists import loading  # imports torch

    return loading.own_labels(source)


def _local(
    code: GeneratedStore,
    source: str,
    labels: LabelSet,
    origin: Origin,
    label_map: Mapping[str, str],
) -> Candidate | None:
    """A model that somebody named, with its own labels; None when it cannot be had or mapped."""
    try:
        own = own_labels(code, source)
    except SpecialistUnavailable:
        return None
    meant = dict(label_map) or match(own, labels, model=registry.pinned(source)[0])
    one = Candidate(source, origin, own, meant)
    return one if is_mapped(one, labels) else None
