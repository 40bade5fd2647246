"""The one place where real parts are joined.

Everything is built on first use, so that a door that needs little (the command line, `/health`)
loads little. Nothing here decides anything.
"""

from __future__ import annotations

import atexit
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from redis import Redis, RedisError

from backend import embedded_redis, project_settings
from backend.committees import Committees, pick_device
from backend.errors import BackendError
from backend.evidence_store import EvidenceStore
from backend.journal import Journal
from backend.label_studio import LabelStudio
from backend.labeling import Labeler
from backend.lease import Lease
from backend.mended import Mended
from backend.projects import Projects
from backend.queues import Queues
from backend.rules import Rules
from backend.selections import Selections
from backend.settings import Settings
from backend.votes import Votes
from backend.writes import Writes
from training.model_store import ModelStore
from training.pool import Pool
from training.promotions import Promotions
from training.slice import Slice

if TYPE_CHECKING:
    from meta_controller.batches import Batches
    from meta_controller.language_model import LanguageModel
    from meta_controller.ledger import Ledger
    from meta_controller.prices import Price
    from meta_controller.redaction import Redactor
    from meta_controller.reviewer import Reviewer
    from meta_controller.tiers import Reviews
    from specialists.batcher import Batcher
    from specialists.models import Models

# What may wait in the web process before a request is refused: over a minute's work for the shipped
# committee on two cores (BENCHMARKS.md); Label Studio gives a prediction 100 s.
_WAITING_TOKENS = 500_000


class NotConfigured(BackendError):
    """A setting that this work needs is missing; the message names it."""


class Wiring:
    """The parts of this process, built from its settings."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def on(self, device: str) -> Wiring:
        """Parts of their own for work on one device, whatever DEVICE says."""
        return Wiring(replace(self.settings, device=device))

    @cached_property
    def redis(self) -> Redis:
        """The client for our own state (decoded)."""
        return embedded_redis.connect(self.settings, decode=True)

    @cached_property
    def raw_redis(self) -> Redis:
        """The client that RQ needs (bytes)."""
        return embedded_redis.connect(self.settings, decode=False)

    @cached_property
    def projects(self) -> Projects:
        """What we know of the projects."""
        return Projects(self.redis)

    @cached_property
    def journal(self) -> Journal:
        """Errors and counters."""
        return Journal(self.redis)

    @cached_property
    def writes(self) -> Writes:
        """What was written to Label Studio, and why."""
        return Writes(self.redis)

    @cached_property
    def queues(self) -> Queues:
        """The job queues."""
        return Queues(self.raw_redis)

    @cached_property
    def store(self) -> ModelStore:
        """Checkpoints and committee manifests."""
        if not self.settings.bucket:
            return ModelStore(self.settings.models)
        from training.bucket import Bucket
        from training.bucket_store import BucketStore

        return BucketStore(Bucket(self.settings.bucket), self.settings.models)

    @cached_property
    def rules(self) -> Rules:
        """Decision rules and what they learned."""
        return Rules(self.redis, self.settings, self.projects)

    @cached_property
    def committees(self) -> Committees:
        """Served tags and loaded committees."""
        return Committees(
            self.settings,
            self.store,
            self.promotions,
            self.journal,
            self.redis,
            self.rules,
            lambda: self.models,
            self._prepare_later,
        )

    def _prepare_later(self, project_id: int) -> None:
        with suppress(RedisError):
            self.queues.wake("prepare", project_id)

    @cached_property
    def models(self) -> Models:
        """Opened models, shared by all committees of this process."""
        from specialists.models import Models

        settings = self.settings
        return Models(
            settings.models / "exports",
            pick_device(settings.device),
            settings.runtime,
            settings.models / "converted",
            generated=settings.models / "generated",
        )

    @cached_property
    def batcher(self) -> Batcher:
        """What joins the texts of parallel requests into batches."""
        from specialists import threads
        from specialists.batcher import Batcher
        from specialists.batching import batch_tokens

        device = pick_device(self.settings.device)
        batcher = Batcher(
            threads.streams() if device == "cpu" else 1,
            batch_tokens(device),
            _WAITING_TOKENS,
            on_start=threads.limit,
        )
        atexit.register(batcher.close)  # no thread is inside a model when the interpreter ends
        return batcher

    @cached_property
    def evidence(self) -> EvidenceStore:
        """Votes and features of the labelled tasks."""
        return EvidenceStore(self.settings.data_dir / "evidence")

    @cached_property
    def labeler(self) -> Labeler:
        """What turns tasks into predictions."""
        return Labeler(
            self.committees,
            self.pool,
            self.rules,
            self.evidence,
            Votes(self.batcher),
            lambda project_id, tag: self.projects.desk(project_id).places(tag),
            self.settings.audit_share,
        )

    def promotions(self, project_id: int) -> Promotions:
        """The served tag of a project and its history."""
        return Promotions(self.redis, project_id)

    def pool(self, project_id: int) -> Pool:
        """The verdicts of a project."""
        return Pool(self.redis, project_id)

    def slice(self, project_id: int) -> Slice:
        """The texts of a project that measure its stages."""
        return Slice(self.redis, project_id)

    def selections(self, project_id: int) -> Selections:
        """What is measured of candidates, and the tables of what was chosen."""
        return Selections(self.redis, project_id)

    def mended(self, project_id: int) -> Mended:
        """What the reconcile job mended in a project."""
        return Mended(self.redis, project_id)

    def settings_of(self, project_id: int) -> Settings:
        """The settings as they are for one project."""
        return project_settings.applied(self.redis, project_id, self.settings)

    def lease(self, name: str) -> Lease:
        """The lease for one unit of work."""
        return Lease(self.redis, name)

    @property
    def has_label_studio(self) -> bool:
        """Whether we can call Label Studio (else only answer it)."""
        return bool(self.settings.label_studio_url and self.settings.label_studio_api_key)

    @cached_property
    def label_studio(self) -> LabelStudio:
        """The client of Label Studio.

        Raises:
            NotConfigured: LABEL_STUDIO_URL or LABEL_STUDIO_API_KEY is unset.
        """
        if not self.has_label_studio:
            raise NotConfigured(
                "LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY must be set for this: the address of "
                "Label Studio and an access token of a user (Account & Settings, Access Token)."
            )
        url, key = self.settings.label_studio_url, self.settings.label_studio_api_key
        return LabelStudio(url, key, on_write=self.writes.note)

    @cached_property
    def language_model(self) -> LanguageModel | None:
        """The reviewing LLM, None when none is configured or LLM_MODE is off."""
        return self._language_model(self.settings.llm_model)

    @cached_property
    def strong_model(self) -> LanguageModel | None:
        """The LLM that is asked again where the first should not decide, None without one."""
        name = self.settings.llm_strong_model
        return self._language_model(name) if name else None

    def _language_model(self, name: str) -> LanguageModel | None:
        from meta_controller.providers import build

        settings = self.settings
        if settings.llm_mode == "off":
            return None
        return build(
            provider=settings.llm_provider,
            model=name,
            base_url=settings.llm_base_url,
            anthropic_api_key=settings.anthropic_api_key,
            openai_api_key=settings.openai_api_key,
            script=settings.llm_script,
            timeout_s=settings.llm_timeout_s,
        )

    @cached_property
    def redactor(self) -> Redactor | None:
        """What takes personal data out of texts for the LLM, None with LLM_REDACT=off."""
        if self.settings.llm_redact == "off":
            return None
        from meta_controller.redaction import Redactor

        return Redactor()

    def reviewer(self, project_id: int, model: LanguageModel) -> Reviews:
        """Who reviews one project's hard samples: one model or two, asked once or several times.

        Raises:
            NotConfigured: A budget is set, but nobody knows what a model costs.
        """
        from meta_controller.draws import Draws
        from meta_controller.tiers import Tiers

        settings = self.settings
        reviewer = self._reviewer(project_id, model, self.price(model))
        found: Reviews = reviewer
        if settings.llm_samples > 1:
            found = Draws(reviewer, settings.llm_samples)
        if self.strong_model is None or model.provider == "scripted":
            return found
        price = self._price(self.strong_model, settings.llm_strong_price)
        return Tiers(found, self._reviewer(project_id, self.strong_model, price))

    def _reviewer(self, project_id: int, model: LanguageModel, price: Price) -> Reviewer:
        from meta_controller.answers import Answers
        from meta_controller.reviewer import Reviewer

        return Reviewer(
            model,
            self.ledger(project_id, price),
            Answers(self.redis, project_id),
            price=price,
            concurrency=self.settings.llm_concurrency,
            # A script answers texts; it reads no prompt.
            pack=1 if model.provider == "scripted" else self.settings.llm_pack,
        )

    def batches(self, project_id: int, model: LanguageModel) -> Batches | None:
        """What sends one project's questions as batches; None where the provider has none.

        None, too, where each question is asked several times: those are asked directly.
        """
        from meta_controller.answers import Answers
        from meta_controller.batch_store import BatchStore
        from meta_controller.batches import Batches
        from meta_controller.providers import batch_api

        api, settings, price = batch_api(model), self.settings, self.price(model)
        if api is None or settings.llm_samples > 1:
            return None
        ledger, answers = self.ledger(project_id, price), Answers(self.redis, project_id)
        store = BatchStore(self.redis, project_id)
        return Batches(model, api, store, ledger, answers, price, settings.llm_pack)

    def price(self, model: LanguageModel) -> Price:
        """What LLM_MODEL costs; not `known` where neither LLM_PRICE nor our list tells."""
        return self._price(model, self.settings.llm_price)

    def _price(self, model: LanguageModel, override: tuple[float, float] | None) -> Price:
        from meta_controller.prices import price_of

        return price_of(model.provider, model.model, self.settings.llm_base_url, override)

    def ledger(self, project_id: int, price: Price) -> Ledger:
        """The ledger of a project's calls at a price; an unknown one is bounded in tokens.

        Raises:
            NotConfigured: A budget in USD is set, but nobody knows what the model costs.
        """
        from meta_controller.budget import UNKNOWN_PRICE_TOKENS
        from meta_controller.ledger import Ledger

        caps = self.settings_of(project_id).llm_caps
        if not price.known and caps.in_usd:
            raise NotConfigured(
                "A budget in USD cannot be kept: the price of the model is unknown; set LLM_PRICE "
                "to USD per million tokens, input and output, such as 0.15,0.60, or "
                "LLM_BUDGET_TOKENS instead of the budget in USD."
            )
        if not price.known and caps.tokens is None:
            caps = replace(caps, tokens=UNKNOWN_PRICE_TOKENS)
        return Ledger(self.redis, project_id, caps)
