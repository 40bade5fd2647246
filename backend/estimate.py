"""What asking the LLM will take, before it is asked: `python -m backend estimate --project ID`.

Samples from the stored decisions, tokens from the prompts of the project's own texts and from the
ledger, money from the list of prices; all as a range, and each with what it rests on.
"""

from __future__ import annotations

from dataclasses import dataclass

from backend.allowance import Allowance, allowance
from backend.jobs.asking import Asking
from backend.label_config import parse, text_of
from backend.projects import HardSample, Project
from backend.wiring import Wiring
from meta_controller.attempt import prompt_for
from meta_controller.batches import packed
from meta_controller.language_model import Prompt, Tokens
from meta_controller.ledger import Ledger, Spend
from meta_controller.prices import NANO, PRICES_SEEN, Price, price_of
from meta_controller.providers import DEFAULT_MODELS

Range = tuple[float, float]

TEXTS = 200
"""Of the project, whose prompts are written to see how long they are."""
ENOUGH = 30
"""Answers in the ledger from which its means are taken; below, priors."""
CHARS_PER_TOKEN = (4.5, 2.5)
"""English has 4 to 4.5 in older tokenizers, and 30 % less in those since 2026 (Claude 4.7,
https://platform.claude.com/docs/en/models/haiku-5-5/overview); other languages less."""
WRITTEN = (30.0, 150.0)
"""Tokens of an answer: about 40 when the model does not think, more when it does, at low effort."""
SPREAD = 1.25
"""Means of the ledger are of other texts: so much more or less."""


@dataclass(frozen=True)
class Estimate:
    """From low to high; `basis` says in sentences what the figures rest on."""

    samples: Range
    sent: Range
    written: Range
    basis: tuple[str, ...]

    def usd(self, price: Price) -> Range:
        """What it costs, low to high; nothing of what was sent is taken to come from a cache."""
        low, high = (
            price.nano_usd(Tokens(round(sent), round(written), stored=round(stored))) / NANO
            for sent, written, stored in (
                (self.sent[0], self.written[0], 0.0),
                (self.sent[1], self.written[1], self.sent[1]),
            )
        )
        return low, high


def estimate(wiring: Wiring, project: Project) -> Estimate:
    """Reckon one project.

    Raises:
        LabelStudioError: Its tasks could not be read.
    """
    allowed, spend = allowance(wiring, project), Ledger(wiring.redis, project.id).spend()
    samples, why_samples = _samples(wiring, project, allowed)
    (sent, written), why_tokens = _per_sample(wiring, project, spend)
    return Estimate(
        samples,
        (samples[0] * sent[0], samples[1] * sent[1]),
        (samples[0] * written[0], samples[1] * written[1]),
        (why_samples, *why_tokens),
    )


def _samples(wiring: Wiring, project: Project, allowed: Allowance) -> tuple[Range, str]:
    """How many texts will be asked about: the hard ones, as far as the allowance goes."""
    left = max(0.0, allowed.budget - allowed.spent)
    waiting = wiring.projects.desk(project.id).waiting()["to_review"]
    seen = wiring.evidence.count(project.id)
    if not seen:
        why = f"no task is predicted yet: up to what {allowed.limit} allows"
        return (0.0, left), why
    share = min(1.0, (waiting + allowed.spent) / seen)
    coming = share * max(0, allowed.tasks - seen)
    why = (
        f"{waiting} hard samples wait and {allowed.spent} were asked of {seen} decided tasks; "
        f"{allowed.tasks} are expected, and {allowed.limit} allows {left:.0f} more"
    )
    return (min(left, waiting + coming / SPREAD), min(left, waiting + coming * SPREAD)), why


def _per_sample(
    wiring: Wiring, project: Project, spend: Spend
) -> tuple[tuple[Range, Range], tuple[str, ...]]:
    """Tokens sent and written for one text."""
    answered = spend.verdicts + spend.unsure
    if answered >= ENOUGH and spend.tokens.sent:  # a script's answers take no tokens
        sent, written = spend.tokens.sent / answered, spend.tokens.written / answered
        why = f"tokens: means of {answered} answers in the ledger, a quarter more or less"
        return ((sent / SPREAD, sent * SPREAD), (written / SPREAD, written * SPREAD)), (why,)
    chars, texts = _chars(wiring, project)
    low, high = (chars / per_token for per_token in CHARS_PER_TOKEN)
    return ((low, high), WRITTEN), (
        f"tokens sent: the prompts of {texts} texts of the project, {chars:.0f} characters a text, "
        f"{CHARS_PER_TOKEN[1]} to {CHARS_PER_TOKEN[0]} a token",
        f"tokens written: a prior of {WRITTEN[0]:.0f} to {WRITTEN[1]:.0f} an answer, since the "
        f"ledger has {answered if spend.tokens.sent else 'none of an LLM'}",
    )


def _chars(wiring: Wiring, project: Project) -> tuple[float, int]:
    """Characters that are sent for one text, in packs as they will be, and of how many texts."""
    controls = {one.name: one for one in parse(project.label_config)}
    samples = _texts(wiring, project)
    questions, _ = Asking(wiring, project, controls).questions(samples, {})
    if not questions:
        return 0.0, 0
    packs = packed(questions, wiring.settings.llm_pack)
    return sum(_prompt_chars(prompt_for(one)) for one in packs) / len(questions), len(questions)


def _prompt_chars(prompt: Prompt) -> int:
    return len(prompt.system) + len(prompt.sample) + len(str(prompt.schema))


def _texts(wiring: Wiring, project: Project) -> list[HardSample]:
    """Texts of the project: hard ones, else the first ones that Label Studio has."""
    hard = [one for one in wiring.projects.desk(project.id).hard() if one.text][:TEXTS]
    if hard or not wiring.has_label_studio:
        return hard
    ids = wiring.label_studio.task_ids(project.id)
    tasks = list(wiring.label_studio.tasks(project.id, ids[:: max(1, len(ids) // TEXTS)]))
    return [
        HardSample(int(task["id"]), control.name, text, (), 0.0, "", "")
        for task in tasks
        for control in parse(project.label_config)
        if (text := text_of(control, task["data"]))
    ]


def render(wiring: Wiring, project: Project, found: Estimate) -> str:
    """The estimate as text for a terminal."""
    lines = [
        f"Project {project.id} {project.title!r}, as far as can be told before:",
        f"  texts to ask about: {_between(found.samples)}",
        f"  tokens: {_between(found.sent)} sent, {_between(found.written)} written",
    ]
    for provider, model in _models(wiring):
        lines.append(f"  {provider} {model}: {_money(wiring, found, provider, model)}")
    caps = wiring.settings_of(project.id).llm_caps
    bounds = Ledger(wiring.redis, project.id, caps).budget.bounds()
    lines += [f"  {one.setting} leaves {one.left:.6g} {one.unit}" for one in bounds]
    return "\n".join([*lines, *(f"  rests on: {line}" for line in found.basis)])


def _models(wiring: Wiring) -> list[tuple[str, str]]:
    """The model that is configured; without one, those that a key alone would choose."""
    settings, model = wiring.settings, wiring.language_model
    if model is not None:
        return [(model.provider, model.model)]
    if settings.llm_model:
        return [(settings.llm_provider or "unknown", settings.llm_model)]
    return list(DEFAULT_MODELS.items())


def _money(wiring: Wiring, found: Estimate, provider: str, model: str) -> str:
    settings = wiring.settings
    price = price_of(provider, model, settings.llm_base_url, settings.llm_price)
    if not price.known:
        return "price unknown, bounded in tokens; set LLM_PRICE for an estimate in USD"
    source = "at LLM_PRICE" if settings.llm_price else f"at the list prices of {PRICES_SEEN}"
    directly = "{:.4f} to {:.4f} USD directly".format(*found.usd(price))
    if price.batch_share == 1:
        return f"{directly}, {source}"
    batches = "{:.4f} to {:.4f} USD in batches".format(*found.usd(price.in_batches()))
    return f"{directly}, {batches}, {source}"


def _between(found: Range) -> str:
    low, high = (f"{round(one):,}" for one in found)
    return low if low == high else f"{low} to {high}"
