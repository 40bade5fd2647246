"""Candidates from the Hugging Face Hub, through its own client library; nothing is run or opened.

The library is imported on first use. Not covered: whether a card, a licence or a number of
downloads is true; measuring on the project's texts decides.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meta_controller.candidates import Candidate
from meta_controller.errors import MetaControllerError

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import ModelInfo

TASK = "text-classification"
PER_TERM = 30
CARD_CHARS = 600
_CONNECTIONS = 8
_TIMEOUT_S = 10.0
_MOST_LABELS = 200  # of a classifier; more are no labels of texts
_FRONT_MATTER = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)


class HubUnreachable(MetaControllerError):
    """The Hub did not answer; choose among the models at hand, or mend the network."""


class Hub:
    """The Hub at `endpoint`; None is what HF_ENDPOINT says, else huggingface.co."""

    def __init__(self, endpoint: str | None = None) -> None:
        self._endpoint = endpoint

    def check(self) -> None:
        """Make sure that it answers; the client's own calls try for half a minute.

        Raises:
            HubUnreachable: It does not.
        """
        from huggingface_hub import get_session

        try:
            url = f"{self._api.endpoint}/api/models"
            get_session().get(url, params={"limit": 1}, timeout=_TIMEOUT_S).raise_for_status()
        except Exception as error:  # its errors have no root of their own
            raise self._unreachable(error) from error

    def search(self, terms: Iterable[str], per_term: int = PER_TERM) -> list[Candidate]:
        """The most downloaded text classifiers whose ids contain one of the terms, each once.

        Their labels and cards are not read yet.

        Raises:
            HubUnreachable: It does not answer, or with something else.
        """
        found: dict[str, Candidate] = {}
        try:
            for term in terms:
                for info in self._api.list_models(
                    search=term,
                    pipeline_tag=TASK,
                    sort="downloads",
                    limit=per_term,
                    expand=[
                        *("cardData", "config", "downloads", "gated"),
                        *("safetensors", "sha", "siblings", "tags"),
                    ],
                ):
                    found.setdefault(info.id, _candidate(info))
        except Exception as error:  # and JSON's errors come through, too
            raise self._unreachable(error) from error
        return sorted(found.values(), key=lambda one: -(one.downloads or 0))

    def with_labels(self, candidates: Iterable[Candidate]) -> list[Candidate]:
        """The candidates with what their config.json says; one without a readable one has none."""
        return self._each(self._labelled, candidates)

    def with_cards(self, candidates: Iterable[Candidate]) -> list[Candidate]:
        """The candidates with the start of their model cards."""
        return self._each(lambda one: replace(one, card=self._card(one)), candidates)

    def _unreachable(self, error: Exception) -> HubUnreachable:
        where, why = self._api.endpoint, type(error).__name__
        return HubUnreachable(
            f"The Hugging Face Hub ({where}) cannot be asked ({why}): "
            "check the network and HF_ENDPOINT, or choose among the embedded and local models "
            "with --offline."
        )

    @property
    def _api(self) -> HfApi:
        from huggingface_hub import HfApi

        return HfApi(endpoint=self._endpoint)

    def _each(
        self, work: Callable[[Candidate], Candidate], candidates: Iterable[Candidate]
    ) -> list[Candidate]:
        with ThreadPoolExecutor(_CONNECTIONS) as pool:
            return list(pool.map(work, candidates))

    def _labelled(self, candidate: Candidate) -> Candidate:
        try:
            config = json.loads(self._file(candidate, "config.json"))
            labels = tuple(_own_labels(config))
        except Exception:  # the network, the file, its JSON: without labels it is left out
            return candidate
        remote_code = candidate.remote_code or bool(config.get("auto_map"))
        return replace(candidate, labels=labels, remote_code=remote_code)

    def _card(self, candidate: Candidate) -> str:
        try:
            text = self._file(candidate, "README.md")
        except Exception:  # many have none
            return ""
        return " ".join(_FRONT_MATTER.sub("", text).split())[:CARD_CHARS]

    def _file(self, candidate: Candidate, name: str) -> str:
        hub_id, _, revision = candidate.source.partition("@")
        path = self._api.hf_hub_download(hub_id, name, revision=revision or None)
        return Path(path).read_text(encoding="utf-8")


def _candidate(info: ModelInfo) -> Candidate:
    """What a list of models tells of one, pinned to the commit that it tells it of."""
    tags, card = info.tags or [], info.card_data
    config: dict[str, Any] = info.config or {}
    files = [sibling.rfilename for sibling in info.siblings or []]
    return Candidate(
        source=f"{info.id}@{info.sha}" if info.sha else info.id,
        origin="hub",
        downloads=info.downloads or 0,
        parameters=info.safetensors.total if info.safetensors else None,
        licence=_licence(tags),
        languages=tuple(_texts(card.language if card else None)),
        safetensors=any(name.endswith(".safetensors") for name in files),
        remote_code="custom_code" in tags or bool(config.get("auto_map")),
        gated=bool(info.gated),
    )


def _licence(tags: Iterable[str]) -> str:
    """The licence as the Hub's own tag spells it; a card's may be a list or a sentence."""
    return next((tag.partition(":")[2].lower() for tag in tags if tag.startswith("license:")), "")


def _texts(value: Any) -> Iterator[str]:
    """A card's field that may be one text or a list of them."""
    for one in value if isinstance(value, list) else [value]:
        if isinstance(one, str):
            yield one


def _own_labels(config: dict[str, Any]) -> list[str]:
    id2label: dict[str, Any] = config["id2label"]
    if len(id2label) > _MOST_LABELS:
        raise ValueError("too many labels")
    return [str(id2label[key]) for key in sorted(id2label, key=int)]
