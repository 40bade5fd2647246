"""A model that might become a member, as far as it is known before it is run: facts and filters.

Pure data. Hub models come from `hub.py`; embedded, local and served ones are passed in by whoever
knows them. What a filter refuses, a person can still name in the selection's file.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from specialists.types import LabelSet

Origin = Literal["hub", "embedded", "local", "served", "generated"]
MapSource = Literal["rules", "LLM", "verdicts", "person"]

LEAST_LABELS = 2
"""A member that knows fewer of the project's labels has no choice to make."""

# SPDX-like ids as the Hub spells them: free to use, for money too, and to serve without a fee.
# Left out: non-commercial (cc-by-nc-*), "other", and models that name none.
LICENCES = frozenset(
    "apache-2.0 mit bsd bsd-2-clause bsd-3-clause isc unlicense cc0-1.0 cc-by-4.0 cc-by-3.0 "
    "cc-by-sa-4.0 cc-by-sa-3.0 afl-3.0 artistic-2.0 mpl-2.0 openrail openrail++ "
    "bigscience-openrail-m bigscience-bloom-rail-1.0 creativeml-openrail-m".split()
)
_BYTES_A_PARAMETER = 4  # as it is opened, fp32


@dataclass(frozen=True)
class Candidate:
    """One model and what is told about it; what its authors tell is not checked by anybody.

    `source` is what loads it: `embedded:NAME`, a folder, `org/name@commit`; `checkpoint` names
    trained weights of a served member. `labels` are its own, in the order of its outputs;
    `label_map` goes from them to the project's, and `mapped_by` says who made it. `downloads` and
    `parameters` are None where nobody counted; `card` is the start of its model card.
    """

    source: str
    origin: Origin
    labels: tuple[str, ...] = ()
    label_map: Mapping[str, str] = field(default_factory=dict)
    mapped_by: MapSource = "rules"
    checkpoint: str | None = None
    downloads: int | None = None
    parameters: int | None = None
    licence: str = ""
    languages: tuple[str, ...] = ()
    safetensors: bool = True
    remote_code: bool = False
    gated: bool = False
    card: str = field(default="", repr=False)

    @property
    def id(self) -> str:
        """The name that people know: a Hub model's without its commit."""
        return self.source.partition("@")[0] if self.origin == "hub" else self.source

    @property
    def size_bytes(self) -> int | None:
        """What its weights take in memory, None when nobody says how many there are."""
        return None if self.parameters is None else _BYTES_A_PARAMETER * self.parameters

    def to_json(self) -> dict[str, Any]:
        """A plain JSON form, read back by `from_json`."""
        return {**self.__dict__, "label_map": dict(self.label_map)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Candidate:
        """Read what `to_json` wrote."""
        lists = {name: tuple(data[name]) for name in ("labels", "languages")}
        return cls(**{**data, **lists})


def refused(candidate: Candidate, most_bytes: float) -> str:
    """Why a model of the Hub is not even looked at; empty when it may be.

    `most_bytes` is what one member may take in memory.
    """
    size_bytes = candidate.size_bytes
    if not candidate.safetensors:
        return "it has no safetensors weights"
    if candidate.remote_code:
        return "it wants to run code of its own"
    if candidate.gated:
        return "it is gated: its authors want to know who uses it"
    if candidate.licence not in LICENCES:
        return f"its licence is {candidate.licence or 'not stated'}"
    if size_bytes is None:
        return "nobody says how large it is"
    if size_bytes > most_bytes:
        return f"it takes {size_bytes / 1e6:,.0f} MB, at most {most_bytes / 1e6:,.0f} are allowed"
    return ""


def covered(label_map: Mapping[str, str], labels: LabelSet) -> int:
    """How many of the project's labels a map reaches."""
    return len(set(label_map.values()) & set(labels.names))


def is_mapped(candidate: Candidate, labels: LabelSet) -> bool:
    """Whether it can say enough of the project's labels to be a member."""
    return covered(candidate.label_map, labels) >= LEAST_LABELS


def is_nameless(candidate: Candidate, labels: LabelSet) -> bool:
    """Whether its labels say nothing (`LABEL_0`) and are as many as the project's."""
    named = [one for one in candidate.labels if not re.fullmatch(r"LABEL_\d+", one)]
    return not named and len(candidate.labels) == len(labels.names)


def score(candidate: Candidate, labels: LabelSet) -> float:
    """What ranks models of the Hub where no LLM does; it only says which are measured first.

    coverage + log10(1 + downloads) / 10 - log10(parameters / 1e8) / 10: a model that knows all
    labels comes before one that knows half of them; among those, ten times the downloads weigh as
    much as a tenth of the size.
    """
    coverage = covered(candidate.label_map, labels) / len(labels.names)
    popularity = math.log10(1 + (candidate.downloads or 0)) / 10
    size = math.log10(max(1, candidate.parameters or 1) / 1e8) / 10
    return coverage + popularity - size
